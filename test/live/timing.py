"""Measures whether a server's replies come sooner or later for mailboxes that exist.

Names are drawn from one generator, and a seeded coin decides which of them get a mailbox. A prober that does not know
which (probe_timing.c) asks about them in blocks of 32, half of each kind in random order, so that what drifts does so
for both. For each step of a probe the times of the two kinds are compared by their AUC: the probability that the time
for an existing name is longer than the time for an invented one (ties count half). 0.5 says that nothing can be told
from this time; whoever orders the addresses of a list by it is right with this probability. A step that follows a probe
is compared by the label of that probe, also in the probe behind it ("later"): so what the server does after it has
answered is seen as well.

    TACIT=build/tacit timing.py [--probes N] [--rounds N] [--seed N] [--leak NS] [CHANNEL…]

measures by hand (`make privacy`); --leak puts a leak into RCPT, of so many nanoseconds.
"""
import argparse
import bisect
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from conftest import TACIT, Tacit

BUILD = Path(TACIT).parent
PROBE = os.environ.get("TACIT_PROBE", str(BUILD / "test" / "live" / "probe-timing"))
LEAKY = os.environ.get("TACIT_LEAKY", str(BUILD / "test" / "live" / "tacit-leaky"))
TOLERANCE = 0.02  # a leak counts when the interval lies farther than this from 0.5
BLOCK = 32
# One front, so that all connections share one loop; no limit ends a connection that asks a hundred thousand things.
SETTINGS = dict(extra_global="fronts = 1",
                extra="limits { commands = 100000000 transactions = 100000000 idle_commands = 100000 }")

MAIL = r"MAIL FROM:<sender@probe.example>\n"
CONTENT = r"Subject: probe\n\n" + r"Nothing to see here.\n" * 20
OCTETS = len(CONTENT.replace(r"\n", "\r\n"))


def message(to):
    """A whole transaction in one write: MAIL, RCPT, BDAT."""
    return rf"{MAIL}RCPT TO:<{to}>\nBDAT {OCTETS} LAST\n{CONTENT}"


WITNESS = "@3:" + message("witness@example.test")
# name: (steps, probes in `make check`). A witness is a message to one and the same name on another connection;
# nobody has that name, so that no mailbox fills.
CHANNELS = {
    "VRFY": ([r"VRFY %s\n", r"NOOP\n", r"@NOOP\n"], 3328),
    "EXPN": ([r"EXPN %s\n", r"NOOP\n", r"@NOOP\n"], 3328),
    "RCPT": ([MAIL, r"RCPT TO:<%s>\n", r"NOOP\n", r"@NOOP\n", r"RSET\n"], 3328),
    "DATA": ([MAIL, r"RCPT TO:<%s>\n", r"DATA\n", CONTENT + r".\n", r"@NOOP\n", WITNESS], 3328),
    "null": ([r"MAIL FROM:<>\n", r"RCPT TO:<%s>\n", r"DATA\n", CONTENT + r".\n", r"NOOP\n"], 0),
    "burst": (["24:" + message("%s") * 8, r"@NOOP\n", WITNESS, WITNESS, WITNESS, WITNESS], 0),
}


def auc(xs, ys):
    """The probability that one of xs is larger than one of ys, and half the width of its 95 % interval (DeLong)."""
    def places(values, others):
        return [(bisect.bisect_left(others, v) + bisect.bisect_right(others, v)) / 2 / len(others) for v in values]
    xs, ys = sorted(xs), sorted(ys)
    above, below = places(xs, ys), places(ys, xs)
    area = sum(above) / len(above)
    variance = sum((p - area) ** 2 for p in above) / (len(xs) - 1) / len(xs) \
        + sum((1 - p - area) ** 2 for p in below) / (len(ys) - 1) / len(ys)
    return area, 1.96 * math.sqrt(variance)


def said(step):
    """A step in a few words: "RCPT", "a message", "NOOP beside"."""
    beside, many, text = re.fullmatch(r"(@?)(\d+:)?(.*)", step, re.S).groups()
    if many:
        word = f"{int(many[:-1]) // 3} messages".replace("1 messages", "message")
    else:
        word = "content" if text.startswith(CONTENT) else re.match(r"\w+", text)[0]
    return word + (" beside" if beside else "")


def draw_labels(rng, count):
    labels = []
    while len(labels) < count:
        block = [True, False] * (BLOCK // 2)
        rng.shuffle(block)
        labels += block
    return labels


class Probed:
    """A server with half of the drawn names as mailboxes."""

    def __init__(self, tacit, seed=1, names=48):
        rng = random.Random(seed)
        drawn = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(10)) + "@example.test"
                 for _ in range(names)]
        exists = [True, False] * (names // 2)
        rng.shuffle(exists)
        self.tacit = tacit
        self.real = [n for n, e in zip(drawn, exists) if e]
        self.invented = [n for n, e in zip(drawn, exists) if not e]
        for name in self.real:
            tacit.user("add", name)

    def ask(self, steps, count, seed):
        """[(label, [ns of each step])] of `count` probes."""
        rng = random.Random(seed)
        labels = draw_labels(rng, count)
        names = [rng.choice(self.real if label else self.invented) for label in labels]
        run = subprocess.run([PROBE, "--port", str(self.tacit.mx), *steps], input="\n".join(names) + "\n",
                             capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr
        return list(zip(labels, ([int(ns) for ns in line.split()] for line in run.stdout.splitlines())))

    def measure(self, channel, count, seed=7, rounds=1):
        """[(place, AUC, half width)]: of each step, and of each step of the probe behind it."""
        steps, _ = CHANNELS[channel]
        runs = [self.ask(steps, count, seed + r) for r in range(rounds)]
        found = []
        for later in (False, True):
            for i, step in enumerate(steps):
                kinds = {True: [], False: []}
                for run in runs:
                    for (label, _), (_, times) in zip(run, run[1:] if later else run):
                        kinds[label].append(times[i])
                name = f"{channel}: {'later ' if later else ''}{i + 1} {said(step)}"
                found.append((name, *auc(kinds[True], kinds[False])))
        return found


def leaks(found):
    """Those whose interval excludes 0.5 by more than the tolerance."""
    return [f"{name}: AUC {area:.4f} +- {half:.4f}" for name, area, half in found
            if abs(area - 0.5) - half > TOLERANCE]


def leaks_of_both(found, again):
    """Those that two measurements show with the same sign. Neighbouring probes meet the same state of the disk, so one
    measurement alone is wrong more often than its interval says; what is a leak is one in the next as well."""
    second = {name: (area, half) for name, area, half in again}
    return [f"{name}: AUC {area:.4f} +- {half:.4f}, and again {second[name][0]:.4f}" for name, area, half in found
            if leaks([(name, area, half)]) and name in second and leaks([(name, *second[name])]) and
            (area > 0.5) == (second[name][0] > 0.5)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--probes", type=int, default=20000)
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    p.add_argument("--leak", type=int)
    p.add_argument("channels", nargs="*", default=list(CHANNELS))
    o = p.parse_args()
    directory = tempfile.mkdtemp(prefix="tacit-privacy-")
    os.chmod(directory, 0o755)
    if o.leak is not None:
        os.environ["TACIT_LEAK_NS"] = str(o.leak)
    tacit = Tacit(directory, **SETTINGS)
    tacit.program = TACIT if o.leak is None else LEAKY
    wrong = []
    try:
        probed = Probed(tacit.start(), o.seed)
        print(f"seed {o.seed}, {o.probes} probes; AUC with half the width of its 95 % interval")
        for channel in o.channels:
            count = o.probes // 4 if channel == "burst" else o.probes
            found = probed.measure(channel, count, o.seed, o.rounds)
            wrong += leaks(found)
            for name, area, half in found:
                print(f"{area:.4f} +- {half:.4f}  {name}", flush=True)
    finally:
        tacit.stop()
        shutil.rmtree(directory)
    print("\n".join(["leaks:"] + wrong) if wrong else "nothing to be told")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
