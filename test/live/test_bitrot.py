"""Octets of the spool change by themselves: their message is held back and named, and all others arrive."""
import json
import subprocess

import pytest

from conftest import TACIT, wait_until

INLINE = "limits { inline_body = \"8K\" }\n"


def flip(path, offset, bit=2):
    with open(path, "r+b") as f:
        f.seek(offset)
        octet = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([octet ^ 1 << bit]))


def lanes(t):
    """The lanes of the fronts that hold anything."""
    return [d for d in sorted((t.data / "spool").glob("lane-*")) if d.name != "lane-00" and list(d.glob("*.seg"))]


def look(what, lane, *options):
    return subprocess.run([TACIT, "spool", what, str(lane), *options], capture_output=True, text=True, timeout=60)


def records(lane, kind="message"):
    rows = [json.loads(line) for line in look("dump", lane, "--json").stdout.splitlines()]
    return [r for r in rows if r["type"] == kind]


def segment(lane, record):
    return lane / f"{record['segment']:016x}.seg"


def verify(lane):
    r = look("verify", lane)
    return r.returncode, r.stdout


def send(t, subject, to="alice@example.test", lines=20):
    with t.connect() as c:
        c.helo()
        reply = c.message("s@elsewhere.example", to,
                          f"Subject: {subject}\r\n\r\n".encode() + b"0123456789abcdef\r\n" * lines)
        assert reply.startswith("250"), reply


def subjects(t, box="alice"):
    return sorted(line.split()[1].decode() for text in t.mail(box) for line in text.splitlines()
                  if line.startswith(b"Subject: "))


@pytest.fixture
def loaded(make_tacit):
    """A stopped server whose queue has twelve small messages and two large ones."""
    t = make_tacit(extra_global="fronts = 1", extra=INLINE + "queue { paused = true }").start()
    t.user("add", "alice@example.test")
    for i in range(12):
        send(t, f"small{i:02}")
    for i in range(2):
        send(t, f"large{i}", lines=3000)
    t.stop()
    t.write_config(extra=INLINE)
    return t


def test_records_and_a_body_rot(loaded):
    t = loaded
    lane, = lanes(t)
    rows = records(lane)
    assert len(rows) == 14
    assert verify(lane)[0] == 0
    flip(segment(lane, rows[3]), rows[3]["offset"] + 16 + rows[3]["octets"] // 2)  # in its content
    flip(segment(lane, rows[7]), rows[7]["offset"])  # in its length
    body = lane / "body" / rows[12]["id"]
    flip(body, 20_000)
    status, out = verify(lane)
    assert status == 1
    assert out.count("damage in ") == 3 and "2 damaged places, 1 damaged body" in out, out
    for row in (rows[3], rows[7]):
        assert f"in {row['segment']:016x} at {row['offset']} to " in out, out
    assert f"in the body of {rows[12]['id']}: " in out and "restore" in out, out

    t.start()
    wanted = sorted([f"small{i:02}" for i in range(12) if i not in (3, 7)] + ["large1"])
    wait_until(lambda: subjects(t) == wanted, 20)
    wait_until(lambda: "is not what was stored" in t.log(), 10)
    t.stop()
    assert subjects(t) == wanted
    log = t.log()
    for row in (rows[3], rows[7]):  # where it is, and what to do, once
        told = [line for line in log.splitlines() if f"damaged from octet {row['offset']} to " in line]
        assert len(told) == 1 and f"{row['segment']:016x}" in told[0], log
        assert "restore the segment from a backup" in told[0] and f"tacit spool verify {lane}" in told[0], told
    told = [line for line in log.splitlines() if "is not what was stored" in line]
    assert len(told) == 1 and str(body) in told[0] and f"tacit queue remove {rows[12]['id']}" in told[0], log

    # Somebody restores the body: it is delivered. Nothing is delivered twice.
    flip(body, 20_000)
    t.start()
    wait_until(lambda: subjects(t) == sorted(wanted + ["large0"]), 20)
    assert verify(lane)[0] == 1
    assert t.queue() == []


def test_a_message_rots_while_it_waits(make_tacit):
    """Between two attempts. It is told once, the operator sees it, and may give it up."""
    retry = 'queue { local_retry = {"300ms", "300ms", "300ms"} }'
    t = make_tacit(extra_global="fronts = 1", extra=INLINE + retry).start()
    t.user("add", "alice@example.test")
    t.user("add", "full@example.test", "--quota", "5K")
    send(t, "filler", "full@example.test", lines=200)
    t.wait_mail("full")
    send(t, "first", "full@example.test", lines=200)
    wait_until(lambda: t.queue() and t.queue()[0]["attempts"] > 0, 10)
    lane, = lanes(t)
    row = records(lane)[-1]
    flip(segment(lane, row), row["offset"] + 16 + row["octets"] - 5)
    wait_until(lambda: f"message {row['id']} cannot be read" in t.log(), 20)
    send(t, "second")
    t.wait_mail("alice")
    assert verify(lane)[0] == 1
    rows = t.queue()
    assert [r["state"] for r in rows] == ["unreadable"], rows
    told = [line for line in t.log().splitlines() if "cannot be read" in line]
    assert len(told) == 1 and f"tacit queue remove {row['id']}" in told[0], told
    t.run("queue", "remove", row["id"])
    assert t.queue() == []


def test_progress_rots(make_tacit):
    """In lane 0: what is known of a message may be lost, and then it is delivered again rather than not at all."""
    t = make_tacit(extra_global="fronts = 1").start()
    t.user("add", "alice@example.test")
    for i in range(3):
        send(t, f"m{i}")
    t.wait_mail("alice", 3)
    t.stop()
    lane = t.data / "spool" / "lane-00"
    finished = records(lane, "finished")[0]
    flip(segment(lane, finished), finished["offset"] + 16)
    t.start()
    wait_until(lambda: t.queue() == [], 10)
    send(t, "m3")
    wait_until(lambda: subjects(t) == ["m0", "m1", "m2", "m3"], 10)
    assert "damaged from octet" in t.log()
