"""What fails inside of a running server: memory, the directory, a process in the worst moment. Nothing is lost or
delivered twice, processes go on, and nobody learns from it who exists."""
import contextlib
import ctypes
import mmap
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from conftest import LOAD, free_port, parsed, wait_until
from nameserver import NameServer
from scripted import Host

PRELOAD = os.environ.get("TACIT_ALLOC_FAULTS", "")
needs_preload = pytest.mark.skipif(not PRELOAD, reason="the sanitizers have a malloc of their own")
TRUSTED = "127.0.0.2"  # the address of a relay, who is told the truth
RELAY = 'relay { networks = {"127.0.0.2/32"} }'


class Plan(ctypes.Structure):
    """struct alloc_plan of test/faults/alloc.h"""
    _fields_ = [(name, ctypes.c_uint64) for name in ("at", "count", "calls", "hits", "end_at_rename", "no_files")] + \
               [("role", ctypes.c_char * 16)]


@pytest.fixture
def planned(make_tacit, monkeypatch, tmp_path_factory):
    """planned(role, **settings): a running server, and the plan of what fails in that role."""
    def make(role, **settings):
        t = make_tacit(**settings)
        path = t.dir / "plan"
        path.write_bytes(bytes(ctypes.sizeof(Plan)))
        path.chmod(0o666)
        with open(path, "r+b") as f:
            plan = Plan.from_buffer(mmap.mmap(f.fileno(), 0))
        plan.role = role.encode()
        monkeypatch.setenv("LD_PRELOAD", PRELOAD)
        monkeypatch.setenv("TACIT_ALLOC_PLAN", str(path))
        t.start()
        monkeypatch.delenv("LD_PRELOAD")
        t.user("add", "alice@example.test")
        return t, plan
    return make


def pid_of(t, role):
    return wait_until(lambda: [pid for name, pid in t.roles() if name == role], 30)[0]


def copies(t, local, tag):
    """How often the message lies in the mailbox, wherever a reader may have put it."""
    found = 0
    for part in ("new", "cur"):
        directory = t.maildir(local) / part
        if directory.is_dir():
            found += sum(parsed(p.read_bytes())["X-Tag"] == tag for p in directory.iterdir())
    return found


def send(t, tag, recipients, sender="s@elsewhere.example", **kw):
    with t.connect(**kw) as c:
        c.helo()
        return c.message(sender, recipients, f"X-Tag: {tag}\r\nSubject: x\r\n\r\nhello\r\n".encode())


@contextlib.contextmanager
def stopped(t):
    """Master starts nothing while it is stopped."""
    os.kill(t.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(t.process.pid, signal.SIGCONT)


def is_dead(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


# ---- killed between the delivery and the record of it ----

@needs_preload
def test_no_copy_after_a_kill(planned):
    t, plan = planned("back")
    t.user("add", "bob@example.test")
    for i, recipients in enumerate((["alice@example.test"], ["alice@example.test", "bob@example.test"])):
        tag, back = f"kill{i}", pid_of(t, "back")
        plan.end_at_rename = 1
        assert send(t, tag, recipients).startswith("250")
        wait_until(lambda: pid_of(t, "back") != back, 10)
        wait_until(lambda: not t.queue(), 20)
        for r in recipients:
            assert copies(t, r.split("@")[0], tag) == 1, t.log()[-2000:]
    assert t.log().count("an earlier attempt") >= 2


@needs_preload
def test_no_copy_of_what_a_reader_has_moved(planned):
    t, plan = planned("back")
    back = pid_of(t, "back")
    with stopped(t):
        plan.end_at_rename = 1
        assert send(t, "moved", "alice@example.test").startswith("250")
        new = wait_until(lambda: list((t.maildir("alice") / "new").glob("*")), 10)[0]
        wait_until(lambda: is_dead(back), 10)
        new.rename(t.maildir("alice") / "cur" / (new.name + ":2,S"))
    wait_until(lambda: pid_of(t, "back") != back, 10)
    wait_until(lambda: not t.queue(), 20)
    assert copies(t, "alice", "moved") == 1


@needs_preload
def test_one_report_after_a_kill(planned):
    """The report about a message is in the spool exactly if the failure is, and in the mailbox exactly once."""
    t, plan = planned("back", extra=RELAY)
    t.user("add", "bob@example.test")
    back = pid_of(t, "back")
    os.kill(back, signal.SIGSTOP)
    try:
        assert send(t, "gone", "bob@example.test", sender="alice@example.test", source=TRUSTED).startswith("250")
        t.user("remove", "bob@example.test")
        plan.end_at_rename = 1  # of the report's delivery
    finally:
        os.kill(back, signal.SIGCONT)
    wait_until(lambda: pid_of(t, "back") != back, 10)
    wait_until(lambda: not t.queue(), 20)
    reports = [m for m in t.mail("alice") if parsed(m).get_content_type() == "multipart/report"]
    assert len(reports) == 1


# ---- the directory ----

def answers(t, source):
    """What RCPT and VRFY say of somebody who exists and of an invented name."""
    with t.connect(source=source) as c:
        c.helo()
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        return [[c.cmd(f"{verb}{name}{end}") for name in ("alice@example.test", "nobody@example.test")]
                for verb, end in (("VRFY ", ""), ("RCPT TO:<", ">"))]


def nobody_is_told(t):
    """A stranger hears the same of both, byte for byte."""
    for existing, invented in answers(t, "127.0.0.1"):
        assert existing == invented


def garbage(path):
    path.write_bytes(b"\x5a" * 65536)


def database(t):
    return contextlib.closing(sqlite3.connect(t.data / "directory.db", isolation_level=None))


def is_told_the_truth(t):
    [_, [existing, invented]] = answers(t, TRUSTED)
    print(existing, "/", invented)
    return existing.startswith("250") and invented.startswith("550")


@pytest.mark.parametrize("ruin", [garbage, os.unlink, lambda p: p.chmod(0)],
                         ids=["garbage", "removed", "forbidden"])
def test_a_ruined_directory_is_no_answer(make_tacit, ruin):
    """Further ways: test_directory_faults.c."""
    t = make_tacit(extra=RELAY).start()
    t.user("add", "alice@example.test")
    path = t.data / "directory.db"
    assert is_told_the_truth(t)
    owner = path.stat()
    with database(t) as c:
        c.execute("VACUUM INTO ?", (str(t.dir / "backup"),))
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or the log has it all still
    os.chown(t.dir / "backup", owner.st_uid, owner.st_gid)
    ruin(path)
    left = path.stat().st_size if path.exists() else None
    t.user("list", check=False)  # who only looks mends nothing, and makes nothing in its place
    assert (path.stat().st_size if path.exists() else None) == left
    for existing, invented in answers(t, TRUSTED):  # the truth that it remembers, or nothing
        assert existing[:3] in ("250", "451") and invented[:3] in ("550", "451"), (existing, invented)
    for tag in ("first", "second"):
        nobody_is_told(t)
        assert send(t, tag, ["alice@example.test", "nobody@example.test"]).startswith("250")
        keeper = pid_of(t, "keeper")
        os.kill(keeper, signal.SIGKILL)  # the next one remembers nothing
        wait_until(lambda: pid_of(t, "keeper") != keeper, 10)
        for existing, invented in answers(t, TRUSTED):
            assert existing == invented and existing.startswith("451"), (existing, invented)
    (t.dir / "backup").rename(path)
    wait_until(lambda: is_told_the_truth(t), 10)
    t.run("queue", "retry", "--all")
    wait_until(lambda: copies(t, "alice", "second") == 1, 20)


def test_a_locked_directory_is_no_answer(make_tacit):
    t = make_tacit(extra=RELAY).start()
    t.user("add", "alice@example.test")
    keeper = pid_of(t, "keeper")
    with database(t) as other:
        other.execute("BEGIN EXCLUSIVE")  # a writer: readers do not wait for it
        assert is_told_the_truth(t)
        nobody_is_told(t)
        other.execute("ROLLBACK")
    with database(t) as other:
        with stopped(t):
            os.kill(keeper, signal.SIGKILL)
            wait_until(lambda: is_dead(keeper), 10)
            other.execute("PRAGMA locking_mode = EXCLUSIVE")  # not even a reader gets in
            other.execute("BEGIN EXCLUSIVE")
        wait_until(lambda: pid_of(t, "keeper") != keeper, 10)
        for existing, invented in answers(t, TRUSTED):
            assert existing == invented and existing.startswith("451"), (existing, invented)
        nobody_is_told(t)
    wait_until(lambda: is_told_the_truth(t), 10)


@pytest.mark.parametrize("kind", ["sqlite:directory.db", "file:users"])
def test_users_are_added_under_load(make_tacit, kind):
    t = make_tacit(extra=RELAY)
    t.settings["text"] = t.conf.read_text().replace("sqlite:directory.db", kind)
    t.write_config()
    t.start()
    t.user("add", "alice@example.test")
    load = subprocess.Popen([LOAD, "-t", "alice@example.test", "-m", "600", "-s", "4", "-k", "5",
                             f"127.0.0.1:{t.mx}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for i in range(12):
        t.user("add", f"user{i}@example.test")
        assert is_told_the_truth(t)
        with t.connect(source=TRUSTED) as c:
            c.helo()
            c.cmd("MAIL FROM:<s@elsewhere.example>")
            assert c.cmd(f"RCPT TO:<user{i}@example.test>").startswith("250")
    out, _ = load.communicate(timeout=60)
    assert load.returncode == 0, out
    wait_until(lambda: len(t.mail("alice")) == 600, 30)


# ---- memory ----

def each_allocation(plan, story, most=400, seconds=5, count=1):
    """story(n) runs with the n-th allocation failing, and the next ones up to `count`, for n = 1, 2, ... until none
    fails; gives how many did."""
    end = time.monotonic() + seconds
    for n in range(1, most):
        plan.calls = plan.hits = 0
        plan.count = count
        plan.at = n
        try:
            story(n)
        finally:
            plan.at = 0
        if not plan.hits or time.monotonic() > end:
            return n - 1
    return most


@needs_preload
def test_memory_of_a_front(planned):
    t, plan = planned("front", extra=RELAY)
    front = pid_of(t, "front")
    accepted = []

    def story(n):
        try:
            reply = send(t, f"front{n}", "alice@example.test", timeout=10.0, source=TRUSTED)
        except (EOFError, ConnectionError):
            return
        except AssertionError as e:  # EHLO was not answered 250
            assert "421" in str(e)
            return
        assert reply[:1] in "24", reply
        if reply.startswith("250"):
            accepted.append(f"front{n}")
    failed = each_allocation(plan, story)
    assert failed > 5
    assert [pid for role, pid in t.roles() if role == "front"].count(front) == 1
    assert send(t, "last", "alice@example.test").startswith("250")
    wait_until(lambda: not t.queue(), 20)
    tags = sorted(parsed(m)["X-Tag"] for m in t.mail("alice"))
    assert tags == sorted(accepted + ["last"])


@needs_preload
def test_memory_of_the_keeper(planned):
    t, plan = planned("keeper", extra=RELAY)
    keeper = pid_of(t, "keeper")

    def story(n):
        for [existing, invented] in answers(t, TRUSTED):
            assert existing[:3] in ("250", "451", "421") and invented[:3] in ("550", "451", "421"), (existing, invented)
    assert each_allocation(plan, story, 60) >= 1
    assert pid_of(t, "keeper") == keeper
    assert is_told_the_truth(t)


@needs_preload
def test_memory_of_back(planned):
    t, plan = planned("back")
    t.user("alias", "both@example.test", "alice@example.test", check=False)
    sent = []

    def story(n):
        sent.append(f"back{n}")
        assert send(t, f"back{n}", "alice@example.test").startswith("250")
        end = time.monotonic() + 0.3
        while not copies(t, "alice", f"back{n}") and time.monotonic() < end:
            time.sleep(0.01)
    assert each_allocation(plan, story, 100, 5) >= 5
    pid_of(t, "back")
    t.run("queue", "retry", "--all")

    def all_there():
        tags = sorted(parsed(m)["X-Tag"] for m in t.mail("alice"))
        return len(tags) >= len(sent)
    wait_until(all_there, 60)
    assert sorted(parsed(m)["X-Tag"] for m in t.mail("alice")) == sorted(sent)


# ---- sending: who connects and who asks the DNS ----

@pytest.fixture
def remote(tmp_path):
    """A server that takes the mail of every domain below remote.example, each message on a connection of its own; and
    what a configuration needs to find it."""
    host = Host("127.0.1.1", free_port(), extensions=["LIMITS MAILMAX=1"])
    names = NameServer(tmp_path, "*.remote.example. MX 10 mx.hosts.example.\nmx.hosts.example. A 127.0.1.1").start()
    host.smarthost = f'{RELAY} route "*" {{ via = "smtp://127.0.1.1:{host.port}" }} queue {{ retry = {{"200ms"}} }}'
    host.by_dns = (f'{RELAY} route "*" {{ port = {host.port} }} queue {{ retry = {{"200ms"}} }} '
                   f'dns {{ server = "{names.address}"  validate = false }}')
    host.arrived = lambda tag: sum(parsed(m.content)["X-Tag"] == tag for m in list(host.messages))
    yield host
    host.stop()
    names.stop()


def sends_one_for_each_fault(t, plan, remote, count, name):
    """What was sent, each message on a way of its own and with another allocation failing there."""
    sent = []

    def story(n):
        sent.append(f"{name}{n}")
        assert send(t, sent[-1], f"bob@{sent[-1]}.remote.example", source=TRUSTED).startswith("250")
        end = time.monotonic() + 0.3
        while not remote.arrived(sent[-1]) and time.monotonic() < end:
            time.sleep(0.005)
    each_allocation(plan, story, 100, 3, count)
    return sent


@needs_preload
@pytest.mark.parametrize("way, count", [("smarthost", 1), ("by_dns", 5)])
def test_memory_of_the_carrier(planned, remote, way, count):
    """Every message arrives, once, and the carrier goes on."""
    t, plan = planned("carrier", extra=getattr(remote, way))
    carrier = pid_of(t, "carrier")
    sent = sends_one_for_each_fault(t, plan, remote, count, "carrier")
    assert len(sent) > 5
    wait_until(lambda: not t.queue(), 30)
    assert [remote.arrived(tag) for tag in sent] == [1] * len(sent)
    assert pid_of(t, "carrier") == carrier


@needs_preload
@pytest.mark.parametrize("count", [1, 5])
def test_memory_of_the_resolver(planned, remote, count):
    """The library may lose a question, or get stuck: then another resolver takes its place."""
    t, plan = planned("resolver", extra=remote.by_dns)
    sent = sends_one_for_each_fault(t, plan, remote, count, "resolver")
    sent.append("later")
    assert send(t, "later", "bob@later.remote.example", source=TRUSTED).startswith("250")
    wait_until(lambda: remote.arrived("later"), 20)
    os.kill(pid_of(t, "resolver"), signal.SIGKILL)  # what one has lost is asked of the next
    wait_until(lambda: not t.queue(), 20)
    assert [remote.arrived(tag) for tag in sent] == [1] * len(sent)


@needs_preload
@pytest.mark.parametrize("role", ["carrier", "resolver", "back"])
def test_no_descriptor_is_left(planned, remote, role):
    """What needs a socket, or memory that is given away as a file, waits, and arrives once when there are some again."""
    t, plan = planned(role, extra=remote.by_dns)
    process, sent = pid_of(t, role), [f"{role}{n}" for n in range(4)]
    plan.no_files = 1
    with t.connect(source=TRUSTED) as c:
        c.helo()
        for tag in sent:
            content = b"X-Tag: %s\r\n\r\n" % tag.encode() + b"too large for a channel\r\n" * 1600
            assert c.message("", f"bob@{tag}.remote.example", content).startswith("250")
    wait_until(lambda: plan.hits, 20)
    time.sleep(0.5)
    assert not remote.messages and len(t.queue()) == len(sent)
    plan.no_files = 0
    wait_until(lambda: not t.queue(), 60)
    assert [remote.arrived(tag) for tag in sent] == [1] * len(sent)
    assert pid_of(t, role) == process


@needs_preload
@pytest.mark.parametrize("role, peer", [("front", "keeper"), ("front", "back"), ("back", "keeper"),
                                        ("carrier", "back"), ("carrier", "resolver")])
def test_a_channel_for_which_there_was_no_memory_comes_later(planned, role, peer):
    """The peer starts over while the role can make no channel to it."""
    host = Host("127.0.1.1", free_port())
    extra = f'{RELAY} route "*" {{ via = "smtp://127.0.1.1:{host.port}" }} queue {{ retry = {{"200ms"}} }}'
    t, plan = planned(role, extra=extra)
    plan.calls, plan.hits, plan.count, plan.at = 0, 0, 1 << 40, 1
    os.kill(pid_of(t, peer), signal.SIGKILL)
    wait_until(lambda: plan.hits, 20)
    plan.at = 0
    wait_until(lambda: f"{role}-0 has lost its channel to the {peer}" in t.log(), 20)
    for rcpt in ("alice@example.test", "bob@remote.example"):
        assert send(t, rcpt, rcpt, source=TRUSTED, timeout=20).startswith("250")
    wait_until(lambda: copies(t, "alice", "alice@example.test") == len(host.messages) == 1, 30)
    host.stop()
