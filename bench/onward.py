"""Mail that goes on to other servers: through a server into a sink, and to thousands of destinations of which some are
dead. The sink stores nothing and counts what it takes."""
import re
import socket
import subprocess
import time

import measure
import peers
from conftest import free_port, wait_until
from nameserver import NameServer
from tools import postfix_program

KEPT = 100                  # messages on a connection from the client
SINK, BLACK_HOLE = "127.0.4.1", "127.0.4.2"


class Sink:
    """Postfix' smtp-sink; its processor time is counted apart."""

    def __init__(self, directory, address="127.0.0.1"):
        program, env = postfix_program("smtp-sink")
        # Connections beyond its backlog would seem to stand, and never be greeted.
        self.address, self.port = address, free_port()
        self.path = directory / "sink"
        self.group = measure.Group("sink")
        with self.group.entered(), open(self.path, "wb") as output:
            self.process = subprocess.Popen([program, "-c", "-u", "nobody", f"{address}:{self.port}", "4000"], env=env,
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True, preexec_fn=measure.end_with_parent)
        self.group.process = self.process
        wait_until(self.listens, 20)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex((self.address, self.port)) == 0

    def taken(self):
        with open(self.path, "rb") as f:
            f.seek(max(0, self.path.stat().st_size - 100))
            counts = re.findall(rb"mesg=(\d+)", f.read())
        return int(counts[-1]) if counts else 0

    def stop(self):
        self.process.terminate()
        self.group.end()
        self.process.wait()


def relay(samples, cls, directory, running):
    """smtp-source, 20 sessions, 4 KiB; then the server with 100 connections at once; until the sink has taken the last."""
    path = ("relay", cls.name)
    sink = Sink(directory)

    def run(peer, n):
        here, before, sinks = sink.taken(), peer.group.cpu_us(), sink.group.cpu_us()
        began = time.monotonic()
        sample = measure.smtp_source(peer.port, n, kept=True, to="u0@remote.example")
        wait_until(lambda: sink.taken() - here >= n, 300, 0.02)
        return {"rate": n / (time.monotonic() - began), "cpu_us": (peer.group.cpu_us() - before) / n,
                "generator_us": sample["generator_us"], "sink_us": (sink.group.cpu_us() - sinks) / n}

    try:
        with running(cls, directory, "relay", keep=True, smarthost=sink.port) as peer:
            n = samples.count(path, lambda n: run(peer, n))
            sample = run(peer, n)
            samples.rates[path] = sample["rate"]
            samples.add(path, sample)
    finally:
        sink.stop()


def black_hole(port):
    """A port whose connections never come about: it accepts none, and as many wait as may."""
    listener = socket.socket()
    listener.bind((BLACK_HOLE, port))
    listener.listen(0)
    held = [listener]
    for _ in range(4):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((BLACK_HOLE, port))
        held.append(s)
    return held


def destinations(directory, mode, running):
    """One message to each of many domains, each with a server of its own. How long until all that live have theirs,
    without dead ones and with a tenth dead, whose connections time out. The dead come among the living, in turn."""
    rows = []
    for count in {"smoke": [100], "quick": [2000], "full": [2000, 10000]}[mode]:
        rows += [destination(directory, running, count, dead) for dead in (0, count // 10)]
    return rows


def destination(directory, running, count, dead):
    sink = Sink(directory, SINK)
    hole = black_hole(sink.port)
    zone = "\n".join(f"d{i}.example. A {BLACK_HOLE if dead and i % (count // dead) == 0 else SINK}" for i in range(count))
    place = directory / f"dns-{count}-{dead}"
    place.mkdir()
    names = NameServer(place, zone, log=False).start()
    extra = f'dns {{ server = "{names.address}"  validate = false }}\n' \
            f'route "*" {{ port = {sink.port}  connect_timeout = "30s" }}\nrelay {{ networks = {{"127.0.0.0/8"}} }}\n'
    try:
        with running(peers.Tacit, directory, "maildir", extra=extra) as peer:
            before = peer.group.cpu_us()
            began = time.monotonic()
            peer.load(count, kept=KEPT, to="u0@d#.example", numbers=count)
            wait_until(lambda: sink.taken() >= count - dead, 600, 0.02)
            took = time.monotonic() - began
            return {"destinations": count, "dead": dead, "seconds": took, "rate": (count - dead) / took,
                    "cpu_us": (peer.group.cpu_us() - before) / count, "octets": peer.group.pss()}
    finally:
        names.stop()
        sink.stop()
        for s in hole:
            s.close()
