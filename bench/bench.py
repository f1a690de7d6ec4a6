"""make bench: the same work through tacit and through other servers, in the same run, in rounds that alternate.

Each round starts every server anew with an empty queue, and the order turns from round to round, so that what else the
machine does meets all of them. Reported are medians and ranges of the rounds. Rejected: one long run for each server
(a slow minute would decide), and figures of other machines or of other people (nothing is compared that was not
measured here, beside it).

    BENCH=quick|full|smoke   quick takes minutes; full has larger queues and longer runs; smoke only shows that it works
    BENCH_ROUNDS=5           rounds
    BENCH_PEERS=tacit,...    only these of: tacit, Postfix, Exim, OpenSMTPD, smtp-sink
    BENCH_DIR=/var/tmp       where the servers' files are: its file system and its disk are what is measured
    BENCH_RESULTS=...        where results.json and the plots go: build/bench-results
"""
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import measure  # first: it finds the tests' modules
import growth
import onward
import peers
import report
from conftest import wait_until

MODE = os.environ.get("BENCH", "quick")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", {"smoke": 1}.get(MODE, 5)))
SECONDS = {"smoke": 0.05, "quick": 1.0, "full": 4.0}[MODE]  # of one timed run
RESULTS = Path(os.environ.get("BENCH_RESULTS", str(measure.BUILD / "bench-results")))
CLASSES = [c for c in (peers.Tacit, peers.Postfix, peers.Exim, peers.OpenSmtpd, peers.Sink)
           if c.name in os.environ.get("BENCH_PEERS", c.name).split(",")]
KEPT = 100  # messages on a connection that is kept


class Samples:
    """What each round measured, under a path of words; at the end, medians and ranges of each."""

    def __init__(self):
        self.tree, self.rates = {}, {}

    def add(self, path, sample):
        node = self.tree
        for word in path:
            node = node.setdefault(str(word), {})
        for key, value in sample.items():
            node.setdefault(key, []).append(value)

    def summarised(self, node=None):
        node = self.tree if node is None else node
        return {k: self.summarised(v) if isinstance(v, dict) else measure.summary(v) for k, v in node.items()}

    def count(self, path, run):
        """How many messages take SECONDS; tried once with few."""
        if MODE == "smoke":
            return 40
        if path not in self.rates:
            self.rates[path] = run(80)["rate"]
        return max(80, min(100000, int(self.rates[path] * SECONDS)))


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


@contextmanager
def running(cls, directory, work, keep=False, **settings):
    """A server for the time of a `with`. keep: its files are left until the end of all, for ext4 takes longer to make
    a file where many were removed within the last minutes, and the next server would pay for that."""
    peer = cls(directory, work)
    for key, value in settings.items():
        setattr(peer, key, value)
    try:
        peer.start()
        yield peer
    except Exception:
        print(peer.told()[-4000:], file=sys.stderr)
        raise
    finally:
        peer.stop()
        if not keep:
            shutil.rmtree(peer.dir)
        os.sync()  # nor shall the next one wait for the disk


def timed(samples, peer, path, run):
    """One counted run of `run(messages)` against a server."""
    n = samples.count(path, run)
    before = peer.group.cpu_us()
    sample = run(n)
    sample["cpu_us"] = (peer.group.cpu_us() - before) / n
    samples.rates[path] = sample["rate"]
    samples.add(path, {k: sample[k] for k in ("rate", "cpu_us", "generator_us", "p50_us", "p99_us") if k in sample})


def accept(samples, cls, directory):
    """20 sessions, 4 KiB: a connection for each message, and connections kept; both generators."""
    with running(cls, directory, "accept", keep=True) as peer:
        peer.load(40, kept=4)
        for shape, kept in (("each", 1), ("kept", KEPT)):
            timed(samples, peer, ("accept", cls.name, shape, "tacit-load"),
                  lambda n: peer.load(n, kept=kept))
            if not peer.connecting:
                timed(samples, peer, ("accept", cls.name, shape, "smtp-source"),
                      lambda n: measure.smtp_source(peer.port, n, kept=kept > 1))
        if cls in (peers.Tacit, peers.Sink):
            for sessions in (100, 200):
                timed(samples, peer, ("pipelined", cls.name, sessions),
                      lambda n: peer.load(n, sessions=sessions, kept=KEPT, pipeline=True))
        if cls in (peers.Tacit, peers.Postfix, peers.Sink):
            for sessions in (1,) if cls is peers.Sink else (1, 200):
                timed(samples, peer, ("latency", cls.name, sessions),
                      lambda n: peer.load(n, sessions=sessions, kept=1000))


def maildir(samples, cls, directory):
    """20 sessions, ten users: until the last message stands in its Maildir."""
    path = ("maildir", cls.name)

    def run(peer, n):
        began, here, before = time.time(), peer.delivered(), peer.group.cpu_us()
        sample = peer.load(n, kept=KEPT)
        wait_until(lambda: peer.delivered() - here >= n, 300, 0.2)
        took = peer.last_delivery() - began
        return {"rate": n / took, "cpu_us": (peer.group.cpu_us() - before) / n, "generator_us": sample["generator_us"],
                "accepted_rate": sample["rate"]}

    with running(cls, directory, "maildir", keep=True) as peer:
        n = samples.count(path, lambda n: run(peer, n))
        sample = run(peer, n)
        samples.rates[path] = sample["rate"]
        samples.add(path, sample)


def syncs(results, cls, directory):
    """How often each server asks the disk to be sure, by work and sessions; while nothing is timed."""
    for work in [w for w in cls.configured if w != "relay"]:
        with running(cls, directory, work, keep=True) as peer:
            for sessions, n in ((1, 10), (20, 40)) if MODE == "smoke" else ((1, 40), (20, 200)):
                here = peer.delivered()
                with measure.Syscalls(peer.group, directory) as seen:
                    peer.load(n, sessions=sessions, kept=KEPT)
                    if work == "maildir":
                        wait_until(lambda: peer.delivered() - here >= n, 120, 0.2)
                row = {call: count / n for call, count in seen.counts.items()}
                if seen.opened_sync:
                    row["opened with O_SYNC"] = seen.opened_sync / n
                results.setdefault(cls.name, {}).setdefault(work, {})[str(sessions)] = row


def ignore_signals():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def stop(*_):
    """The first signal ends it; no further one may disturb the cleaning up."""
    ignore_signals()
    raise KeyboardInterrupt


@contextmanager
def workplace():
    directory = tempfile.mkdtemp(prefix="tacit-bench-", dir=os.environ.get("BENCH_DIR", "/var/tmp"))
    try:
        os.chmod(directory, 0o755)
        yield directory
    finally:
        ignore_signals()
        say("removing the servers' files")
        shutil.rmtree(directory)


def measured(directory):
    began = time.monotonic()
    results = {"machine": measure.machine(directory), "syncs": {}, "growth": {}, "rounds": ROUNDS, "mode": MODE,
               "when": datetime.date.today().isoformat(),
               "configured": {c.name: c.configured for c in CLASSES},
               "versions": {c.name: peers.version(c) for c in CLASSES},
               "commit": subprocess.run(["git", "-C", measure.ROOT, "rev-parse", "--short", "HEAD"],
                                        capture_output=True, text=True).stdout.strip()}
    say("what makes a message durable, counted")
    for cls in CLASSES:
        syncs(results["syncs"], cls, directory)
    samples = Samples()
    for number in range(ROUNDS):
        say(f"round {number + 1} of {ROUNDS}: the disk, accepting, Maildirs, sending on")
        for key, row in measure.lane_bench(directory, SECONDS / 2).items():
            samples.add(("disk", key), row)
        at = number % len(CLASSES)
        for cls in CLASSES[at:] + CLASSES[:at]:
            accept(samples, cls, directory)
            if "maildir" in cls.configured:
                maildir(samples, cls, directory)
            if "relay" in cls.configured:
                onward.relay(samples, cls, Path(directory), running)
    results.update(samples.summarised())
    say("idle sessions")
    results["idle"] = growth.idle(CLASSES, directory, MODE, running)
    for name, work in growth.WORKS.items():
        say(f"growth: {name}")
        results["growth"][name] = work(directory, MODE, running)
    say("many destinations, and dead ones among them")
    results["destinations"] = onward.destinations(Path(directory), MODE, running)
    results["minutes"] = (time.monotonic() - began) / 60
    return results


def main():
    if os.geteuid() != 0:
        sys.exit("make bench needs root: the servers that are compared run in namespaces and as users of their own.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        with workplace() as directory:
            results = measured(directory)
            RESULTS.mkdir(parents=True, exist_ok=True)
            (RESULTS / "results.json").write_text(json.dumps(results, indent=1) + "\n")
            report.plots(results, RESULTS)
            print(report.terminal(results))
            say(f"{results['minutes']:.1f} minutes; {RESULTS}/results.json and plots beside it; "
                "make bench-doc writes them into doc/performance.md")
    except KeyboardInterrupt:
        sys.exit("stopped; nothing is left behind")


if __name__ == "__main__":
    main()
