"""What a front holds in memory and on disk while messages come in, and that it gives all of it back; whom it asks, and
what it writes down."""
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from conftest import TACIT, parsed, wait_until, without_trace

LINE = b"0123456789" * 7 + b"\r\n"


def bodies(t):
    return list((t.data / "spool").glob("lane-*/body/*"))


def begin(c, to="alice@example.test"):
    c.helo()
    c.cmd("MAIL FROM:<s@elsewhere.example>")
    assert c.cmd(f"RCPT TO:<{to}>").startswith("250")
    assert c.cmd("DATA").startswith("354")


def memory_of(t, role):
    """The largest resident set of the processes of that role, octets."""
    sizes = []
    for name, pid in t.roles():
        if name == role:
            status = Path(f"/proc/{pid}/status").read_text()
            sizes.append(int(status.split("VmRSS:")[1].split()[0]) * 1024)
    return max(sizes)


def is_sanitized():
    """From the file: whose process it is may not look into the process."""
    return b"__asan_init" in Path(TACIT).read_bytes()


SMALL_MEMORY = 'fronts = 1'
LIMITS = 'limits { memory = "1M"  inline_body = "64K"  sessions_per_client = 1000 }'


def test_memory_is_limited_while_many_send(make_tacit):
    t = make_tacit(extra_global=SMALL_MEMORY, extra=LIMITS).start()
    t.user("add", "alice@example.test")
    before = memory_of(t, "front")
    clients = [t.connect() for _ in range(100)]
    for c in clients:
        begin(c)
    for c in clients:
        c.send(b"Subject: many\r\n\r\n")
    for _ in range(10):  # 700 KiB each, 70 MiB in all
        for c in clients:
            c.send(LINE * 1000)
    if not is_sanitized():
        assert memory_of(t, "front") - before < 24 << 20
    for c in clients:
        c.send(b".\r\n")
    for c in clients:
        assert c.reply().startswith("250")
    want = b"Subject: many\r\n\r\n" + LINE * 10000
    assert all(without_trace(m) == want for m in t.wait_mail("alice", 100, 60))
    wait_until(lambda: not bodies(t), 20)


def test_slow_clients_do_not_keep_the_memory_from_others(make_tacit):
    t = make_tacit(extra_global=SMALL_MEMORY, extra=LIMITS).start()
    t.user("add", "alice@example.test")
    slow = [t.connect() for _ in range(60)]
    for c in slow:
        begin(c)
        c.send(b"Subject: slow\r\n\r\n" + LINE * 600)  # 42 KiB: below the limit of each, above that of all
    began = time.monotonic()
    with t.connect() as c:
        begin(c)
        c.send(b"Subject: quick\r\n\r\n" + LINE * 3000 + b".\r\n")
        assert c.reply().startswith("250")
    assert time.monotonic() - began < 3
    assert parsed(t.wait_mail("alice")[0])["Subject"] == "quick"
    for c in slow:
        c.send(b".\r\n")
    for c in slow:
        assert c.reply().startswith("250")
    mail = [m for m in t.wait_mail("alice", 61, 30) if b"Subject: slow" in m]
    assert all(without_trace(m) == b"Subject: slow\r\n\r\n" + LINE * 600 for m in mail) and len(mail) == 60


def test_what_breaks_off_leaves_no_file(make_tacit):
    t = make_tacit(extra='timeouts { data = "2s" }').start()
    t.user("add", "alice@example.test")
    clients = [t.connect() for _ in range(10)]
    for c in clients:
        begin(c)
        c.send(b"Subject: never whole\r\n\r\n" + LINE * 20000)
    wait_until(lambda: len(bodies(t)) == 10)
    for c in clients[:5]:
        c.close()
    wait_until(lambda: len(bodies(t)) == 5)
    for c in clients[5:8]:
        assert c.reply().startswith("421 4.4.2")
    wait_until(lambda: not bodies(t))
    assert not t.mail("alice")


@pytest.mark.parametrize("end", [b"bare\nline\r\n.\r\n", b"\0\r\n.\r\n"])
def test_a_large_message_that_is_refused_leaves_no_file(tacit, end):
    with tacit.connect() as c:
        begin(c)
        c.send(b"Subject: large and wrong\r\n\r\n" + LINE * 20000 + end)
        assert c.reply().startswith("550 5.6.0")
        wait_until(lambda: not bodies(tacit))
        assert c.message("s@elsewhere.example", "alice@example.test").startswith("250")
    tacit.wait_mail("alice")


def test_a_large_bounce_that_answers_nothing_leaves_no_file(tacit):
    with tacit.connect() as c:
        c.helo()
        c.cmd("MAIL FROM:<>")
        c.cmd("RCPT TO:<alice@example.test>")
        c.cmd("DATA")
        c.send(b"Subject: bounce\r\n\r\n" + LINE * 20000 + b".\r\n")
        assert c.reply().startswith("550 5.7.1")
    wait_until(lambda: not bodies(tacit))
    assert not tacit.mail("alice")


def test_refused_strangers_leave_nothing(make_tacit):
    t = make_tacit(disclosure='strangers = "refuse"').start()
    with t.connect() as c:
        begin(c)
        c.send(b"Subject: x\r\n\r\n" + LINE * 20000)
        time.sleep(0.3)
        assert not bodies(t)
        c.send(b".\r\n")
        assert c.reply().startswith("550 5.7.26")


def test_large_lmtp_and_bdat(make_tacit):
    from conftest import free_port
    port = free_port()
    t = make_tacit(extra_listen=f'listen local {{ address = "127.0.0.1:{port}"  protocol = "lmtp" }}').start()
    for n in ("alice", "bob"):
        t.user("add", f"{n}@example.test")
    content = b"Subject: large\r\n\r\n" + LINE * 10000
    with t.connect(port) as c:
        c.cmd("LHLO x.example")
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        for n in ("alice", "bob"):
            assert c.cmd(f"RCPT TO:<{n}@example.test>").startswith("250")
        half = len(content) // 2
        c.send(b"BDAT %d\r\n" % half + content[:half])
        assert c.reply().startswith("250")
        c.send(b"BDAT %d LAST\r\n" % (len(content) - half) + content[half:])
        assert c.reply().startswith("250 2.0.0 Ok: queued as") and c.reply().startswith("250 2.0.0 Ok: queued as")
        assert c.cmd("NOOP").startswith("250")
    for n in ("alice", "bob"):
        assert without_trace(t.wait_mail(n)[0]) == content


def test_pipelined_messages_of_one_session_are_all_stored(tacit):
    with tacit.connect() as c:
        c.helo()
        one = b"MAIL FROM:<s@elsewhere.example>\r\nRCPT TO:<alice@example.test>\r\n"
        expected = 0
        talk = b""
        for i in range(50):
            content = b"Subject: %d\r\n\r\n" % i + LINE * (i * 5)
            talk += one + b"BDAT %d LAST\r\n" % len(content) + content
            expected += 3
        c.sock.settimeout(30)
        c.send(talk + b"QUIT\r\n")
        replies = [c.reply()[:3] for _ in range(expected + 1)]
    assert replies == ["250"] * expected + ["221"]
    assert {parsed(m)["Subject"] for m in tacit.wait_mail("alice", 50)} == {str(i) for i in range(50)}


def test_a_client_that_does_not_read_costs_no_memory(make_tacit):
    t = make_tacit(extra_global=SMALL_MEMORY, extra='timeouts { command = "3s" }').start()
    c = t.connect()
    c.helo()
    before = memory_of(t, "front")
    c.sock.settimeout(2)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += c.sock.send(b"HELP\r\n" * 4000)
    except OSError:
        pass
    assert sent < 64 << 20, "nobody stops reading"
    if not is_sanitized():
        assert memory_of(t, "front") - before < 2 << 20
    with t.connect() as other:
        other.helo()
        assert other.cmd("NOOP").startswith("250")


def test_the_limit_of_a_network_does_not_count_relays(make_tacit):
    t = make_tacit(extra='relay { networks = {"127.0.0.9"} }  limits { sessions_per_client = 3 }').start()
    relays = [t.connect(source="127.0.0.9") for _ in range(10)]
    assert all(c.greeting.startswith("220") for c in relays)
    held = [t.connect(source="127.0.0.7") for _ in range(4)]
    assert [c.greeting[:3] for c in held] == ["220", "220", "220", "421"]


def test_one_local_user_does_not_get_all_sessions(make_tacit):
    t = make_tacit(extra="limits { sessions = 12 }").start()
    held, greetings = [], []
    for _ in range(6):
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].connect(str(t.data / "run" / "submit.sock"))
        held[-1].settimeout(20)
        greetings.append(held[-1].recv(1000)[:9])
    assert greetings == [b"220 mx.ex"] * 4 + [b"421 4.7.0"] * 2
    with t.connect() as c:
        assert c.greeting.startswith("220")
    for s in held:
        s.close()


def test_a_question_is_put_to_the_next_keeper(make_tacit):
    t = make_tacit(extra='relay { networks = {"127.0.0.0/8"} }').start()
    t.user("add", "alice@example.test")
    asking, leaving = t.connect(), t.connect()
    for c in (asking, leaving):
        c.helo()
        assert c.cmd("MAIL FROM:<s@elsewhere.example>").startswith("250")
    keeper = [pid for name, pid in t.roles() if name == "keeper"][0]
    os.kill(keeper, signal.SIGSTOP)
    asking.send("RCPT TO:<alice@example.test>\r\nRCPT TO:<nobody@example.test>\r\nVRFY alice\r\nNOOP\r\n")
    leaving.send("RCPT TO:<alice@example.test>\r\n")
    time.sleep(0.3)
    leaving.close()
    with t.connect() as other:  # who asks nothing waits for nothing
        other.helo()
        assert other.cmd("NOOP").startswith("250")
    os.kill(keeper, signal.SIGKILL)
    assert asking.reply().startswith("250 2.1.5")
    assert asking.reply().startswith("550 5.1.1")
    assert asking.reply().startswith("250 2.1.5")
    assert asking.reply().startswith("250")
    assert asking.cmd("DATA").startswith("354")
    asking.send("Subject: asked twice\r\n\r\nx\r\n.\r\n")
    assert asking.reply().startswith("250")
    assert parsed(t.wait_mail("alice")[0])["Subject"] == "asked twice"


def test_own_address_literal_and_bare_postmaster_belong_to_the_first_domain(tacit):
    with tacit.connect() as c:
        c.helo()
        assert c.message("s@elsewhere.example", "alice@[127.0.0.1]", b"Subject: literal\r\n\r\nx\r\n").startswith("250")
        assert c.message("s@elsewhere.example", "Postmaster", b"Subject: bare\r\n\r\nx\r\n").startswith("250")
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        assert c.cmd("RCPT TO:<alice@[192.0.2.77]>").startswith("550 5.7.1")
    assert parsed(tacit.wait_mail("alice")[0])["Subject"] == "literal"
    assert parsed(tacit.wait_mail("postmaster")[0])["Subject"] == "bare"


def test_every_connection_and_transaction_has_one_line(make_tacit):
    t = make_tacit(extra="limits { sessions_per_client = 2 }").start()
    t.user("add", "alice@example.test")
    with t.connect() as c, t.connect() as silent:
        c.helo("one.example")
        assert c.message("s@elsewhere.example", ["alice@example.test"] + [f"u{i}@example.test" for i in range(7)])
        c.cmd("MAIL FROM:<second@elsewhere.example>")
        assert t.connect().greeting.startswith("421 4.7.0")
        assert c.cmd("QUIT").startswith("221")
        silent.close()

    def lines(kind):
        return [line for line in t.log().splitlines() if f" {kind} " in line]
    wait_until(lambda: len(lines("session")) == 3)
    done, abandoned = wait_until(lambda: len(lines("transaction")) == 2 and lines("transaction"))
    assert "from=<s@elsewhere.example>" in done and "rcpts=8" in done and done.count("@example.test>") == 5
    assert "code=250" in done and "result=accepted" in done
    assert "from=<second@elsewhere.example>" in abandoned and "result=abandoned" in abandoned
    by_reason = {line.split("reason=")[1].strip('"'): line for line in lines("session")}
    assert set(by_reason) == {"quit", "client closed", "too many sessions from the network"}
    assert "helo=one.example" in by_reason["quit"] and "messages=1" in by_reason["quit"]
