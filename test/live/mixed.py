"""Mixed load and random deaths: what test_kill.py does for seconds and soak.py for as long as one likes.

Each message has a sender of its own, by which it is known wherever it ends up. It comes by SMTP or LMTP, with DATA or
BDAT, at once or slowly, on a connection of its own or one of many, or by tacit sendmail. What must hold when all is
quiet again, for each message that was answered 250 after its content:
  - each mailbox it was for has it once, with the content that was sent,
  - what cannot be delivered yet is in the queue once, what strangers sent to nobody is held once,
  - what a client that may know sent to nobody was reported to its sender, once,
  - another server, which has its moods, took what was for its domain: once, or again only where nobody knows whether its
    answer was read, or where both who knew of it, carrier and back, were killed before it can have been written down.
What was refused is nowhere, and what got no answer, for the connection broke, is complete, or nowhere. No mailbox and
no queue has anything that was not sent. When the queue has been emptied, the spool shrinks to a few segments.

The choice of victims and the messages of each sender follow from the seed; how they meet in time does not.
"""
import collections
import os
import random
import re
import signal
import subprocess
import threading
import time
import zlib

from conftest import TACIT, Raw, free_port, wait_until, without_trace
from scripted import LOSE, Host

DOMAIN = "example.test"
EXTRA = """
relay { networks = {"127.0.0.2"} }
limits { inline_body = "8K"  session_time = "10s"  idle_commands = 1000 }
spool { segment = "256K" }
queue { local_retry = {"300ms", "1s", "2s"}  retry = {"300ms", "1s", "2s"}  deliveries = 8 }
route "far.example" { via = "smtp://127.0.1.1:%d" }
route "*" { via = "hold:" }
fronts = %d
"""
ENDS = 5  # of one role in the life of a master: one more within ten seconds, and it pauses

# (trusted, recipients, octets of content, boxes that get it, where else it is: "queue", "held", "report", "both", "far")
KINDS = [
    (False, ["alice"], 300, ["alice"], None),
    (False, ["alice"], 6000, ["alice"], None),
    (False, ["bob"], 60_000, ["bob"], None),
    (False, ["carol"], 400_000, ["carol"], None),
    (False, ["alice", "bob", "carol"], 1000, ["alice", "bob", "carol"], None),
    (False, ["alice", "bob", "carol"], 30_000, ["alice", "bob", "carol"], None),
    (False, ["team"], 2000, ["alice", "carol"], None),
    (False, ["team", "alice"], 20_000, ["alice", "carol"], None),
    (False, ["nobody{n}"], 500, [], "held"),
    (False, ["nobody{n}"], 40_000, [], "held"),
    (False, ["bob", "nobody{n}", "team"], 900, ["alice", "bob", "carol"], "held"),
    (False, ["full"], 5000, [], "queue"),
    (False, ["full", "alice"], 25_000, ["alice"], "queue"),
    (False, ["full", "alice"], 50_000, ["alice"], "held"),
    (True, ["full", "bob"], 50_000, ["bob"], "report"),
    (True, ["someone@remote.example"], 800, [], "queue"),
    (True, ["someone@remote.example", "bob"], 50_000, ["bob"], "queue"),
    (True, ["broken"], 700, ["alice"], "report"),
    (True, ["broken", "someone@remote.example"], 15_000, ["alice"], "both"),
    (True, ["team", "bob"], 3000, ["alice", "bob", "carol"], None),
    (True, ["zoe@far.example"], 900, [], "far"),
    (True, ["zoe@far.example", "bob"], 70_000, ["bob"], "far"),
]
STRANGERS, TRUSTED = [k for k in KINDS if not k[0]], [k for k in KINDS if k[0]]
BOXES = ["alice", "bob", "carol", "dave", "full"]
WAYS = ["data", "data", "data", "bdat", "lmtp", "single", "slow", "sendmail"]  # one sender each


class Sent:
    """What became of one message at the client's side."""

    def __init__(self, tag, kind):
        self.tag = tag
        self.kind = kind
        self.answer = None  # None: nobody knows; else the reply's code
        self.crc = 0


def expand(recipient, n):
    recipient = recipient.replace("{n}", str(n))
    return recipient if "@" in recipient else f"{recipient}@{DOMAIN}"


class Load:
    """Senders at work until stop()."""

    def __init__(self, world, number):
        self.world = world
        self.sent = []
        self.number = number
        self.lock = threading.Lock()
        self.stopping = False
        self.threads = [threading.Thread(target=self.run, args=(i, way), daemon=True) for i, way in enumerate(WAYS)]
        for thread in self.threads:
            thread.start()

    def begin(self, kind):
        with self.lock:
            n = len(self.sent)
            sent = Sent(f"t{self.number}x{n}", kind)
            self.sent.append(sent)
        # A report must reach a mailbox of ours, which tells of the message by its header.
        sender = f"dave+{sent.tag}@{DOMAIN}" if kind[4] in ("report", "both") else f"{sent.tag}@elsewhere.example"
        return sent, sender, [expand(r, n) for r in kind[1]]

    @staticmethod
    def content(rng, sent):
        line = rng.randbytes(30).hex().encode() + b"\r\n"
        content = (f"From: load@elsewhere.example\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
                   f"Message-ID: <{sent.tag}@elsewhere.example>\r\nX-Load-Tag: {sent.tag}\r\n\r\n").encode()
        content += line * (sent.kind[2] // len(line) + 1)
        sent.crc = zlib.crc32(content)
        return content

    def run(self, number, way):
        rng = random.Random(f"{self.world.seed} {self.number} {number}")
        while not self.stopping:
            try:
                if way == "sendmail":
                    self.sendmail(rng)
                else:
                    self.session(rng, way)
            except (OSError, EOFError, AssertionError, subprocess.TimeoutExpired):
                time.sleep(0.02)

    def session(self, rng, way):
        trusted = way != "lmtp" and rng.random() < 0.3
        port = self.world.lmtp if way == "lmtp" else self.world.t.mx
        with Raw(port, timeout=20, source="127.0.0.2" if trusted else "127.0.0.1") as c:
            assert c.cmd(("LHLO" if way == "lmtp" else "EHLO") + " client.example").startswith("250")
            for _ in range(1 if way == "single" else rng.randint(1, 8)):
                if self.stopping:
                    return
                self.message(c, rng, way, rng.choice(TRUSTED if trusted else STRANGERS))
                if rng.random() < 0.3:
                    time.sleep(rng.random() * 0.05)

    def message(self, c, rng, way, kind):
        sent, sender, recipients = self.begin(kind)
        for line in [f"MAIL FROM:<{sender}>"] + [f"RCPT TO:<{r}>" for r in recipients]:
            reply = c.cmd(line)
            if reply[0] != "2":
                sent.answer = int(reply[:3])
                c.cmd("RSET")
                return
        content = self.content(rng, sent)
        if way == "bdat":
            while len(content) > 0:
                step = min(len(content), rng.randint(1, 30_000))
                c.send(f"BDAT {step}{' LAST' if step == len(content) else ''}\r\n".encode() + content[:step])
                content = content[step:]
                reply = c.reply()
                if content and reply[0] != "2":
                    break
            sent.answer = int(reply[:3])
            return
        reply = c.cmd("DATA")
        if reply[0] != "3":
            sent.answer = int(reply[:3])
            return
        if way == "slow":
            for at in range(0, len(content), len(content) // 4 + 1):
                c.send(content[at:at + len(content) // 4 + 1])
                time.sleep(rng.random() * 0.3)
            c.send(b".\r\n")
        else:
            c.send(content + b".\r\n")
        answers = {int(c.reply()[:3]) for _ in (recipients if way == "lmtp" else [0])}
        assert len(answers) == 1, answers  # one record, one answer for all
        sent.answer = answers.pop()

    def sendmail(self, rng):
        sent, sender, recipients = self.begin(rng.choice(TRUSTED))
        content = self.content(rng, sent).replace(b"\r\n", b"\n")
        command = [TACIT, "sendmail", "-i", "-f", sender, "--config", str(self.world.t.conf), *recipients]
        status = subprocess.run(command, input=content, capture_output=True, timeout=30).returncode
        if status == 0:
            sent.answer = 250
        else:
            time.sleep(0.05)  # whatever it is: nobody knows

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


class World:
    """A server with mailboxes, and what happens to it."""

    def __init__(self, make, seed):
        self.seed = seed
        self.rng = random.Random(seed)
        self.lmtp = free_port()
        self.far = self.another_server()
        self.killed = []  # (role, when)
        self.t = make(extra=self.extra(2),
                      extra_listen=f'listen lmtp {{ address = "127.0.0.1:{self.lmtp}"  protocol = "lmtp" }}')
        t = self.t
        t.start()
        for box in BOXES[:4]:
            t.user("add", f"{box}@{DOMAIN}")
        t.user("add", f"full@{DOMAIN}", "--quota", "40K")
        t.user("add", f"team@{DOMAIN}", "--alias-of", f"alice@{DOMAIN}", "--alias-of", f"carol@{DOMAIN}")
        t.user("add", f"ghost@{DOMAIN}")
        t.user("add", f"broken@{DOMAIN}", "--alias-of", f"alice@{DOMAIN}", "--alias-of", f"ghost@{DOMAIN}")
        t.user("disable", f"ghost@{DOMAIN}")
        self.in_full = set()
        self.rounds = 0
        self.done = collections.Counter()
        self.ends = collections.Counter()

    def another_server(self):
        moods = random.Random(self.seed)

        def moody(usual, *others):
            return lambda _: moods.choice(others) if moods.random() < 0.1 else usual
        return Host("127.0.1.1", free_port(), extensions=["PIPELINING"], rcpt=moody("250 2.1.5 Ok", "450 4.2.1 Later"),
                    mail=moody("250 2.1.0 Ok", "421 4.3.2 Later"),
                    message=moody("250 2.0.0 Ok", "451 4.3.0 Later", LOSE))

    def extra(self, fronts):
        return EXTRA % (self.far.port, fronts)

    # -- what happens -----------------------------------------------------------------------------------------------
    def kill(self, victims):
        for role, pid in victims:
            self.ends[role] += 1
            self.killed.append((role, time.time()))
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def restart(self, how):
        t, roles = self.t, self.t.roles()
        if how == "stop":
            t.stop()
        else:
            t.process.kill()
            self.killed += [("carrier", time.time()), ("back", time.time())]
            if how == "all":
                self.kill(roles)
            t.process.wait()
            t.process = None
            t.log_file.close()
            wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for _, pid in roles), 30)
        t.start(timeout=60)
        self.ends.clear()

    def disturb(self):
        """One disturbance."""
        what = self.rng.choices(["front", "keeper", "back", "resolver", "carrier", "two", "roles", "all", "master",
                                 "stop", "reload"], [8, 4, 10, 2, 8, 5, 3, 2, 2, 1, 2])[0]
        pick = self.rng.random()
        pair = self.rng.random()
        roles = sorted(self.t.roles())
        if what not in ("all", "master", "stop") and max(self.ends.values(), default=0) >= ENDS:
            what = "master" if pick < 0.5 else "all"
        if what in ("front", "keeper", "back", "resolver", "carrier"):
            of_role = [r for r in roles if r[0] == what]
            self.kill([of_role[int(pick * len(of_role))]] if of_role else [])
        elif what == "two" and roles:
            self.kill({roles[int(pick * len(roles))], roles[int(pair * len(roles))]})
        elif what == "roles":
            self.kill(roles)
        elif what == "reload":
            self.t.write_config(extra=self.extra(1 + int(pick * 3)))
            self.t.reload()
        elif what != "two":
            self.restart(what)
        self.done[what] += 1
        self.rounds += 1

    def disturb_for(self, seconds=None, rounds=None):
        end = time.monotonic() + (seconds or 0)
        while rounds if seconds is None else time.monotonic() < end:
            time.sleep(self.rng.choice([0.02, 0.05, 0.1, 0.2, 0.5]))
            self.disturb()
            rounds = rounds and rounds - 1

    # -- what must hold ---------------------------------------------------------------------------------------------
    def settle(self):
        """Waits until nothing moves any more: all that is left waits for release, is held, or is over quota."""
        def quiet():
            try:
                rows = self.t.queue()
            except AssertionError:
                return False
            for row in rows:
                assert row["state"] != "unreadable", row
            return all(r["state"] in ("waiting", "unclaimed") or
                       all(to["state"] != "pending" or to["address"].startswith("full@") for to in r["recipients"])
                       for r in rows)
        wait_until(quiet, 240, 0.3)

    def files(self, box):
        return [p for p in (self.t.maildir(box) / "new").glob("*")]

    def account(self, sent):
        """Compares what was sent with what is there. Nothing may be there twice."""
        wrong = []
        by_tag = {s.tag: s for s in sent}
        found = {name: collections.Counter() for name in BOXES + ["reports", "queue", "held", "far", "perhaps"]}
        for box in BOXES:
            for path in self.files(box):
                text = path.read_bytes()
                if box == "dave":
                    tags = re.findall(rb"^X-Load-Tag: (\w+)", text, re.M)
                    assert len(tags) == 1, text
                    found["reports"][tags[0].decode()] += 1
                    continue
                tag = re.search(rb"^X-Load-Tag: (\w+)", text[:4000], re.M)[1].decode()
                if box == "full" and tag in self.in_full:
                    continue  # of an earlier load
                found[box][tag] += 1
                if tag in by_tag and zlib.crc32(without_trace(text)) != by_tag[tag].crc:
                    wrong.append(f"{tag} in {box} is not what was sent")
        for m in list(self.far.messages):
            tag = re.search(rb"^X-Load-Tag: (\w+)", m.content[:4000], re.M)[1].decode()
            found["perhaps" if m.answer_may_be_lost() or m.may_be_forgotten(self.killed) else "far"][tag] += m.answered
            if tag in by_tag and m.answered and zlib.crc32(without_trace(m.content)) != by_tag[tag].crc:
                wrong.append(f"{tag} at the other server is not what was sent")
        for row in self.t.queue():
            local = row["sender"].split("@")[0]
            tag = local.split("+")[1] if "+" in local else local
            states = [to["state"] for to in row["recipients"]]
            found["queue"][tag] += any(s in ("pending", "waiting") for s in states)
            found["held"][tag] += any(s == "unclaimed" for s in states)
        for name in found:
            for tag, n in found[name].items():
                s = by_tag.get(tag)
                if n and s is None:
                    wrong.append(f"{tag} in {name} was never sent")
                elif n and s.answer not in (None, 250):
                    wrong.append(f"{tag} in {name} was refused with {s.answer}")
        for s in sent:
            boxes, rest = s.kind[3], s.kind[4]
            expected = {box: int(box in boxes) for box in BOXES[:3]}
            expected["held"] = int(rest == "held")
            expected["reports"] = int(rest in ("report", "both"))
            expected["far"] = int(rest == "far")
            got = {name: found[name][s.tag] for name in expected}
            got["far"] = got["far"] or min(1, found["perhaps"][s.tag])
            got["rest"], expected["rest"] = found["queue"][s.tag], int(rest in ("queue", "both"))
            if "full" in s.kind[1]:  # the first few found room
                got["rest"] += found["full"][s.tag]
            nowhere = not any(got.values())
            if s.answer not in (None, 250) or (s.answer is None and nowhere):
                continue
            if got != expected:
                wrong.append(f"{s.tag} to {s.kind[1]}, answer {s.answer}: " + ", ".join(
                    f"{got[n]} in {n} instead of {expected[n]}" for n in got if got[n] != expected[n]))
        assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:40])

    def forget(self):
        """Before the next load: the mailboxes are read and the queue is emptied."""
        self.t.run("queue", "remove", "--all", timeout=600, check=False)  # what is just being sent ends by itself
        wait_until(lambda: self.t.queue() == [], 60)
        self.far.messages.clear()
        for box in BOXES:
            for path in self.files(box):
                if box == "full":
                    self.in_full.add(re.search(rb"^X-Load-Tag: (\w+)", path.read_bytes(), re.M)[1].decode())
                else:
                    path.unlink()

    def spool_files(self):
        """(segments, spares, bodies) of all lanes."""
        spool = self.t.data / "spool"
        segments = [p for p in spool.glob("lane-*/*.seg") if not p.name.startswith("spare")]
        return len(segments), len(list(spool.glob("lane-*/spare-*"))), list(spool.glob("lane-*/body/*"))

    def empties(self):
        """The queue is removed by hand; then nothing keeps the spool."""
        t = self.t
        self.forget()
        lanes = len(list((t.data / "spool").glob("lane-*")))
        began = self.spool_files()
        # Compaction waits for a minute, and then empties one segment a second.
        wait_until(lambda: self.spool_files()[0] <= lanes * 3, 200 + 3 * began[0], 1)
        segments, spares, bodies = self.spool_files()
        return (f"spool: {began[0]} segments and {len(began[2])} bodies became {segments} segments, {spares} spares, "
                f"{len(bodies)} bodies of messages that were broken off, which have an hour, in {lanes} lanes")


def counts(sent):
    answers = collections.Counter(s.answer for s in sent)
    refused = len(sent) - answers[250] - answers[None]
    return (f"{len(sent)} messages: {answers[250]} accepted, each there exactly once, "
            f"{answers[None]} without an answer, {refused} refused")
