"""The servers that are compared, each from Debian's package, unpacked and never installed, with the settings that
somebody who knows it well would choose for the work: no process limit below the number of sessions, no look-ups in DNS,
no limits on rates, logs into a file. `configured` says what was chosen beyond that.

A server runs in a mount namespace of its own where /etc and what it insists on of /var are directories of the bench.
It listens on the loopback only, and all its processes are in one control group.

Kinds of work: "accept": a message is taken durably, answered, and kept, and nothing tries to deliver it; "maildir": it is
delivered into one of ten Maildirs; "relay": it goes on to the port `smarthost`."""
import itertools
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

from measure import BUILD, Group, end_with_parent, tacit_load  # first: it finds the tests' modules
from conftest import NO_DNS, free_port, wait_until
from tools import Postfix as LivePostfix, postfix_program, unpacked

USERS = [f"u{i}" for i in range(10)]
VMAIL = 64990  # owner of the mailboxes; the users below are known only in the namespaces
ACCOUNTS = {"Debian-exim": 64991, "opensmtpd": 64992, "opensmtpq": 64993, "tacit-front": 64994, "tacit-keeper": 64995,
            "tacit-back": 64996, "tacit-resolver": 64997, "tacit-carrier": 64998, "vmail": VMAIL}
SESSIONS = 250  # more than any work has


class Peer:
    """One server, one directory, one kind of work. start() returns when it answers; stop() leaves nothing behind."""

    name = configured = ""
    number = itertools.count()
    process = None
    connecting = None  # connections that may wait for their greeting at once; None: any number
    domain = "example.test"  # of its users
    smarthost = None         # port on the loopback for mail of other domains; None: it takes none

    def __init__(self, directory, work):
        self.dir = Path(directory) / f"{self.name.lower()}-{next(Peer.number)}"
        self.dir.mkdir(mode=0o755)
        self.mail = self.dir / "mail"
        self.work = work
        self.port = free_port()
        self.group = Group(self.name.lower())
        (self.dir / "etc").mkdir()
        self.mail.mkdir()
        os.chown(self.mail, VMAIL, VMAIL)

    def etc(self, **files):
        """A private /etc with accounts, and with no name server to ask."""
        etc = self.dir / "etc"
        for name in ("passwd", "group", "ld.so.cache", "ld.so.conf", "services", "protocols", "localtime", "ssl"):
            if os.path.exists(f"/etc/{name}"):
                copy = shutil.copytree if os.path.isdir(f"/etc/{name}") else shutil.copy
                copy(f"/etc/{name}", etc / name)
        with open(etc / "passwd", "a") as passwd, open(etc / "group", "a") as group:
            for user, uid in ACCOUNTS.items():
                passwd.write(f"{user}:x:{uid}:{uid}::{self.mail}:/bin/false\n")
                group.write(f"{user}:x:{uid}:\n")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        (etc / "resolv.conf").write_text("lookup file\n")
        (etc / "mailname").write_text("bench.example\n")
        for name, text in files.items():
            path = etc / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def place(self, path, *subdirs):
        """A directory of the bench that stands at `path` in the namespace; with subdirectories (name, owner, mode)."""
        here = self.dir / path.strip("/").replace("/", "-")
        here.mkdir(exist_ok=True)
        for name, owner, mode in subdirs:
            (here / name).mkdir(parents=True)
            os.chown(here / name, owner, owner)
            (here / name).chmod(mode)
        return here

    def launch(self, command, binds, env=None):
        """Starts a command in a namespace in which each of `binds` {path: directory} stands at its path."""
        script = "".join(f"mount --bind '{here}' '{there}' && " for there, here in binds.items()) + 'exec "$@"'
        self.output = open(self.dir / "output", "wb")
        with self.group.entered():
            self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script, "sh", *map(str, command)], env=env,
                                            stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output,
                                            cwd=self.dir, start_new_session=True, preexec_fn=end_with_parent)
        self.group.process = self.process
        self.binds = binds
        wait_until(self.answers, 60)

    def inside(self, command, **options):
        """Runs a command in the server's namespace."""
        return subprocess.run(["nsenter", "-m", "-r", "-t", str(self.process.pid), *map(str, command)], check=True,
                              capture_output=True, text=True, timeout=60, **options)

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {self.told()}")
        with socket.socket() as s:
            s.settimeout(5)
            try:
                s.connect(("127.0.0.1", self.port))
                return s.recv(512).startswith(b"220")
            except OSError:
                return False

    def told(self):
        text = ""
        for path in [self.dir / "output", *self.dir.glob("*log*"), *self.dir.glob("*/exim4/*log")]:
            if path.is_file():
                text += f"{path.name}: {path.read_text(errors='replace')[-2000:]}\n"
        return text

    def load(self, messages, **options):
        return tacit_load(self.port, messages, connecting=self.connecting, **options)

    def delivered(self):
        return sum(len(os.listdir(new)) for new in self.mail.rglob("new"))

    def last_delivery(self):
        """When the last message got its place, in seconds since 1970."""
        return max(entry.stat().st_ctime for new in self.mail.rglob("new") for entry in os.scandir(new))

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        self.group.end()
        if self.process:
            self.process.wait()
            self.output.close()
            self.process = None


class Tacit(Peer):
    name = "tacit"
    configured = {"accept": "queue { paused = true }; no greeting delay; the client is a stranger",
                  "maildir": "no greeting delay; the client is a stranger",
                  "relay": "route { connections = 100 }; the client is in relay.networks"}
    program = BUILD / "tacit"
    fronts = 0
    extra = ""       # further blocks
    who = "sqlite:directory.db"

    def start(self):
        self.etc()
        (self.dir / "data").mkdir(exist_ok=True)
        os.chmod(self.dir / "data", 0o755)
        self.conf = self.dir / "tacit.conf"
        work = "queue { paused = true }" if self.work == "accept" else ""
        if self.smarthost:
            work = f'relay {{ networks = {{"127.0.0.0/8"}} }}\n' \
                     f'route "*" {{ via = "smtp://127.0.0.1:{self.smarthost}"  connections = 100 }}'
        self.conf.write_text(f"""
hostname = "mx.example.test"
data = "data"
fronts = {self.fronts}
listen mx {{ address = "127.0.0.1:{self.port}" }}
domain "example.test" {{ directory = "{self.who}" deliver = "maildir:mail/{{domain}}/{{local}}" }}
limits {{ sessions_per_client = 20000  greeting_delay = "0ms" }}
{"" if "dns {" in self.extra else NO_DNS}
{work}
{self.extra}
""")
        self.mail = self.dir / "data" / "mail"
        self.run()
        self.command("user", "add", f"{USERS[0]}@example.test")
        self.add_users(1, len(USERS))
        return self

    def add_users(self, first, end):
        """Mailboxes u<first> to u<end - 1>: straight into the directory, in its own form."""
        kind, name = self.who.split(":")
        path = self.dir / "data" / name
        if kind == "file":
            with open(path, "a") as f:
                f.writelines(f"u{i}@example.test mailbox\n" for i in range(first, end))
            return
        with sqlite3.connect(path, timeout=30) as db:
            db.executemany("INSERT INTO entry (domain, key, local, kind) VALUES ('example.test', ?, ?, 'mailbox')",
                           ((f"u{i}", f"u{i}") for i in range(first, end)))
        db.close()

    def run(self):
        """ready_s: until it says that it is ready, and answers; greeted_s: until it answers."""
        self.began, self.greeted_s = time.monotonic(), None
        self.launch([self.program, "serve", "--config", self.conf],
                    {f"/etc/{name}": self.dir / "etc" / name for name in ("passwd", "group")})
        self.ready_s = time.monotonic() - self.began

    def halt(self):
        """Stops it so that it may run again."""
        self.process.terminate()
        self.process.wait(60)
        self.output.close()

    def status(self):
        return json.loads(self.command("status", "--json"))

    def command(self, *words):
        return self.inside([self.program, *words, "--config", self.conf]).stdout

    def answers(self):
        if not super().answers():
            return False
        self.greeted_s = self.greeted_s or time.monotonic() - self.began
        return "ready: listening" in (self.dir / "output").read_text()

    def role_pids(self, role):
        return [p["pid"] for p in self.status()["processes"] if p["role"] == role]


class Postfix(Peer):
    name = "Postfix"
    configured = {"accept": "every message on HOLD, which is set where the queue file is written, so that the queue "
                            "manager never sees it; in_flow_delay = 0",
                  "maildir": "virtual(8) with the ten users in the configuration; in_flow_delay = 0",
                  "relay": "relayhost; 100 connections at once from the first; connections are kept; in_flow_delay = 0"}

    def start(self):
        hold = "smtpd_client_restrictions = check_client_access static:HOLD" if self.work == "accept" else ""
        users = ", ".join(f"{{ {u}@example.test = {u}/ }}" for u in USERS)
        relay = f"[127.0.0.1]:{self.smarthost}" if self.smarthost else ""
        self.inner = LivePostfix(self.dir, relay, extra=f"""
default_process_limit = {SESSIONS}
in_flow_delay = 0
default_destination_concurrency_limit = 100
initial_destination_concurrency = 100
smtp_connection_cache_on_demand = yes
smtpd_peername_lookup = no
disable_dns_lookups = yes
smtpd_client_connection_count_limit = 0
virtual_mailbox_domains = example.test
virtual_mailbox_base = {self.mail}
virtual_mailbox_maps = inline:{{ {users} }}
virtual_uid_maps = static:{VMAIL}
virtual_gid_maps = static:{VMAIL}
{hold}
""")
        with self.group.entered():
            self.inner.start()
        self.port = self.inner.port
        self.process = self.group.process = self.inner.process
        self.output = self.inner.output
        wait_until(self.answers, 60)
        return self

    def told(self):
        return super().told() + self.inner.log()[-2000:]


class Exim(Peer):
    name = "Exim"
    configured = {"accept": "queue_only; split_spool_directory; no message logs; no limit on messages of a connection",
                  "maildir": "delivered at once, each message by a process of its own, however many came on a "
                             "connection; split_spool_directory; no message logs"}

    def start(self):
        program = unpacked("exim4-daemon-light") / "usr/sbin/exim4"
        spool = self.place("/var/spool", ("exim4", ACCOUNTS["Debian-exim"], 0o750))
        log = self.place("/var/log", ("exim4", ACCOUNTS["Debian-exim"], 0o750))
        run = self.place("/run", ("exim4", ACCOUNTS["Debian-exim"], 0o755))
        out, smtp = "", ""
        if self.smarthost:
            out = f"out:\n  driver = manualroute\n  domains = ! {self.domain}\n  route_list = * 127.0.0.1\n" \
                  "  self = send\n  transport = smtp\n"
            smtp = f"smtp:\n  driver = smtp\n  allow_localhost\n  port = {self.smarthost}\n"
        self.etc(exim4__exim4_conf=f"""
primary_hostname = exim.example
exim_path = {program}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
disable_ipv6
{"queue_only" if self.work == "accept" else ""}
split_spool_directory
message_logs = false
smtp_accept_max = {SESSIONS}
smtp_connect_backlog = {SESSIONS}
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
keep_environment =
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept
begin routers
users:
  driver = accept
  domains = {self.domain}
  local_parts = {" : ".join(USERS)}
  transport = maildir
{out}begin transports
{smtp}maildir:
  driver = appendfile
  directory = {self.mail}/$local_part_data
  maildir_format
  user = vmail
  group = vmail
begin retry
* * F,1h,1s
""")
        self.launch([program, "-bdf", *(["-q5s"] if self.work == "maildir" else [])],
                    {"/etc": self.dir / "etc", "/var/spool": spool, "/var/log": log, "/run": run})
        return self


class OpenSmtpd(Peer):
    """Its accept queue holds 5 connections, which is compiled in: where more come at once, the kernel drops some of
    them after the client was told that they stand, and that client waits for a greeting until it gives up. So no more
    than 4 connect at once, and smtp-source, which cannot be told so, is not used."""
    name = "OpenSMTPD"
    connecting = 4
    configured = {"accept": "smtpctl pause mda; no limit on messages of a connection; at most 4 connecting at once, "
                            "since its accept queue is 5; so no smtp-source",
                  "maildir": "mail.maildir of its package; no limit on messages of a connection; at most 4 connecting "
                             "at once"}

    def start(self):
        root = unpacked("opensmtpd")
        spool = self.place("/var/spool", ("smtpd", 0, 0o711))
        lib = self.place("/var/lib", ("opensmtpd/empty", 0, 0o755))
        run = self.place("/run")
        users = ", ".join(f'"{u}@{self.domain}" = vmail' for u in USERS)
        out = f'action "out" relay host smtp://127.0.0.1:{self.smarthost}\nmatch from any for any action "out"\n' \
            if self.smarthost else ""
        self.etc(smtpd_conf=f"""
table users {{ {users} }}
smtp limit max-mails 1000000
listen on 127.0.0.1 port {self.port} hostname smtpd.example
action "deliver" maildir "{self.mail}/%{{rcpt.user}}" virtual <users>
match from any for domain "{self.domain}" action "deliver"
{out}""")
        (self.dir / "etc/smtpd.conf").chmod(0o644)
        self.launch([root / "usr/sbin/smtpd", "-d"],
                    {"/etc": self.dir / "etc", "/var/spool": spool, "/var/lib": lib, "/run": run,
                     "/usr/libexec": root / "usr/libexec"})
        if self.work == "accept":
            self.inside([root / "usr/sbin/smtpctl", "pause", "mda"], group=ACCOUNTS["opensmtpq"])
        return self


class Sink(Peer):
    name = "smtp-sink"
    configured = {"accept": "stores nothing: what the generator and the network alone can do"}

    def start(self):
        program, env = postfix_program("smtp-sink")
        self.launch([program, "-u", "nobody", f"127.0.0.1:{self.port}", SESSIONS], {}, env)
        return self


def version(cls):
    """What was measured, in a few words."""
    if cls is Tacit:
        return subprocess.run([cls.program, "--version"], capture_output=True, text=True).stdout.split()[-1]
    package = {Exim: "exim4-daemon-light", OpenSmtpd: "opensmtpd"}.get(cls, "postfix")
    policy = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True).stdout
    return next((line.split()[1] for line in policy.splitlines() if "Candidate:" in line), "unknown")
