"""back's side of sending: what is given to the carrier, when, and that it is given once, whatever ends or is replaced."""
import collections
import os
import random
import signal
import threading
import time

import pytest

from conftest import wait_until
from scripted import SILENCE
from sending import PATIENCE, World

HOSTS = 4


def busy_world(seconds, **settings):
    """Servers that take up to so long for their 250."""
    w = World(retry='"300ms"', expire="60s", **settings)
    rng = random.Random(7)
    for i in range(HOSTS):
        w.host(f"d{i}.example", message=lambda _: (time.sleep(rng.random() * seconds), "250 2.0.0 Taken")[1])
    return w.start()


def send_many(w, count, pause=0.0):
    """A front that is being replaced says 421, and then nothing was taken: again, as any client does."""
    for i in range(count):
        while True:
            try:
                w.send("many", f"a{i}@d{i % HOSTS}.example", f"b{i}@d{(i + 1) % HOSTS}.example")
                break
            except AssertionError as e:
                if not str(e).startswith("421 "):
                    raise
        time.sleep(pause)


def taken(w):
    return collections.Counter(to for h in w.hosts.hosts for m in h.messages if m.answered for to in m.recipients)


def all_through(w):
    return not [r for r in w.tacit.queue() if "+many@" in r["sender"]]


@pytest.mark.parametrize("event", ["kill", "reload"])
def test_once(event):
    w = busy_world(0.3)
    try:
        count = 60
        sender = threading.Thread(target=send_many, args=(w, count, 0.02))
        sender.start()
        for _ in range(3):  # while transactions are under way
            time.sleep(0.6)
            if event == "reload":
                w.tacit.reload()
                continue
            for role, pid in w.tacit.roles():
                if role == "back":
                    os.kill(pid, signal.SIGKILL)
        sender.join()
        wait_until(lambda: all_through(w), 30 * PATIENCE, 0.2)
        got = taken(w)
        assert len(got) == 2 * count and set(got.values()) == {1}, [x for x in got.items() if x[1] > 1]
        assert not w.reports("many")
    finally:
        w.stop()


def test_carrier_ends():
    """What it had is deferred, and soon tried again; nothing is lost."""
    w = busy_world(0.2)
    try:
        count = 40
        sender = threading.Thread(target=send_many, args=(w, count, 0.02))
        sender.start()
        time.sleep(0.6)
        for role, pid in w.tacit.roles():
            if role == "carrier":
                os.kill(pid, signal.SIGKILL)
        sender.join()
        wait_until(lambda: all_through(w), 30 * PATIENCE, 0.2)
        assert len(taken(w)) == 2 * count and not w.reports("many")
        assert "this server was stopped or restarted" in w.tacit.log()
    finally:
        w.stop()


def test_what_a_restart_cuts_off_is_our_own_doing():
    """A server that takes longer than `grace` over a message is not blamed for it, and gets it again soon."""
    w = World(retry='"1h"', expire="5h", extra_global='grace = "1s"')
    peer = w.host("peer.example", message=[SILENCE, "250 Ok"])
    w.start()
    try:
        w.send("cut", "bob@peer.example")
        wait_until(lambda: peer.asked.get("message") == 0, 30 * PATIENCE)
        w.tacit.reload()
        wait_until(lambda: "result=deferred" in w.tacit.log(), 30 * PATIENCE)
        line = next(line for line in w.tacit.log().splitlines() if "result=deferred" in line)
        assert "attempt=1 result=deferred status=4.3.0 reason=\"this server was stopped or restarted" in line
        wait_until(lambda: "result=stopped" in w.tacit.log(), 10 * PATIENCE)
        row = w.row("cut")
        assert row["attempts"] == 0 and "remote" not in row["recipients"][0], row
        shown = w.tacit.run("queue", "show", row["id"]).stdout
        assert "this server was stopped or restarted" in shown and "that means" not in shown, shown
    finally:
        w.stop()


def test_a_notice_while_the_first_attempt_lasts():
    """What falls due while a server has the message tells that, and of what waits behind it that it waits."""
    w = World(retry='"1h"', expire="5h", delay='"2s"  remote = 1')
    peer = w.host("peer.example", message=SILENCE)
    w.start()
    try:
        w.send("first", "bob@peer.example")
        wait_until(lambda: peer.messages, 30 * PATIENCE)
        w.send("second", "bob@peer.example")
        assert "The first attempt to hand the message over is still\n    under way." in w.report("first").words
        assert "The message still waits for its turn; no attempt" in w.report("second").words
    finally:
        w.stop()


def test_a_slow_site_holds_up_nobody():
    """More messages than a site has room for wait in back, and go as fast as the site takes them; others pass them by."""
    w = World(retry='"1s"', expire="60s", more='route "slow.example" { port = %d  connections = 1 }')
    w.queue["more"] %= w.port
    slow = w.host("slow.example", message=lambda _: (time.sleep(0.01), "250 Ok")[1])
    quick = w.host("quick.example")
    w.start()
    try:
        with w.tacit.connect() as c:
            c.helo()
            for i in range(400):
                assert c.message(w.sender("slow"), [f"u{i}@slow.example"]).startswith("250")
        w.send("quick", "x@quick.example", "alice@example.test")
        w.gone("quick", 5)
        assert len(slow.messages) < 400 and len(quick.messages) == 1
        wait_until(lambda: len(slow.messages) == 400, 30 * PATIENCE)
        wait_until(lambda: not [r for r in w.tacit.queue() if "+slow@" in r["sender"]], 10 * PATIENCE)
        assert max(collections.Counter(m.recipients[0] for m in slow.messages).values()) == 1
    finally:
        w.stop()
