"""What a hostile, broken or merely odd client meets on the wire."""
import os
import re
import signal
import socket
import struct
import time

import pytest

from conftest import parsed, wait_until, without_trace


def start_message(c, to="alice@example.test"):
    c.helo()
    assert c.cmd("MAIL FROM:<s@elsewhere.example>").startswith("250 2.1.0")
    assert c.cmd(f"RCPT TO:<{to}>").startswith("250 2.1.0")


def test_ehlo_lists_what_is_offered(tacit):
    with tacit.connect() as c:
        assert re.match(r"220 mx\.example\.test ", c.greeting)
        reply = c.helo()
        assert reply.startswith("250-mx.example.test")
        words = {line[4:].split()[0] for line in reply.split("\n")[1:]}
        assert words >= {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME",
                         "DSN", "LIMITS", "VRFY", "EXPN", "HELP"}
        assert "STARTTLS" not in words and "TURN" not in words and "XCLIENT" not in words
        assert f"SIZE {50 << 20}" in reply and "RCPTMAX=1000" in reply


@pytest.mark.parametrize("line,reply", [
    ("TURN", "502 5.5.1"), ("SEND FROM:<a@b>", "502 5.5.1"), ("SOML FROM:<a@b>", "502 5.5.1"), ("ETRN x", "502 5.5.1"),
    ("STARTTLS", "502 5.5.1"), ("FROB", "500 5.5.1"), ("", "500 5.5."), ("MAIL", "501 5.5."), ("MAIL FROM:", "501 5."),
    ("MAIL FROM:a@b.example", "501 5."), ("MAIL FROM:<a b@c.example>", "501 5.1.7"), ("MAIL FROM:<a@>", "501 5.1.7"),
    ("MAIL FROM:<" + "x" * 65 + "@b.example>", "501 5.1.7"), ("MAIL FROM:<a@b.example> FOO=1", "555 5.5.4"),
    ("MAIL FROM:<a@b.example> SIZE=99999999999", "552 5.3.4"), ("MAIL FROM:<a@b.example> SIZE=x", "501 5.5.4"),
    ("MAIL FROM:<a@b.example> SIZE=1 SIZE=2", "501 5.5.4"), ("MAIL FROM:<a@b.example> BODY=9BIT", "501 5.5.4"),
    ("MAIL FROM:<a@b.example> RET=HALF", "501 5.5.4"), ("RCPT TO:<a@example.test>", "503 5.5.1"), ("DATA", "503 5.5.1"),
    ("RCPT", "503 5.5.1"), ("HELP", "214 2.0.0"), ("NOOP", "250 2.0.0"), ("RSET", "250 2.0.0"),
    ("BDAT 5 LAST x", "501 5.5.4"), ("QUIT now", "501 5.5.4"), ("MAIL FROM:<a@b.example>\0", "500 5.5.2"),
    ("NOOP\rNOOP", "500 5.5.2"), ("X" * 3000, "500 5.5."),
])
def test_commands(tacit, line, reply):
    with tacit.connect() as c:
        c.helo()
        assert c.cmd(line).replace("-", " ", 1).startswith(reply)
        assert c.cmd("NOOP").startswith("250")


def test_a_line_that_ends_in_lf_alone_is_answered_and_not_obeyed(tacit):
    with tacit.connect() as c:
        c.helo()
        c.send(b"MAIL FROM:<a@b.example>\n")
        assert c.reply().startswith("500 5.5.2")
        assert c.cmd("RCPT TO:<alice@example.test>").startswith("503")


def test_order_of_commands(tacit):
    with tacit.connect() as c:
        assert c.cmd("MAIL FROM:<a@b.example>").startswith("503 5.5.1")
        assert c.cmd("EHLO").startswith("501")
        assert c.cmd("HELO client.example").startswith("250 mx.example.test")
        assert c.cmd("MAIL FROM:<a@b.example>").startswith("250")
        assert c.cmd("MAIL FROM:<a@b.example>").startswith("503 5.5.1")
        assert c.cmd("DATA").startswith("503 5.5.1") or c.cmd("DATA").startswith("554 5.5.1")
        assert c.cmd("QUIT").startswith("221 2.0.0")
        assert c.closed()


@pytest.mark.parametrize("content,name", [
    (b"Subject: x\r\n\r\na\n.\n", "LF dot LF"), (b"Subject: x\r\n\r\na\r\n.\n", "CRLF dot LF"),
    (b"Subject: x\r\n\r\na\n.\r\n", "LF dot CRLF"), (b"Subject: x\r\n\r\na\r.\r", "CR dot CR"),
    (b"Subject: x\r\n\r\na\r\n.\r", "CRLF dot CR"), (b"Subject: x\r\n\r\na\r\r\n", "CR CRLF"),
    (b"Subject: x\r\n\r\na\0b\r\n", "NUL"), (b"Subject: x\r\n\r\nbare\nline\r\n", "bare LF")])
def test_nothing_is_smuggled(tacit, content, name):
    """Neither is the smuggled command heard, nor is a message with broken line ends taken."""
    with tacit.connect() as c:
        start_message(c)
        assert c.cmd("DATA").startswith("354")
        smuggled = b"MAIL FROM:<evil@elsewhere.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nevil\r\n"
        c.send(content + smuggled + b"\r\n.\r\n")
        reply = c.reply()
        assert reply.startswith("550 5.6.0"), reply
        assert c.cmd("NOOP").startswith("250")
        assert c.message("s@elsewhere.example", "alice@example.test", b"Subject: good\r\n\r\nx\r\n").startswith("250")
    assert [parsed(m)["Subject"] for m in tacit.wait_mail("alice")] == ["good"]


def test_pipelining_keeps_order(tacit):
    with tacit.connect() as c:
        c.helo()
        c.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<x@remote.example>\r\n"
               "RCPT TO:<bad\r\nDATA\r\n")
        codes = [c.reply()[:9] for _ in range(5)]
        assert codes[:3] == ["250 2.1.0", "250 2.1.0", "550 5.7.1"] and codes[3].startswith("501 5.1.3")
        assert codes[4].startswith("354")
        c.send("Subject: p\r\n\r\nx\r\n.\r\nMAIL FROM:<a@b.example>\r\nRSET\r\nNOOP\r\nQUIT\r\n")
        assert [c.reply()[:3] for _ in range(5)] == ["250", "250", "250", "250", "221"]


def test_bytes_one_by_one(tacit):
    talk = (b"EHLO c.example\r\nMAIL FROM:<s@elsewhere.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
            b"Subject: slow\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
    with tacit.connect() as c:
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(talk)):
            c.send(talk[i:i + 1])
            if talk[i:i + 1] == b"\n":
                time.sleep(0.005)
        replies = [c.reply()[:3] for _ in range(6)]
    assert replies == ["250", "250", "250", "354", "250", "221"]
    assert without_trace(tacit.wait_mail("alice")[0]) == b"Subject: slow\r\n\r\n.dot\r\n"


def test_bdat(tacit):
    with tacit.connect() as c:
        c.helo()
        assert c.cmd("MAIL FROM:<s@elsewhere.example> BODY=8BITMIME").startswith("250")
        assert c.cmd("RCPT TO:<alice@example.test>").startswith("250")
        c.send(b"BDAT 14\r\nSubject: b\r\n\r\n")
        assert c.reply().startswith("250 2.0.0") or True
        c.send(b"BDAT 8\r\n.\r\n..x\r\nBDAT 0 LAST\r\n")
        assert c.reply().startswith("250")
        assert c.reply().startswith("250 2.")
        assert c.cmd("MAIL FROM:<s@elsewhere.example>").startswith("250")
        c.send(b"BDAT 5\r\nhelloNOOP\r\n")  # no recipients: refused, yet its octets are swallowed
        assert c.reply()[:3] in ("503", "554") and c.reply().startswith("250")
        c.cmd("RSET")
        assert c.cmd("BDAT 99999999999999999999").startswith("501")
    assert without_trace(tacit.wait_mail("alice")[0]) == b"Subject: b\r\n\r\n.\r\n..x\r\n"


def test_binarymime_is_kept_as_it_is(tacit):
    body = bytes(range(256)) * 3
    content = b"Subject: bin\r\nContent-Transfer-Encoding: binary\r\n\r\n" + body
    with tacit.connect() as c:
        c.helo()
        assert c.cmd("MAIL FROM:<s@elsewhere.example> BODY=BINARYMIME").startswith("250")
        assert c.cmd("RCPT TO:<alice@example.test>").startswith("250")
        assert c.cmd("DATA").startswith("503 5.5.1")
        c.send(b"BDAT %d LAST\r\n" % len(content) + content)
        assert c.reply().startswith("250")
    assert tacit.wait_mail("alice")[0].endswith(body)


def test_size_is_a_limit_of_the_content_too(make_tacit):
    t = make_tacit(extra='limits { message = "100K" }').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        start_message(c)
        assert c.cmd("DATA").startswith("354")
        c.send((b"x" * 70 + b"\r\n") * 3000 + b".\r\n")
        assert c.reply().startswith("552 5.3.4")
        assert c.message("s@elsewhere.example", "alice@example.test").startswith("250")


def test_loops_are_detected(tacit):
    with tacit.connect() as c:
        c.helo()
        hops = b"Received: from a by b; Sat, 21 Nov 2026 10:00:00 +0000\r\n" * 60
        assert c.message("s@elsewhere.example", "alice@example.test", hops + b"\r\nx\r\n").startswith("554 5.4.6")


def test_errors_and_idle_commands_are_limited(make_tacit):
    t = make_tacit(extra="limits { errors = 5  idle_commands = 10 }").start()
    with t.connect() as c:
        replies = []
        try:
            for _ in range(20):
                replies.append(c.cmd("FROB"))
        except (EOFError, ConnectionError):
            pass
        assert replies[-1].startswith("421 4.7.0") and len(replies) <= 7
    with t.connect() as c:
        c.helo()
        replies = []
        try:
            for _ in range(30):
                replies.append(c.cmd("NOOP"))
        except (EOFError, ConnectionError):
            pass
        assert replies[-1].startswith("421") and len(replies) <= 12


def test_sessions_per_client_are_limited(make_tacit):
    t = make_tacit(extra="limits { sessions_per_client = 8 }").start()
    held = [t.connect() for _ in range(8)]
    refused = t.connect()
    assert refused.greeting.startswith("421 4.7.0")
    assert refused.closed()
    other = t.connect(source="127.0.0.2")
    assert other.greeting.startswith("220")
    for c in held:
        c.close()

    def again():
        with t.connect() as c:
            return c.greeting.startswith("220")
    wait_until(again)


def test_sessions_in_all_are_limited(make_tacit):
    t = make_tacit(extra="limits { sessions = 10  sessions_per_client = 1000 }").start()
    greetings = []
    held = []
    for _ in range(14):
        held.append(t.connect())
        greetings.append(held[-1].greeting[:3])
    assert greetings.count("421") >= 2 and greetings.count("220") <= 12
    for c in held:
        c.close()


def test_silent_and_slow_clients_are_ended(make_tacit):
    t = make_tacit(extra='timeouts { command = "2s"  data = "2s" }').start()
    t.user("add", "alice@example.test")
    silent, half, in_data = t.connect(), t.connect(), t.connect()
    half.send("MAIL FR")
    start_message(in_data)
    assert in_data.cmd("DATA").startswith("354")
    in_data.send("Subject: never ends\r\n")
    for c in (silent, half, in_data):
        assert c.reply().startswith("421 4.4.2")
        assert c.closed()
    with t.connect() as c:
        c.helo()
        assert c.message("s@elsewhere.example", "alice@example.test").startswith("250")
    t.wait_mail("alice")


def test_who_sends_everything_at_once_is_refused(tacit):
    refused = 0
    for _ in range(20):
        c = tacit.connect(greeting=False)
        c.send("EHLO early.example\r\nRSET\r\n")
        refused += c.reply().startswith("554 5.5.0") and c.closed()
        c.close()
    assert refused >= 10  # a busy machine may keep this client from being early


def test_early_talkers_are_refused(make_tacit):
    t = make_tacit(extra='limits { greeting_delay = "500ms" }').start()
    c = t.connect(greeting=False)
    c.send("EHLO early.example\r\n")
    assert c.reply().startswith("554 5.5.")
    polite = t.connect()
    assert polite.greeting.startswith("220") and polite.helo()
    waiting = t.connect(greeting=False)  # a stop does not wait for greetings, nor do greetings come after it
    time.sleep(0.1)
    t.process.send_signal(signal.SIGTERM)
    assert waiting.reply().startswith("421 4.3.2") and waiting.closed()


def test_a_broken_connection_leaves_nothing(tacit):
    for cut in ("MAIL", "DATA"):
        c = tacit.connect()
        start_message(c)
        if cut == "DATA":
            assert c.cmd("DATA").startswith("354")
            c.send("Subject: half\r\n\r\nhalf a mess")
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    with tacit.connect() as c:
        c.helo()
        assert c.message("s@elsewhere.example", "alice@example.test", b"Subject: whole\r\n\r\nx\r\n").startswith("250")
    assert parsed(tacit.wait_mail("alice")[0])["Subject"] == "whole"


@pytest.mark.parametrize("version", [1, 2])
def test_proxy_protocol(make_tacit, version):
    t = make_tacit(mx_settings='proxy = {"127.0.0.1"}').start()
    t.user("add", "alice@example.test")
    c = t.connect(greeting=False)
    if version == 1:
        c.send("PROXY TCP4 198.51.100.7 203.0.113.9 40000 25\r\n")
    else:
        c.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton("198.51.100.7") +
               socket.inet_aton("203.0.113.9") + struct.pack(">HH", 40000, 25))
    assert c.reply().startswith("220")
    c.helo()
    assert c.message("s@elsewhere.example", "alice@example.test").startswith("250")
    assert "[198.51.100.7]" in parsed(t.wait_mail("alice")[0])["Received"]
    bad = t.connect(greeting=False)
    bad.send("EHLO no.header\r\n")
    try:
        assert not bad.line().startswith("220")
    except (EOFError, ConnectionError):
        pass
    plain = t.connect(source="127.0.0.5")  # not a balancer: an ordinary client
    assert plain.greeting.startswith("220")


def test_xclient_only_from_configured_networks(make_tacit):
    t = make_tacit(mx_settings='xclient = {"127.0.0.1"}').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        assert "XCLIENT" in c.helo()
        assert c.cmd("XCLIENT ADDR=198.51.100.8 NAME=far.example HELO=far.example PROTO=ESMTP").startswith("220")
        c.helo("far.example")
        assert c.message("s@elsewhere.example", "alice@example.test").startswith("250")
    assert "[198.51.100.8]" in parsed(t.wait_mail("alice")[0])["Received"]
    other = t.connect(source="127.0.0.2")
    assert "XCLIENT" not in other.helo()
    assert other.cmd("XCLIENT ADDR=198.51.100.8")[:3] in ("500", "502", "550", "503")


def test_lmtp(make_tacit):
    t = make_tacit()
    from conftest import free_port
    port = free_port()
    t.write_config(extra_listen=f'listen local {{ address = "127.0.0.1:{port}"  protocol = "lmtp" }}')
    t.start()
    for n in ("alice", "bob"):
        t.user("add", f"{n}@example.test")
    with t.connect(port) as c:
        assert c.cmd("EHLO x.example")[:1] == "5"
        assert c.cmd("LHLO x.example").startswith("250")
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        for n in ("alice", "bob"):
            assert c.cmd(f"RCPT TO:<{n}@example.test>").startswith("250")
        assert c.cmd("DATA").startswith("354")
        c.send("Subject: lmtp\r\n\r\nx\r\n.\r\n")
        assert c.reply().startswith("250") and c.reply().startswith("250")
        assert c.cmd("NOOP").startswith("250")
    t.wait_mail("alice"), t.wait_mail("bob")


def test_submission_wants_authentication(tacit):
    with tacit.connect(tacit.submit) as c:
        c.helo()
        assert c.cmd("MAIL FROM:<alice@example.test>").startswith("530 5.7.0")


def test_unix_listener(make_tacit):
    t = make_tacit()
    t.write_config(extra_listen=f'listen socket {{ address = "unix:{t.dir}/in.sock" }}')
    t.start()
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(t.dir / "in.sock"))
    assert s.recv(1000).startswith(b"220")
    s.close()


def test_garbage_disturbs_nobody(tacit):
    noise = [os.urandom(4096) for _ in range(20)]
    with tacit.connect() as steady:
        steady.helo()
        for n in noise:
            c = tacit.connect()
            try:
                c.send(n)
                c.send(b"\r\n" + n)
            except ConnectionError:
                pass
            c.close()
        assert steady.message("s@elsewhere.example", "alice@example.test").startswith("250")
    tacit.wait_mail("alice")
