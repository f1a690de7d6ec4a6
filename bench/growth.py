"""What grows with what: memory with idle sessions; start and memory with the queue; processor time with recipients,
with configured domains, and with entries of the directory. One run each: these are slopes, not races."""
import os
import socket
import subprocess
import time

import measure
import peers
from conftest import wait_until

CLIENT = "127.0.0.1"
KEPT = 100  # messages on a connection


def idle(classes, directory, mode, running):
    """Octets of memory for each idle session (greeted, EHLO said): all processes of the server with them, less without.
    tacit runs one front here. The others get fewer sessions, since each is a process in Postfix and Exim."""
    few = mode == "smoke"
    counts = dict.fromkeys(("Postfix", "Exim", "OpenSMTPD"), [20 if few else 100])
    counts["tacit"] = [10, 100] if few else [100, 1000, 10000]
    rows = []
    for cls in classes:
        if cls.name not in counts:
            continue
        settings = {"fronts": 1} if cls is peers.Tacit else {}
        with running(cls, directory, "accept", **settings) as peer:
            peer.load(40, kept=4)
            time.sleep(0.5)
            before, held = peer.group.pss(), []
            for count in counts[cls.name]:
                began, had = time.monotonic(), len(held)
                held += [session(peer.port) for _ in range(count - had)]
                rows.append({"server": cls.name, "sessions": count, "each": (peer.group.pss() - before) / count,
                             "before": before, "us_each": (time.monotonic() - began) / (count - had) * 1e6})
            for s in held:
                s.close()
    return rows


def session(port):
    s = socket.create_connection((CLIENT, port), timeout=60)
    s.recv(512)
    s.sendall(b"EHLO idle.example\r\n")
    s.recv(4096)
    return s


def fill(peer, count, *options):
    """Stops the server, fills its spool, and starts it again; until the whole queue is known, and how long that took."""
    peer.halt()  # its first start made the lanes, with their owners
    spool = peer.dir / "data" / "spool"
    if count:
        subprocess.run([measure.FILL, "--messages", str(count), "--size", "1024", "--deferred", *options, spool],
                       check=True, capture_output=True)
        for path in spool.glob("lane-*/**/*"):
            os.chown(path, path.parent.stat().st_uid, path.parent.stat().st_gid)
        os.sync()
    peer.run()
    wait_until(lambda: peer.status()["totals"]["queue_messages"] >= count, 600, 0.02)
    return time.monotonic() - peer.began


def queue(directory, mode, running):
    """A queue that is found at the start: until the server greets clients, until the whole queue is known, and what
    back needs then."""
    rows, base = [], None
    for count in {"smoke": [0, 1000], "quick": [0, 10000, 100000], "full": [0, 10000, 100000, 1000000]}[mode]:
        with running(peers.Tacit, directory, "accept") as peer:
            known = fill(peer, count)
            [back] = peer.role_pids("back")
            pss = measure.pss_of(back)
            base = pss if base is None else base
            rows.append({"messages": count, "greeted_s": peer.greeted_s, "known_s": known, "back_octets": pss,
                         "octets_each": (pss - base) / count if count else None})
    return rows


def operations(directory, mode, running):
    """Commands of an operator about one domain of a queue that has twenty messages for each: from the start of the
    command to its end. And about all of it, left to the server."""
    rows = []
    for count in {"smoke": [1000], "quick": [100000], "full": [100000, 1000000]}[mode]:
        with running(peers.Tacit, directory, "accept") as peer:
            fill(peer, count, "--recipient-domains", str(count // 20), "--users", str(count))
            each = {}
            for words in OPERATIONS:
                each[words[0]], said = timed(peer, *words, "--domain", f"elsewhere{count // 50}.example")
                assert "20 messages" in said, (words, said)
            search, _ = timed(peer, "list", "--text", "nowhere to be found")
            began = time.monotonic()
            told, _ = timed(peer, "hold", "--all", "--background")
            wait_until(lambda: "changes" not in peer.status(), 1200, 0.1)
            rows.append({"messages": count, "each": each, "search": search, "told": told,
                         "done": time.monotonic() - began})
    return rows


OPERATIONS = [["list"], ["hold"], ["release"], ["retry"], ["reroute", "--via", "smtp:relay.example"], ["remove"]]


def timed(peer, *words):
    began = time.monotonic()
    said = peer.command("queue", *words)
    return time.monotonic() - began, said


def recipients(directory, mode, running):
    """Accepting messages of 4 KiB with more and more recipients, over kept and pipelined connections."""
    rows = []
    with running(peers.Tacit, directory, "accept") as peer:
        for count in (1, 10, 100, 1000):
            n = max(20, (200 if mode == "smoke" else 20000) // (count + 10))
            before = peer.group.cpu_us()
            sample = peer.load(n, kept=KEPT, pipeline=True, recipients=count, numbers=100000)
            rows.append({"recipients": count, "cpu_us": (peer.group.cpu_us() - before) / n, "rate": sample["rate"]})
    return rows


def domains(directory, mode, running):
    """Configured domains: the start, all processes' memory, and what a message costs."""
    rows = []
    for count in {"smoke": [100], "quick": [1, 1000], "full": [1, 1000, 10000]}[mode]:
        extra = "".join(f'domain "d{i}.example" {{ }}\n' for i in range(count - 1))
        with running(peers.Tacit, directory, "accept", extra=extra) as peer:
            rows.append({"domains": count, "ready_s": peer.ready_s, "octets": peer.group.pss(), **cost(peer, mode)})
    return rows


def entries(directory, mode, running):
    """Entries of the directory, asked for at each RCPT (the client is in relay.networks): memory and cost."""
    rows = []
    relay = 'relay { networks = {"127.0.0.0/8"} }'
    for kind in ("sqlite", "file"):
        for count in {"smoke": [100], "quick": [100, 100000], "full": [100, 10000, 100000, 1000000]}[mode]:
            if kind == "file" and count > 100000:
                continue
            with running(peers.Tacit, directory, "accept", who=f"{kind}:users", extra=relay) as peer:
                peer.add_users(10, count)
                [keeper] = peer.role_pids("keeper")
                peer.load(40, kept=4)
                row = cost(peer, mode, numbers=count)
                rows.append({"kind": kind, "entries": count, "keeper_octets": measure.pss_of(keeper), **row})
    return rows


def cost(peer, mode, numbers=10):
    n = 100 if mode == "smoke" else 10000
    before = peer.group.cpu_us()
    sample = peer.load(n, kept=KEPT, pipeline=True, numbers=numbers)
    return {"cpu_us": (peer.group.cpu_us() - before) / n, "rate": sample["rate"]}


WORKS = {"queue": queue, "operations": operations, "recipients": recipients, "domains": domains, "entries": entries}
