"""The disk fails under a running server: the sender is told to come again, the session goes on, and nothing that was
refused turns up later. test/spool/test_faults.c does this for every single call; here it is seen from outside."""
import json
import os
import signal
import socket
import time

import pytest

from conftest import small_disk, wait_until

FAULTY = os.environ.get("TACIT_FAULTY", "")
EXTRA = 'limits { inline_body = "8K" }\nspool { segment = "256K" }\nqueue { local_retry = {"200ms", "200ms", "200ms"} }'

pytestmark = pytest.mark.skipif(not FAULTY, reason="TACIT_FAULTY is not set")


class Disk:
    """What fails from now on: three letters, as faulty_disk.c has them."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(b"---\n".ljust(4096))
        path.chmod(0o644)

    def fail(self, call, how, where):
        with open(self.path, "r+b") as f:
            f.write((call + how + where).encode())

    def heal(self):
        self.fail("-", "-", "-")


@pytest.fixture
def faulty(make_tacit, monkeypatch):
    t = make_tacit(extra_global="fronts = 1", extra=EXTRA)
    disk = Disk(t.dir / "faults")
    monkeypatch.setenv("TACIT_FAULTS", str(disk.path))
    t.program = FAULTY
    t.start()
    t.user("add", "alice@example.test")
    return t, disk


def put(c, subject, large=False):
    return c.message("s@elsewhere.example", "alice@example.test",
                     f"Subject: {subject}\r\n\r\n".encode() + b"0123456789abcdef\r\n" * (3000 if large else 10))


def subjects(t):
    return sorted(line.split()[1].decode() for text in t.mail("alice") for line in text.splitlines()
                  if line.startswith(b"Subject: "))


def test_a_front_whose_disk_fails(faulty):
    """A refused message is answered with 4xx, the same session goes on, and so do others."""
    t, disk = faulty
    wanted = []
    with t.connect() as c, t.connect() as other:
        c.helo()
        other.helo()
        for call, how in [("s", "I"), ("w", "S"), ("w", "Q"), ("w", "I"), ("s", "I")]:
            name = f"{call}{how}{len(wanted)}"
            assert put(c, f"before-{name}").startswith("250")
            disk.fail(call, how, "f")
            for large in (False, True, False):
                reply = put(c, f"refused-{name}", large)
                assert reply[:6] in ("451 4.", "452 4."), f"{name}: {reply}"
                assert "/" not in reply and "lane" not in reply, reply  # nothing of ours
            assert put(other, f"refused-{name}")[0] == "4"
            assert c.cmd("NOOP").startswith("250")
            disk.heal()
            assert put(c, f"after-{name}").startswith("250")
            assert put(other, f"large-{name}", True).startswith("250")
            wanted += [f"before-{name}", f"after-{name}", f"large-{name}"]
    wait_until(lambda: subjects(t) == sorted(wanted), 20)
    t.stop()
    t.start()  # what was refused does not come back
    with t.connect() as c:
        c.helo()
        assert put(c, "last").startswith("250")
    wait_until(lambda: subjects(t) == sorted(wanted + ["last"]), 20)
    assert t.queue() == []
    assert "messages could not be stored: " in t.log()


def test_files_cannot_be_made(faulty):
    """Neither a body nor a segment."""
    t, disk = faulty
    with t.connect() as c:
        c.helo()
        for call, how in [("c", "S"), ("c", "Q"), ("c", "I")]:
            disk.fail(call, how, "f")
            assert put(c, "refused", large=True)[0] == "4"
            assert c.cmd("NOOP").startswith("250")
            disk.heal()
            assert put(c, f"large-{how}", large=True).startswith("250")
        # No further segment: what there is room for is taken, the rest is refused, and later taken.
        disk.fail("c", "S", "f")
        replies = []
        while len(replies) < 3000 and not (replies and replies[-1][0] == "4"):
            replies.append(put(c, f"s{len(replies)}"))
        assert replies[-1][0] == "4", replies[-1]
        disk.heal()
        assert put(c, "healed").startswith("250")
    taken = [f"s{i}" for i, r in enumerate(replies) if r.startswith("250")]
    wait_until(lambda: subjects(t) == sorted(["large-S", "large-Q", "large-I", "healed"] + taken), 40)


def test_interrupted_and_done_in_part(faulty):
    """That is no failure, anywhere."""
    t, disk = faulty
    sent = []
    with t.connect() as c:
        c.helo()
        for call, how in [("s", "N"), ("w", "N"), ("w", "H"), ("c", "N"), ("r", "N")]:
            disk.fail(call, how, "a")
            for i in range(4):
                sent.append(f"{call}{how}{i}")
                assert put(c, sent[-1], large=i % 2 == 1).startswith("250")
            wait_until(lambda: subjects(t) == sorted(sent), 20)
    disk.heal()
    assert " error " not in t.log()


def test_back_whose_disk_fails(faulty):
    """Mail is accepted all the same, and delivered once when the disk is whole again."""
    t, disk = faulty
    sent = []
    with t.connect() as c:
        c.helo()
        for call, how in [("s", "I"), ("w", "S"), ("c", "I"), ("r", "I")]:
            seen = len(t.log())
            disk.fail(call, how, "b")
            for i in range(4):
                sent.append(f"{call}{how}{i}")
                assert put(c, sent[-1], large=i % 2 == 1).startswith("250")
            wait_until(lambda: "result=deferred" in t.log()[seen:], 20)
            disk.heal()
            wait_until(lambda: subjects(t) == sorted(sent), 30)
            wait_until(lambda: t.queue() == [], 30)
    t.stop()
    t.start()
    assert t.queue() == []
    assert subjects(t) == sorted(sent)


def test_the_last_message_of_a_front_whose_client_has_gone(faulty):
    """It drains while the message is being committed, and ends in peace when it was."""
    t, disk = faulty
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(t.data / "run" / "submit.sock"))
    client.settimeout(20)

    def say(line, code):
        client.sendall(line.encode() + b"\r\n")
        assert client.recv(4096).startswith(code), line
    assert client.recv(4096).startswith(b"220")
    say("EHLO here", b"250")
    say("MAIL FROM:<s@elsewhere.example>", b"250")
    say("RCPT TO:<alice@example.test>", b"250")
    say("BDAT 15\r\nSubject: last\r\n", b"250")
    disk.fail("s", "W", "f")
    client.sendall(b"BDAT 2\r\n\r\nBDAT 3 LAST\r\nx\r\n")
    client.close()  # the reply to the second chunk finds nobody
    t.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in t.log(), 20)
    time.sleep(0.5)  # by then the front knows of both; if it does not, less is tested
    disk.heal()
    assert t.process.wait(40) == 0 and t.stop() == 0
    assert "was killed by signal" not in t.log()
    t.start()
    wait_until(lambda: subjects(t) == ["last"], 20)


def status(t):
    return json.loads(t.run("status", "--json").stdout)


def test_status_says_that_mail_is_refused(faulty):
    """At once, by which process, since when, where and why; and that it is over."""
    t, disk = faulty
    lane = str(t.data / "spool" / "lane-01")
    assert (status(t)["storage"], status(t)["storage_over"]) == ([], [])
    with t.connect() as c:
        c.helo()
        disk.fail("s", "I", "f")
        began = int(time.time() * 1000)
        assert put(c, "refused").startswith("451 4.3.0")
        now = status(t)
        [row] = now["storage"]
        assert (row["role"], row["index"], row["problem"], row["directory"], row["errno"]) == \
            ("front", 0, "failed", lane, "EIO"), row
        assert began - 1000 <= row["since_ms"] <= row["last_ms"] <= int(time.time() * 1000) + 1000
        assert now["totals"]["storage_refused_total"] == now["totals"]["storage_troubles"] == 1
        text = t.run("status").stdout
        assert "front-0 refuses mail since " in text
        assert f"cannot store in {lane}: Input/output error (EIO), last at " in text
        disk.heal()
        assert put(c, "taken").startswith("250")
    now = wait_until(lambda: status(t)["storage"] == [] and status(t), 20)
    [row] = now["storage_over"]
    assert row["until_ms"] >= row["last_ms"] and now["totals"]["storage_troubles"] == 0
    assert "front-0 refused mail from " in t.run("status").stdout


def test_status_says_that_back_cannot_store(faulty):
    t, disk = faulty
    with t.connect() as c:
        c.helo()
        disk.fail("s", "I", "b")
        assert put(c, "kept").startswith("250")
        [row] = wait_until(lambda: status(t)["storage"], 20)
        assert (row["role"], row["errno"], row["directory"]) == ("back", "EIO", str(t.data / "spool" / "lane-00")), row
        assert "back-0 delivers nothing since " in t.run("status").stdout
        disk.heal()
    wait_until(lambda: status(t)["storage"] == [], 20)
    wait_until(lambda: subjects(t) == ["kept"], 20)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_status_says_that_the_disk_is_full(make_tacit):
    """Also before any mail comes, and also where only large messages are refused."""
    t = make_tacit(extra_global="fronts = 1", extra='limits { message = "1M" }\nspool { segment = "256K"  reserve = "4M" }')
    with small_disk(t, "16m"):
        t.start()
        t.user("add", "alice@example.test")
        assert status(t)["storage"] == []
        ballast = t.data / "ballast"
        room = os.statvfs(t.data).f_bavail * os.statvfs(t.data).f_frsize
        ballast.write_bytes(b"x" * (room - (1 << 20)))
        [row] = wait_until(lambda: status(t)["storage"], 20)
        assert (row["role"], row["problem"], row["reserve_octets"]) == ("front", "full", 4 << 20), row
        assert row["free_octets"] <= 1 << 20 and 4096 < row["largest_octets"] < 1 << 20, row  # what is preallocated
        text = t.run("status").stdout
        assert "front-0 refuses messages above " in text and f"Make room on the file system of {row['directory']}" in text
        with t.connect() as c:
            c.helo()
            assert c.cmd("MAIL FROM:<s@elsewhere.example> SIZE=900000").startswith("452 4.3.1")
            assert c.cmd("MAIL FROM:<s@elsewhere.example> SIZE=1000").startswith("250")
            c.cmd("RSET")
            ballast.unlink()
            wait_until(lambda: status(t)["storage"] == [], 20)
            assert c.cmd("MAIL FROM:<s@elsewhere.example> SIZE=900000").startswith("250")
        assert status(t)["totals"]["storage_refused_total"] == 1
        assert "front-0 refused mail from " in t.run("status").stdout
