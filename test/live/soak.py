"""Kills random processes under mixed load for many rounds, and accounts for every message.

Not part of the suite: make soak, with SOAK_SECONDS=… (default 120) and SOAK_SEED=… to do the same again.

Each message has a sender of its own, by which it is known wherever it ends up. What must hold at the end, when all is
quiet again, for each message that was answered 250 after its content:
  - each mailbox it was for has it (more than once only if something was killed: counted and shown),
  - what cannot be delivered yet is in the queue once, what strangers sent to nobody is held once,
  - what a client that may know sent to nobody was reported to its sender.
A message that was refused is nowhere; no mailbox and no queue has anything that was not sent. When the queue has been
emptied, the spool shrinks to a few segments, and no body is left.
"""
import collections
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

from conftest import Raw, Tacit, parsed, wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
SEED = int(os.environ.get("SOAK_SEED", str(int(time.time()))))
SENDERS = 8
DOMAIN = "example.test"
EXTRA = """
relay { networks = {"127.0.0.2"} }
limits { inline_body = "8K"  session_time = "10s"  idle_commands = 1000 }
spool { segment = "256K" }
queue { local_retry = {"300ms", "1s", "2s"}  deliveries = 8 }
fronts = %d
"""

# (relay, recipients, octets of content, boxes that get it, where else it is: "queue", "held", "report")
KINDS = [
    (False, ["alice"], 300, ["alice"], None),
    (False, ["alice"], 6000, ["alice"], None),
    (False, ["bob"], 60_000, ["bob"], None),
    (False, ["carol"], 700_000, ["carol"], None),
    (False, ["alice", "bob", "carol"], 1000, ["alice", "bob", "carol"], None),
    (False, ["alice", "bob", "carol"], 30_000, ["alice", "bob", "carol"], None),
    (False, ["team"], 2000, ["alice", "carol"], None),
    (False, ["team", "alice"], 20_000, ["alice", "carol"], None),
    (False, ["nobody{n}"], 500, [], "held"),
    (False, ["nobody{n}"], 40_000, [], "held"),
    (False, ["bob", "nobody{n}", "team"], 900, ["alice", "bob", "carol"], "held"),
    (True, ["someone@remote.example"], 800, [], "queue"),
    (True, ["someone@remote.example", "bob"], 50_000, ["bob"], "queue"),
    (True, ["broken"], 700, ["alice"], "report"),
    (True, ["broken", "someone@remote.example"], 15_000, ["alice"], "both"),
    (False, ["full"], 5000, [], "queue"),
    (False, ["full", "alice"], 25_000, ["alice"], "queue"),
]
BOXES = ["alice", "bob", "carol", "dave", "full"]


class Sent:
    """What became of one message at the client's side."""

    def __init__(self, tag, kind):
        self.tag = tag
        self.kind = kind
        self.answer = None  # None: nobody knows; else the reply's code


def expand(recipient, n):
    recipient = recipient.replace("{n}", str(n))
    return recipient if "@" in recipient else f"{recipient}@{DOMAIN}"


class Load:
    def __init__(self, t):
        self.t = t
        self.sent = []
        self.lock = threading.Lock()
        self.stopping = False
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(SENDERS)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        rng = random.Random(SEED * 1000 + number)
        while not self.stopping:
            kind = rng.choice(KINDS)
            try:
                with Raw(self.t.mx, timeout=20, source="127.0.0.2" if kind[0] else "127.0.0.1") as c:
                    c.helo()
                    for _ in range(rng.randint(1, 6)):
                        self.message(c, rng, kind)
                        kind = rng.choice([k for k in KINDS if k[0] == kind[0]])
                        if rng.random() < 0.3:
                            time.sleep(rng.random() * 0.05)
            except (OSError, EOFError, AssertionError):
                time.sleep(0.02)

    def message(self, c, rng, kind):
        with self.lock:
            n = len(self.sent)
            sent = Sent(f"t{n}", kind)
            self.sent.append(sent)
        # A report must reach a mailbox of ours, which tells of the message by its header.
        sender = f"dave+{sent.tag}@{DOMAIN}" if kind[4] in ("report", "both") else f"{sent.tag}@elsewhere.example"
        for line in [f"MAIL FROM:<{sender}>"] + [f"RCPT TO:<{expand(r, n)}>" for r in kind[1]] + ["DATA"]:
            reply = c.cmd(line)
            if not reply[0] in "23":
                sent.answer = int(reply[:3])
                c.cmd("RSET")
                return
        head = f"Subject: soak\r\nX-Load-Tag: {sent.tag}\r\n\r\n".encode()
        line = rng.randbytes(30).hex().encode() + b"\r\n"
        c.send(head + line * (kind[2] // len(line) + 1) + f"end of {sent.tag}\r\n.\r\n".encode())
        sent.answer = int(c.reply()[:3])

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def gone(roles):
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for _, pid in roles), 30)


def disturb(t, rng):
    """One disturbance; gives its name."""
    what = rng.choices(["front", "keeper", "back", "two", "roles", "all", "master", "stop", "reload"],
                       [6, 3, 8, 4, 3, 3, 2, 2, 4])[0]
    roles = t.roles()
    if what in ("front", "keeper", "back"):
        of_role = [pid for role, pid in roles if role == what]
        kill(rng.sample(of_role, 1) if of_role else [])
    elif what == "two":
        kill([pid for _, pid in rng.sample(roles, min(2, len(roles)))])
    elif what == "roles":
        kill([pid for _, pid in roles])
    elif what == "all":
        t.kill_all()
        gone(roles)
        t.start(timeout=60)
    elif what == "master":
        t.process.kill()
        t.process.wait()
        t.log_file.close()
        gone(roles)
        t.start(timeout=60)
    elif what == "stop":
        t.stop()
        t.start(timeout=60)
    else:
        t.write_config(extra=EXTRA % rng.randint(1, 3))
        t.reload()
    return what


def settle(t):
    """Waits until nothing moves any more: all that is left waits for a route, is held, or is over quota."""
    def quiet():
        try:
            rows = t.queue()
        except AssertionError:
            return False
        for row in rows:
            assert row["state"] != "unreadable", row
        return all(r["state"] in ("waiting", "unclaimed") or
                   all(to["state"] != "pending" or to["address"].startswith("full@") for to in r["recipients"])
                   for r in rows)
    wait_until(quiet, 240, 0.5)


def tag_of(text):
    return parsed(text)["X-Load-Tag"]


def account(t, sent):
    """Compares what was sent with what is there; gives the number of surplus copies."""
    wrong = []
    boxes = {}
    reports, report_ids, surplus = collections.Counter(), set(), 0
    by_tag = {s.tag: s for s in sent}
    for box in BOXES:
        boxes[box] = collections.Counter()
        for text in t.mail(box):
            tag = tag_of(text)
            if box == "dave":
                mark = b"X-Load-Tag: "
                assert text.count(mark) == 1, text
                known = len(report_ids)
                report_ids.add(parsed(text)["Message-ID"])
                if len(report_ids) == known:
                    surplus += 1  # the same report
                else:
                    reports[text.split(mark)[1].split()[0].decode()] += 1
                continue
            assert f"end of {tag}\r\n".encode() in text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), \
                f"{tag} in {box} is cut short"
            boxes[box][tag] += 1
    queued, held = collections.Counter(), collections.Counter()
    for row in t.queue():
        local = row["sender"].split("@")[0]
        tag = local.split("+")[1] if "+" in local else local
        states = [to["state"] for to in row["recipients"]]
        queued[tag] += any(s in ("pending", "waiting") for s in states)
        held[tag] += any(s == "unclaimed" for s in states)
    for name, found in [*boxes.items(), ("reports", reports), ("queue", queued), ("held", held)]:
        for tag in found:
            s = by_tag.get(tag)
            if found[tag] and s is None:
                wrong.append(f"{tag} in {name} was never sent")
            elif found[tag] and s.answer not in (None, 250):
                wrong.append(f"{tag} in {name} was refused with {s.answer}")
    for s in sent:
        relay, _, _, wanted, rest = s.kind
        if s.answer != 250:
            continue
        for box in BOXES[:3]:
            n = boxes[box][s.tag]
            if (box in wanted) != (n > 0):
                wrong.append(f"{s.tag} {s.kind[1]}: {n} times in {box}")
            surplus += max(0, n - 1)
        over_quota = any(r == "full" for r in s.kind[1])
        for name, found, expected in [("queue", queued, rest in ("queue", "both")), ("held", held, rest == "held"),
                                      ("reports", reports, rest in ("report", "both"))]:
            n = found[s.tag]
            if over_quota and name == "queue":  # the first few found room
                n = n + boxes["full"][s.tag]
                surplus += max(0, n - 1)
                n = min(n, 1)
            if n != expected:
                wrong.append(f"{s.tag} {s.kind[1]}: {n} times in {name}")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:40])
    return surplus


def spool_files(t):
    """(segments, spares, bodies) of all lanes."""
    spool = t.data / "spool"
    segments = [p for p in spool.glob("lane-*/*.seg") if not p.name.startswith("spare")]
    return len(segments), len(list(spool.glob("lane-*/spare-*"))), list(spool.glob("lane-*/body/*"))


def empties(t):
    """The queue is removed by hand; then nothing keeps the spool."""
    t.run("queue", "remove", "--all", timeout=600)
    wait_until(lambda: t.queue() == [], 60)
    lanes = len(list((t.data / "spool").glob("lane-*")))
    began = spool_files(t)
    wait_until(lambda: spool_files(t)[0] <= lanes * 3, 200, 1)  # compaction waits for a minute
    old = time.time() - 2 * 86400
    for body in spool_files(t)[2]:  # of messages that were broken off: given time, then removed
        os.utime(body, (old, old))
    t.stop()
    t.start(timeout=60)
    wait_until(lambda: not spool_files(t)[2], 20)
    segments, spares, bodies = spool_files(t)
    print(f"spool: {began[0]} segments and {len(began[2])} bodies became {segments} segments, {spares} spares, "
          f"{len(bodies)} bodies in {lanes} lanes")


def main():
    rng = random.Random(SEED)
    directory = tempfile.mkdtemp(prefix="tacit-soak-")
    os.chmod(directory, 0o755)
    print(f"seed {SEED}, {SECONDS:.0f} s, {directory}", flush=True)
    t = Tacit(directory, extra=EXTRA % 2)
    t.start()
    for box in BOXES[:4]:
        t.user("add", f"{box}@{DOMAIN}")
    t.user("add", f"full@{DOMAIN}", "--quota", "20K")
    t.user("add", f"team@{DOMAIN}", "--alias-of", f"alice@{DOMAIN}", "--alias-of", f"carol@{DOMAIN}")
    t.user("add", f"ghost@{DOMAIN}")
    t.user("add", f"broken@{DOMAIN}", "--alias-of", f"alice@{DOMAIN}", "--alias-of", f"ghost@{DOMAIN}")
    t.user("disable", f"ghost@{DOMAIN}")
    load = Load(t)
    done = collections.Counter()
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(rng.choice([0.05, 0.3, 0.8, 1.5]))
            done[disturb(t, rng)] += 1
        time.sleep(1)
        load.stop()
        settle(t)
        surplus = account(t, load.sent)
        answers = collections.Counter(s.answer for s in load.sent)
        print(f"{len(load.sent)} messages: {answers[250]} accepted and accounted for, {answers[None]} without an answer, "
              f"{len(load.sent) - answers[250] - answers[None]} refused; {surplus} surplus copies; disturbed by "
              + ", ".join(f"{n} {what}" for what, n in sorted(done.items())), flush=True)
        t.stop()  # what is known must stand on the disk
        t.start(timeout=60)
        settle(t)
        assert account(t, load.sent) == surplus
        empties(t)
        t.stop()
        t.check_log()
    except BaseException as e:
        print(str(e)[-3000:])
        load.stopping = True
        print(f"kept: {directory}", flush=True)
        if t.process and t.process.poll() is None:
            t.process.terminate()
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
