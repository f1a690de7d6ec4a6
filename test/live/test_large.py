"""Many sessions, large messages, many recipients, a full disk: the right replies, and nothing lost."""
import hashlib
import json
import os
import shutil
import smtplib
import subprocess
import threading
import time

import pytest

from conftest import LOAD, PATIENCE, parsed, small_disk, wait_until, without_trace

RELAY = 'relay { networks = {"127.0.0.0/8"} }'


def test_200_sessions_at_once(make_tacit):
    t = make_tacit(extra="limits { sessions_per_client = 500 }").start()
    t.user("add", "alice@example.test")
    clients = [t.connect() for _ in range(200)]
    for c in clients:
        c.send("EHLO c.example\r\n")
    for c in clients:
        assert c.reply().startswith("250")
    for c in clients:
        c.send("MAIL FROM:<s@elsewhere.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
    for c in clients:
        assert [c.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
    for i, c in enumerate(clients):
        c.send(f"Subject: {i}\r\n\r\n{'x' * 3000}\r\n.\r\n")
    for c in clients:
        assert c.reply().startswith("250")
        assert c.cmd("QUIT").startswith("221")
    assert {parsed(m)["Subject"] for m in t.wait_mail("alice", 200, 60)} == {str(i) for i in range(200)}
    status = t.run("status").stdout
    assert "200" in status


def test_50_mib_messages(make_tacit):
    t = make_tacit(extra="limits { sessions_per_client = 500 }").start()
    t.user("add", "alice@example.test")
    line = b"0123456789" * 7 + b"\r\n"
    body = b"Subject: big\r\n\r\n" + line * ((50 * 1000 * 1000) // len(line))
    results = []

    def send():
        with smtplib.SMTP("127.0.0.1", t.mx, "client.example", timeout=120) as s:
            s.ehlo()
            s.ehlo()
            s.mail("s@elsewhere.example")
            s.rcpt("alice@example.test")
            results.append(s.data(body)[0])
    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert results == [250] * 3
    want = hashlib.sha256(body).digest()
    for m in t.wait_mail("alice", 3, 60):
        assert hashlib.sha256(without_trace(m)).digest() == want
    wait_until(lambda: not list((t.data / "spool").glob("lane-*/body/*")), 20)
    with t.connect() as c:
        c.helo()
        assert c.cmd(f"MAIL FROM:<s@elsewhere.example> SIZE={(50 << 20) + 1}").startswith("552 5.3.4")


def test_1000_recipients(make_tacit):
    t = make_tacit(extra=RELAY + "\nlimits { commands = 100000 }").start()
    for i in range(20):
        t.user("add", f"u{i}@example.test")
    with t.connect() as c:
        c.helo()
        c.send("MAIL FROM:<s@elsewhere.example>\r\n" + "".join(
            f"RCPT TO:<{f'u{i}@example.test' if i < 20 else f'r{i}@remote.example'}>\r\n" for i in range(1001)) + "DATA\r\n")
        assert c.reply().startswith("250")
        assert all(c.reply().startswith("250") for _ in range(1000))
        assert c.reply().startswith("452 4.5.3")
        assert c.reply().startswith("354")
        c.send("Subject: all\r\n\r\nx\r\n.\r\n")
        assert c.reply().startswith("250")
    for i in range(20):
        t.wait_mail(f"u{i}")
    waiting = wait_until(lambda: t.queue())
    assert sum(str(m).count("@remote.example") for m in waiting) >= 900 or waiting


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_full_disk(make_tacit):
    t = make_tacit(extra='limits { sessions_per_client = 500 }')
    with small_disk(t, "32m"):
        t.start()
        t.user("add", "alice@example.test")
        accepted = []
        refusal = None
        body = b"".join(b"%066d\r\n" % i for i in range(1000))
        for i in range(2000):
            with t.connect() as c:
                c.helo()
                reply = c.message("s@elsewhere.example", "alice@example.test", b"X-Load-Tag: t%d\r\n\r\n" % i + body)
                if reply.startswith("250"):
                    accepted.append(f"t{i}")
                else:
                    refusal = reply
                    break
        assert refusal and refusal.startswith("452 4.3.1"), refusal
        assert len(accepted) > 50
        assert t.process.poll() is None
        filler = subprocess.run(["df", "--output=avail", str(t.data)], capture_output=True, text=True).stdout
        assert int(filler.split()[1]) > 0, "the reserve is left"

        # Room comes back when the owner of the mailbox reads the mail.
        got = set()

        def all_there():
            new = t.maildir("alice") / "new"
            for p in list(new.iterdir()) if new.is_dir() else []:
                got.add(parsed(p.read_bytes())["X-Load-Tag"])
                p.unlink()
            return set(accepted) <= got
        wait_until(all_there, 60, 0.2)

        def works_again():
            with t.connect() as c:
                c.helo()
                return c.message("s@elsewhere.example", "alice@example.test", b"X-Load-Tag: again\r\n\r\nx\r\n").startswith("250")
        wait_until(works_again, 20, 0.3)
        assert t.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_room_comes_back_within_a_transaction(make_tacit):
    """DATA that was refused may be said again; the log tells of the refusal and of what came then."""
    t = make_tacit(extra_global='log = "json"')
    with small_disk(t, "32m"):
        t.start()
        t.user("add", "alice@example.test")
        filler = t.data / "filler"
        with t.connect() as c:
            c.helo()
            for _ in range(2):  # the second transaction of a session is as the first
                assert c.cmd("MAIL FROM:<s@elsewhere.example> SIZE=8000000").startswith("250")
                assert c.cmd("RCPT TO:<alice@example.test>").startswith("250")
                with filler.open("wb") as f:
                    os.posix_fallocate(f.fileno(), 0, shutil.disk_usage(t.data).free - (1 << 20))
                time.sleep(0.1)  # the last look at the room is forgotten
                assert c.cmd("DATA").startswith("452 4.3.1")
                filler.unlink()
                wait_until(lambda: c.cmd("DATA").startswith("354"), 5, 0.1)
                c.send("Subject: x\r\n\r\nx\r\n.\r\n")
                assert c.reply().startswith("250")
        # The log is written after the answers, by the time the session has its line.
        wait_until(lambda: '"kind":"session"' in t.log(), 10 * PATIENCE)
        ends = [json.loads(line) for line in t.log().splitlines() if '"transaction"' in line]
        assert [(e["result"], e["code"]) for e in ends] == [("refused", 452), ("accepted", 250)] * 2, ends
        assert ends[0]["id"] == ends[1]["id"] != ends[2]["id"] == ends[3]["id"], ends
        assert t.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_disk_filled_in_a_second(make_tacit):
    """Faster than any look at the free space: mail, mailboxes, log and progress compete for 8 MiB, and all is delivered."""
    t = make_tacit(extra='limits { sessions_per_client = 500 }')
    with small_disk(t, "8m"):
        t.start()
        t.user("add", "alice@example.test")
        ledger = t.dir / "ledger"
        subprocess.run([LOAD, "-m", "100000", "-s", "20", "-k", "100", "-l", "4000", "-T", "4", "-t", "alice@example.test",
                        "-L", str(ledger), f"127.0.0.1:{t.mx}"], capture_output=True, timeout=60)
        accepted = set(ledger.read_text().split())
        assert len(accepted) > 100 and "code=452 status=4.3.1" in t.log()
        got = set()

        def all_there():
            new = t.maildir("alice") / "new"
            for p in list(new.iterdir()):
                got.add(parsed(p.read_bytes())["X-Load-Tag"])
                p.unlink()
            t.run("queue", "retry", "--all", check=False)
            return accepted <= got
        wait_until(all_there, 60, 1.0)
        with t.connect() as c:
            c.helo()
            assert c.message("s@elsewhere.example", "alice@example.test").startswith("250")
        assert t.stop() == 0


def test_load_of_many_small_messages(make_tacit):
    t = make_tacit(extra="limits { sessions_per_client = 500 }").start()
    for i in range(10):
        t.user("add", f"u{i}@example.test")
    result = subprocess.run([LOAD, "-m", "5000", "-s", "100", "-k", "50", "-p", "-r", "2", "-t", "u3@example.test", "-T",
                             "100", f"127.0.0.1:{t.mx}"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "accepted 5000" in result.stdout
    t.wait_mail("u3", 5000, 90)
