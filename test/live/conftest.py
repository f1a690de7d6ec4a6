"""Runs real tacit processes for the live tests: one temporary directory, free ports and a configuration for each.

Environment: TACIT (the binary), TACIT_LOAD (bench/load.c), TACIT_TOOLS (where downloaded test programs are kept).
"""
import email
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TACIT = os.environ.get("TACIT", str(ROOT / "build" / "tacit"))
LOAD = os.environ.get("TACIT_LOAD", str(ROOT / "build" / "bench" / "tacit-load"))
TOOLS = Path(os.environ.get("TACIT_TOOLS", str(ROOT / "build" / "tools")))
PATIENCE = float(os.environ.get("TACIT_PATIENCE", "1"))  # a sanitized build is slower
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:|Assertion .* failed")

DESIGN = """
hostname = "mx.example.test"
data     = "data"
{extra_global}
listen mx     {{ address = "127.0.0.1:{mx}" {mx_settings} }}
listen submit {{ address = "127.0.0.1:{submit}"  submission = true }}
{extra_listen}
domain "example.test" {{
    directory = "sqlite:directory.db"
    deliver   = "maildir:mail/{{domain}}/{{local}}"
    {domain_settings}
}}
disclosure {{ {disclosure} }}
{dns}
{extra}
{outward}
"""
# No DNS, on any machine: nothing can be sent there, and the system says so at once. And mail to other domains is held.
NO_DNS = 'dns { server = "255.255.255.255:53"  validate = false }'


_ports_kept = []


def free_port():
    """A port that nobody else is given, by this or another run of tests, until this process ends: it is kept by a name in
    the abstract namespace of Unix sockets. Below the range from which the kernel takes ports for connections."""
    while True:
        port = random.randrange(10000, 32000)
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            keeper.bind(f"\0tacit-test-port-{port}")
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as s:
                    s.bind(("127.0.0.1", port))
        except OSError:
            keeper.close()
            continue
        _ports_kept.append(keeper)
        return port


def wait_until(what, timeout=10.0, step=0.05):
    """Calls what() until it gives something true, and gives that; fails after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        result = what()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not true within {timeout} s: {getattr(what, '__name__', what)}")
        time.sleep(step)


class Tacit:
    """One server: its directory, configuration, processes and logs."""

    program = TACIT  # what is started; its commands are always TACIT's

    def __init__(self, directory, **settings):
        self.dir = Path(directory)
        self.mx = free_port()
        self.submit = free_port()
        self.settings = dict(extra_global="", mx_settings="", extra_listen="", domain_settings="",
                             disclosure='vrfy = "252"  strangers = "accept"', extra="")
        self.settings.update(settings)
        self.conf = self.dir / "tacit.conf"
        self.data = self.dir / "data"
        self.log_path = self.dir / "server.log"
        self.process = None
        self.write_config()

    def write_config(self, **settings):
        self.settings.update(settings)
        dns = "" if "dns {" in self.settings["extra"] else NO_DNS
        outward = "" if 'route "' in self.settings["extra"] else 'route "*" { via = "hold:" }'
        text = self.settings.get("text") or DESIGN.format(mx=self.mx, submit=self.submit, dns=dns, outward=outward,
                                                          **self.settings)
        self.conf.write_text(text)

    # -- the server -------------------------------------------------------------------------------------------------
    def start(self, ready=True, timeout=20.0):
        self.log_file = open(self.log_path, "ab")
        seen = self.log_path.stat().st_size
        self.process = subprocess.Popen([self.program, "serve", "--config", str(self.conf)], stderr=self.log_file,
                                        stdout=self.log_file, stdin=subprocess.DEVNULL, cwd=self.dir,
                                        start_new_session=True)
        if ready:
            def is_ready():
                assert self.process.poll() is None, f"the server ended:\n{self.log()}"
                return "ready: listening" in self.log()[seen:]
            wait_until(is_ready, timeout)
        return self

    def stop(self, timeout=40.0):
        """SIGTERM; gives the exit status."""
        if not self.process:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                raise AssertionError(f"the server did not stop in {timeout} s:\n{self.log()[-4000:]}")
        status = self.process.returncode
        self.process = None
        self.log_file.close()
        return status

    def kill_all(self):
        """Ends every process of the server at once, as a loss of power would (but for the disk)."""
        for pid in [self.process.pid] + [p for _, p in self.roles()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None
        self.log_file.close()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def roles(self):
        """[(role, pid)] of the running child processes."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text()
                parent = int(stat.rsplit(")", 1)[1].split()[1])
                state = stat.rsplit(")", 1)[1].split()[0]
                if parent != self.process.pid or state == "Z":
                    continue
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (OSError, IndexError, ValueError):
                continue
            if b"--role" in words:
                found.append((words[words.index(b"--role") + 1].decode(), int(entry.name)))
        return found

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def check_log(self):
        bad = [line for line in self.log().splitlines() if SANITIZER.search(line)]
        assert not bad, "\n".join(bad) + "\n" + self.log()[-8000:]

    # -- commands ---------------------------------------------------------------------------------------------------
    def run(self, *args, check=True, input=None, timeout=60):
        result = subprocess.run([TACIT, args[0], *args[1:], "--config", str(self.conf)], input=input, timeout=timeout,
                                capture_output=True, text=not isinstance(input, bytes), cwd=self.dir)
        if check:
            assert result.returncode == 0, f"tacit {args}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def user(self, *args, **kw):
        return self.run("user", *args, **kw)

    def queue(self, *args):
        out = self.run("queue", "list", *args, "--json").stdout.strip()
        if not out:
            return []
        try:
            rows = json.loads(out)
            return rows if isinstance(rows, list) else rows.get("messages", [rows])
        except json.JSONDecodeError:
            return [json.loads(line) for line in out.splitlines() if line.strip()]

    # -- mailboxes --------------------------------------------------------------------------------------------------
    def maildir(self, local, domain="example.test"):
        return self.data / "mail" / domain / local

    def mail(self, local, domain="example.test"):
        """Contents of new/, oldest first."""
        new = self.maildir(local, domain) / "new"
        if not new.is_dir():
            return []
        return [p.read_bytes() for p in sorted(new.iterdir(), key=lambda p: p.stat().st_mtime_ns)]

    def wait_mail(self, local, count=1, timeout=15.0):
        wait_until(lambda: len(self.mail(local)) >= count, timeout)
        mail = self.mail(local)
        assert len(mail) == count, f"{len(mail)} messages, {count} expected"
        return mail

    # -- clients ----------------------------------------------------------------------------------------------------
    def connect(self, port=None, host="127.0.0.1", **kw):
        return Raw(port or self.mx, host, **kw)


class Raw:
    """A client that says exactly what it is told to."""

    def __init__(self, port, host="127.0.0.1", timeout=15.0, greeting=True, source=None):
        self.sock = socket.create_connection((host, port), timeout=timeout,
                                             source_address=(source, 0) if source else None)
        self.buffer = b""
        self.greeting = self.reply() if greeting else None

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        while b"\r\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("utf-8", "replace")

    def reply(self):
        """One reply, its lines joined by newlines."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return "\n".join(lines)

    def cmd(self, line):
        self.send(line + "\r\n" if isinstance(line, str) else line + b"\r\n")
        return self.reply()

    def closed(self):
        """Whether the server has closed, and said nothing more."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            return True
        self.buffer += data
        return data == b"" and self.buffer == b""

    def helo(self, name="client.example"):
        reply = self.cmd(f"EHLO {name}")
        assert reply.startswith("250"), reply
        return reply

    def message(self, sender, recipients, content=b"Subject: test\r\n\r\nhello\r\n"):
        """A whole transaction; gives the final reply."""
        reply = self.cmd(f"MAIL FROM:<{sender}>")
        if not reply.startswith("250"):
            return reply
        for r in [recipients] if isinstance(recipients, str) else recipients:
            reply = self.cmd(f"RCPT TO:<{r}>")
            if not reply.startswith("25"):
                return reply
        reply = self.cmd("DATA")
        if not reply.startswith("354"):
            return reply
        self.send(content + b".\r\n")
        return self.reply()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextmanager
def small_disk(t, size):
    """A file system of its own for the data of a server that does not run yet; afterwards both are gone. As root only."""
    t.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(t.data)], check=True)
    try:
        yield
    finally:
        t.stop()
        subprocess.run(["umount", "-l", str(t.data)], check=True)


def without_trace(delivered):
    """The message as it was sent: without the trace fields that delivery and reception put in front, CRLF line ends."""
    text = delivered.replace(b"\r\n", b"\n")
    while True:
        match = re.match(rb"(Return-Path|Delivered-To|Received):[^\n]*\n([ \t][^\n]*\n)*", text)
        if not match:
            return text.replace(b"\n", b"\r\n")
        text = text[match.end():]


def parsed(delivered):
    return email.message_from_bytes(delivered)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed_call = outcome.get_result().failed


@pytest.fixture
def make_tacit(request):
    """make_tacit(**settings) gives a server that is not yet started; all are stopped and their logs checked."""
    made, dirs = [], []

    def make(directory=None, **settings):
        if directory is None:
            directory = tempfile.mkdtemp(prefix="tacit-live-")
            os.chmod(directory, 0o755)
            dirs.append(directory)
        t = Tacit(directory, **settings)
        made.append(t)
        return t

    yield make
    try:
        for t in made:
            t.stop()
        for t in made:
            t.check_log()
    finally:
        if getattr(request.node, "failed_call", False):
            for t in made:
                print(f"---- log of the server in {t.dir}\n{t.log()[-6000:]}")
        for d in dirs:
            shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def tacit(make_tacit):
    """A running server with the mailbox alice@example.test."""
    t = make_tacit().start()
    t.user("add", "alice@example.test")
    return t
