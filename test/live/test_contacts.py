"""What other servers said of their addresses: remembered, shown, exported, forgotten; lists judged by it; and a database
that does not do, which stops no mail."""
import csv
import io
import json
import os
import signal
import sqlite3
import time

import pytest

from conftest import PATIENCE, wait_until
from sending import World

MORE = 'contacts { suppress = "1d" }'
REPLIES = {"dead": "550 5.1.1 <dead@people.example>: No such user", "bare": "550 go away",
           "moved": "551 5.1.6 User not local; please try <new@elsewhere.example>",
           "forwarded": "251 User not local; will forward to <next@elsewhere.example>",
           "perhaps": "252 2.5.0 Perhaps", "full": "452 4.2.2 Mailbox full", "policy": "550 5.7.1 Blocked", "grey": "450 4.7.1 Come back later"}


@pytest.fixture(scope="module")
def world(request):
    w = World(more=MORE, expire="2s")
    w.host("people.example", rcpt=lambda argument: REPLIES.get(argument.strip("<>").split("@")[0], "250 2.1.5 Ok"))
    w.zone.append("nomail.example. MX 0 .\nempty.example. TXT x\n")
    try:
        w.start()
        yield w
    except BaseException:
        w.stop(failed=True)
        raise
    w.stop(failed=request.session.testsfailed > 0)


def contacts(t, *args, **kw):
    return t.run("contacts", *args, **kw)


def rows(t, *args):
    lines = contacts(t, "list", "--json", *args).stdout.splitlines()
    return {r.get("address", "@" + r["domain"]): r for r in map(json.loads, lines)}


def judged(r):
    table = list(csv.reader(io.StringIO(r.stdout)))
    assert table[0] == ["line", "address", "verdict", "explanation", "moved_to", "since", "last"]
    return {row[1]: row for row in table[1:]}


# ---- what is learned ----

@pytest.fixture(scope="module")
def told(world):
    """The rows after one message to each of them."""
    people = [f"{name}@people.example" for name in (*REPLIES, "fine")]
    for i, address in enumerate(people):
        world.send(f"told{i}", address)
    return wait_until(lambda: (lambda found: found if len(found) >= 7 else None)(rows(world.tacit)), 20 * PATIENCE)


def test_what_is_learned(world, told):
    assert set(told) == {f"{name}@people.example" for name in {*REPLIES, "fine"} - {"policy", "grey"}}
    dead, moved, fine = told["dead@people.example"], told["moved@people.example"], told["fine@people.example"]
    assert dead["outcome"] == "no-mailbox" and dead["code"] == 550 and dead["status"] == "5.1.1"
    assert dead["reply"] == "<dead@people.example>: No such user" and dead["host"] == "mx1.hosts.example"
    assert dead["first"] <= dead["last"] and abs(time.mktime(time.strptime(dead["last"], "%Y-%m-%dT%H:%M:%SZ"))
                                                 - time.timezone - time.time()) < 120
    assert told["bare@people.example"]["outcome"] == "no-mailbox"
    assert moved["outcome"] == "moved" and moved["moved_to"] == "new@elsewhere.example"
    assert fine["outcome"] == "delivered" and fine["confirmed"] is True
    assert told["forwarded@people.example"]["outcome"] == "delivered"
    assert told["forwarded@people.example"]["moved_to"] == "next@elsewhere.example"
    assert told["perhaps@people.example"]["confirmed"] is False
    assert told["full@people.example"]["outcome"] == "full"


def test_list_and_show(world, told):
    t = world.tacit
    assert list(rows(t, "--outcome", "moved")) == ["moved@people.example"]
    assert not rows(t, "--domain", "other.example") and len(rows(t, "--domain", "PEOPLE.example", "--since", "1h")) == 7
    assert not rows(t, "--since", "2199-01-01")
    text = contacts(t, "list").stdout
    assert "7 addresses" in text and "no-mailbox" in text and "\x1b" not in text
    shown = contacts(t, "show", "DEAD@people.example").stdout
    assert "no such mailbox" in shown and "550 5.1.1" in shown and "mx1.hosts.example" in shown
    assert "nothing is known" in contacts(t, "show", "who@people.example", check=False).stderr
    for wrong in (["list", "--outcome", "odd"], ["list", "--since", "soon"], ["export", "--csv", "--json"], ["forget"]):
        assert contacts(t, *wrong, check=False).returncode == 2


def test_suppression(world, told):
    """A submitter is told at once; a relay's mail is tried."""
    with world.tacit.connect() as c:
        c.helo()
        c.cmd("MAIL FROM:<alice@example.test>")
        assert c.cmd("RCPT TO:<dead@people.example>").startswith("250")
    r = world.tacit.run("sendmail", "-f", "alice@example.test", "dead@people.example", input="Subject: x\n\nx\n", check=False)
    assert r.returncode != 0 and "No such user" in r.stderr, r
    world.tacit.run("sendmail", "-f", "alice@example.test", "fine@people.example", input="Subject: x\n\nx\n")


def test_export(world, told):
    table = list(csv.DictReader(io.StringIO(contacts(world.tacit, "export").stdout)))
    assert list(table[0]) == ["address", "domain", "outcome", "confirmed", "first", "last", "delivered", "code", "status",
                              "reply", "host", "moved_to"]
    assert [r["address"] for r in table] == sorted(told) and {r["outcome"] for r in table} >= {"delivered", "moved", "full"}
    lines = contacts(world.tacit, "export", "--json").stdout.splitlines()
    assert [json.loads(line)["address"] for line in lines] == sorted(told)


# ---- a list is judged ----

LIST = ('\ufeffName;E-Mail;Note\r\n"Doe; ""D""";dead@people.example;"two\r\nlines"\r\nM;MOVED@people.example;\r\n'
        ';fine@PEOPLE.example;\r\n;who@people.example;\r\n;alice@example.test;\r\n;x@nomail.example;\r\n'
        ';x@missing.example;\r\n;x@empty.example;\r\n;=HYPERLINK(1)@x;\r\n;nonsense;\r\n\r\n;full@people.example;\r\n')


def test_check(world, told):
    path = world.tacit.dir / "list.csv"
    path.write_text(LIST, newline="")
    r = contacts(world.tacit, "check", str(path), check=False)
    found = judged(r)
    verdicts = {address: row[2] for address, row in found.items()}
    assert verdicts == {"dead@people.example": "no-mailbox", "MOVED@people.example": "moved",
                        "fine@people.example": "delivered", "who@people.example": "ok", "alice@example.test": "ours",
                        "x@nomail.example": "no-mail", "x@missing.example": "no-domain", "x@empty.example": "no-host",
                        "'=HYPERLINK(1)@x": "bad-address", "nonsense": "bad-address", "full@people.example": "full"}
    assert r.returncode == 1 and "11 addresses: 1 ok" in r.stderr and "\r" not in r.stderr
    assert found["dead@people.example"][0] == "2" and found["MOVED@people.example"][0] == "4"
    assert found["MOVED@people.example"][4] == "new@elsewhere.example" and found["dead@people.example"][5]
    lines = contacts(world.tacit, "check", "-", "--json", input="who@people.example\nfine@people.example\n").stdout
    assert [json.loads(line)["verdict"] for line in lines.splitlines()] == ["ok", "delivered"]
    assert [json.loads(line)["line"] for line in lines.splitlines()] == [1, 2]


def test_check_of_a_wrong_list(world):
    for text, words in (('a@b.example\n"open\n', "quote"), ("\ufeffx".encode("utf-16").decode("latin-1"), "UTF-16")):
        r = contacts(world.tacit, "check", "-", input=text.encode("latin-1"), check=False)
        assert r.returncode == 1 and words.encode() in r.stderr, r
    r = contacts(world.tacit, "check", "-", "--column", "odd", input="name,mail\na@b.example,x\n", check=False)
    assert r.returncode == 1 and "odd" in r.stderr
    assert contacts(world.tacit, "check", "/nowhere.csv", check=False).returncode == 1


def test_check_of_many_domains(world):
    """Asked at once, and once each."""
    text = "".join(f"a{i}@people.example\nb{i}@d{i}.missing.example\n" for i in range(500))
    began = time.monotonic()
    r = contacts(world.tacit, "check", "-", input=text, check=False)
    assert "1000 addresses: 500 ok, 500 no-domain" in r.stderr, r.stderr
    assert time.monotonic() - began < 30 * PATIENCE


def test_better_news(world, told):
    """An address that took mail, then did not, and does again: the last word counts, however soon it is said."""
    for i, reply in enumerate(("250 2.1.5 Ok", "550 5.1.1 No", "250 2.1.5 Ok")):
        REPLIES["turns"] = reply
        world.send(f"turns{i}", "turns@people.example")
        outcome = "no-mailbox" if "No" in reply else "delivered"
        wait_until(lambda: rows(world.tacit).get("turns@people.example", {}).get("outcome") == outcome, 20 * PATIENCE)
    contacts(world.tacit, "forget", "turns@people.example")


# ---- forgetting, and a database that does not do; the rows of `told` are gone after this ----

def test_forget(world, told):
    t = world.tacit
    assert "forgot 1 address" in contacts(t, "forget", "dead@people.example").stdout
    assert contacts(t, "forget", "dead@people.example", check=False).returncode == 1
    assert "dead@people.example" not in rows(t) and len(rows(t)) == 6
    assert "forgot 6 addresses" in contacts(t, "forget", "--domain", "people.example").stdout
    assert not rows(t)
    world.send("again", "bare@people.example")
    wait_until(lambda: "bare@people.example" in rows(t), 20 * PATIENCE)


def test_a_damaged_database(world, told):
    t = world.tacit
    database = t.data / "contacts.db"
    for i in range(60):  # some pages
        world.send(f"page{i}", *[f"u{i}.{k}@people.example" for k in range(10)])
    wait_until(lambda: len(rows(t)) > 600, 30 * PATIENCE)
    with sqlite3.connect(database) as d:
        d.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    d.close()
    with open(database, "r+b") as f:
        f.seek(4096)
        f.write(b"\x5a" * (database.stat().st_size - 4096))
    for i in range(20):
        world.send(f"damaged{i}", f"new{i}@people.example")  # mail goes on
        if "moves the damaged" in t.log():
            break
        time.sleep(0.5)
    wait_until(lambda: "moves the damaged" in t.log(), 20 * PATIENCE)
    assert "damage" in contacts(t, "list", check=False).stderr
    t.reload()
    wait_until(lambda: "contacts.db.damaged" in t.log() and "reloaded:" in t.log(), 20 * PATIENCE)
    world.send("mended", "fresh@people.example")
    wait_until(lambda: "fresh@people.example" in rows(t), 20 * PATIENCE)
    assert (t.data / "contacts.db.damaged").exists()


def test_a_locked_database(world, told):
    t = world.tacit
    with sqlite3.connect(t.data / "contacts.db") as d:
        d.execute("BEGIN IMMEDIATE")
        world.send("locked", "locked@people.example")
        world.gone("locked")
        wait_until(lambda: "lost in part" in t.log(), 20 * PATIENCE)
        d.rollback()
    d.close()
    world.send("unlocked", "unlocked@people.example")
    wait_until(lambda: "unlocked@people.example" in rows(t), 20 * PATIENCE)


def test_killed_processes(world, told):
    """Whoever is killed, what is said afterwards is remembered."""
    t = world.tacit
    for i, role in enumerate(("keeper", "back", "carrier")):
        [pid] = [pid for name, pid in t.roles() if name == role]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: [p for name, p in t.roles() if name == role and p != pid], 10 * PATIENCE)
        world.send(f"killed{i}", f"killed{i}@people.example")
        wait_until(lambda: f"killed{i}@people.example" in rows(t), 20 * PATIENCE)
