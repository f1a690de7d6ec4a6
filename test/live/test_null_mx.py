"""What a front knows of other domains: that one says in the DNS that it takes no mail (RFC 7505), that other servers said
that an address is dead. What clients are told of it, and that a DNS which gives no answers stops nobody."""
import contextlib
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

import pytest

from conftest import PATIENCE, TACIT, free_port, wait_until
from nameserver import NameServer

ZONE = """
null.example. MX 0 .
mail.example. MX 10 mx.mail.example.
mx.mail.example. A 127.0.0.9
odd.example. MX 0 .
odd.example. MX 10 mx.mail.example.
www.example. A 127.0.0.9
"""
RELAY = 'relay { networks = {"127.0.0.2/32"} }'
NO_SENDER = "550 5.7.27 The sender's domain says in the DNS that it takes no mail (null MX), so nobody could answer"
NO_MAIL = "556 5.1.10 The domain says in the DNS that it takes no mail at all (null MX)"
WAIT = 2.0  # of a front for the DNS
FAILURES = 3


@pytest.fixture(scope="module")
def names():
    with tempfile.TemporaryDirectory(prefix="tacit-live-") as d:
        server = NameServer(d, ZONE).start()
        yield server
        server.stop()


def dns(address):
    return f'dns {{ server = "{address}"  validate = false }}'


@pytest.fixture
def server(make_tacit, names):
    t = make_tacit(extra=f"""{RELAY}
{dns(names.address)}
queue {{ paused = true }}
route "smart.example" {{ via = "smtp://127.0.0.9:25" }}""").start()
    t.user("add", "alice@example.test")
    return t


def test_senders(server, names):
    for source in None, "127.0.0.2":  # a stranger, and one that may relay
        with server.connect(source=source) as c:
            c.helo()
            for _ in range(2):
                assert c.cmd("MAIL FROM:<bob@null.example>") == NO_SENDER
            assert c.cmd("RCPT TO:<alice@example.test>").startswith("503")
            for sender in "bob@mail.example", "bob@odd.example", "bob@www.example", "bob@nowhere.example", "Bob@MAIL.example":
                assert c.cmd(f"MAIL FROM:<{sender}>").startswith("250 2.1.0"), sender
                assert c.cmd("RSET").startswith("250")
    assert "result=refused code=550 status=5.7.27" in server.log()
    assert [names.questions(d, "MX") for d in ("null.example", "mail.example", "example.test")] == [1, 1, 0]


def test_not_asked(server, names):
    with server.connect() as c:
        c.helo()
        before = names.log().count(" MX IN")
        for sender in "", "alice@example.test", "x@[127.0.0.1]":
            assert c.cmd(f"MAIL FROM:<{sender}>").startswith("250")
            c.cmd("RSET")
        c.cmd("MAIL FROM:<>")
        assert c.cmd("RCPT TO:<bob@null.example>") == "550 5.7.1 Relaying denied: not a domain of ours"
        assert names.log().count(" MX IN") == before


def test_recipients(server, names):
    with server.connect(source="127.0.0.2") as c:
        c.helo()
        c.cmd("MAIL FROM:<alice@example.test>")
        assert c.cmd("RCPT TO:<bob@null.example>") == NO_MAIL
        assert c.cmd("RCPT TO:<carol@null.example>") == NO_MAIL
        for there in "bob@mail.example", "bob@odd.example", "bob@smart.example", "alice@example.test", "b@[192.0.2.1]":
            assert c.cmd(f"RCPT TO:<{there}>").startswith("250"), there
        assert names.questions("smart.example", "MX") == 0  # that way does not depend on the DNS
        assert c.cmd("RCPT TO:<invented@example.test>").startswith("550 5.1.1")
        c.cmd("DATA")
        c.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert c.reply().startswith("250")
    [row] = wait_until(server.queue)  # back may not have read it yet
    assert len(row["recipients"]) == 5


def test_order(server):
    """Commands sent in one go are answered in their order, whatever has to be asked for which."""
    with server.connect(source="127.0.0.2") as c:
        c.helo()
        c.send("MAIL FROM:<x@mail.example>\r\nRCPT TO:<a@fresh1.example>\r\nRCPT TO:<a@null.example>\r\n"
               "RCPT TO:<alice@example.test>\r\nRCPT TO:<a@fresh2.example>\r\nRSET\r\nMAIL FROM:<x@null.example>\r\nNOOP\r\n")
        assert [c.reply()[:10] for _ in range(8)] == ["250 2.1.0 ", "250 2.1.0 ", "556 5.1.10", "250 2.1.5 ", "250 2.1.0 ",
                                                      "250 2.0.0 ", "550 5.7.27", "250 2.0.0 "]


def test_sendmail(server):
    r = subprocess.run([TACIT, "sendmail", "--config", str(server.conf), "-f", "alice@example.test", "bob@null.example"],
                       input="Subject: x\n\nx\n", capture_output=True, text=True, timeout=60)
    assert r.returncode != 0 and NO_MAIL in r.stderr, (r.returncode, r.stderr)


def mails(t, domains):
    """Seconds that MAIL took for a sender of each domain, in one session."""
    took = []
    with t.connect(timeout=60) as c:
        c.helo()
        for domain in domains:
            began = time.monotonic()
            assert c.cmd(f"MAIL FROM:<x@{domain}>").startswith("250 2.1.0")
            took.append(time.monotonic() - began)
            c.cmd("RSET")
    return took


def waited(took):
    """How many were made to wait; none for much longer than it should."""
    assert max(took) < WAIT + 1 * PATIENCE, took
    return sum(t > WAIT / 4 for t in took)


def test_a_dead_dns_stops_nobody(make_tacit):
    t = make_tacit(extra=dns(f"127.0.0.1:{free_port()}"), extra_global="fronts = 1").start()
    assert waited(mails(t, [f"d{i}.example" for i in range(50)])) <= FAILURES


def test_a_black_hole_stops_nobody_and_its_end_is_seen(make_tacit):
    hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    hole.bind(("127.0.0.1", free_port()))
    t = make_tacit(extra=dns("127.0.0.1:%d" % hole.getsockname()[1]), extra_global="fronts = 1").start()
    took = []
    sessions = [threading.Thread(target=lambda i=i: took.extend(mails(t, [f"d{i}.example", f"e{i}.example"])))
                for i in range(20)]
    for s in sessions:
        s.start()
    for s in sessions:
        s.join()
    assert waited(took) <= 20  # the first of each, at the same time
    assert waited(mails(t, [f"f{i}.example" for i in range(50)])) <= FAILURES
    with tempfile.TemporaryDirectory(prefix="tacit-live-") as d:
        names = NameServer(d, ZONE, port=hole.getsockname()[1])
        hole.close()
        names.start()
        try:
            with t.connect(timeout=60) as c:
                c.helo()
                wait_until(lambda: c.cmd("MAIL FROM:<x@null.example>") == NO_SENDER or not c.cmd("RSET"), 30 * PATIENCE, 0.2)
        finally:
            names.stop()


SAID = [  # address, outcome, days ago, moved to; what a submitter is told
    ("gone@mail.example", "no-mailbox", 2, "", "550 5.1.1 There is no such mailbox; mx.mail.example said so on {date}: 5.1.1 Nobody"),
    ("Moved@mail.example", "moved", 1, "new@mail.example",
     "551 5.1.6 The mailbox has moved to <new@mail.example>; mx.mail.example said so on {date}: 5.1.1 Nobody"),
    ("away@mail.example", "moved", 1, "", "550 5.1.6 The mailbox has moved; mx.mail.example said so on {date}"),
    ("@none.example", "no-mail", 3, "", "556 5.1.10 The domain takes no mail at all; mx.mail.example said so on {date}"),
    ("old@mail.example", "no-mailbox", 20, "", None),
    ("full@mail.example", "full", 1, "", None),
    ("fine@mail.example", "delivered", 1, "", None),
]


def test_what_others_said(make_tacit, names):
    """With contacts.suppress a submitter is told at once what another server said of an address lately; nobody else is."""
    t = make_tacit(extra=f"""{RELAY}
{dns(names.address)}
queue {{ paused = true }}
contacts {{ suppress = "10d" }}""").start()
    t.user("add", "alice@example.test")
    now = int(time.time() * 1000)
    with contextlib.closing(sqlite3.connect(t.data / "contacts.db", timeout=30)) as db, db:
        for address, outcome, days, moved, _ in SAID:
            local, domain = address.split("@")
            at = now - days * 86400000
            db.execute("INSERT INTO contact (domain, key, local, outcome, unconfirmed, first, last, delivered, code, status, text,"
                       " host, moved) VALUES (?, ?, ?, ?, 0, ?, ?, 0, 550, '5.1.1', '5.1.1 Nobody', 'mx.mail.example', ?)",
                       (domain, local.lower(), local, outcome, at, at, moved))

    def submit(address):
        return subprocess.run([TACIT, "sendmail", "--config", str(t.conf), "-f", "alice@example.test", address],
                              input="Subject: x\n\nx\n", capture_output=True, text=True, timeout=60)
    for address, _, days, _, told in SAID:
        address = address if address[0] != "@" else "any" + address
        r = submit(address)
        if told:
            date = time.strftime("%Y-%m-%d", time.gmtime(now / 1000 - days * 86400))
            assert r.returncode != 0 and told.format(date=date) in " ".join(r.stderr.split()), r.stderr
        else:
            assert r.returncode == 0, r.stderr
    with t.connect(source="127.0.0.2") as c:
        c.helo()
        c.cmd("MAIL FROM:<alice@example.test>")
        assert c.cmd("RCPT TO:<gone@mail.example>").startswith("250")
