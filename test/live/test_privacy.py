"""A stranger cannot tell who exists: not by the bytes of a reply, not by the limits of a session, not by what comes
afterwards, not by time (doc/disclosure.md, What was measured)."""
import re
import time

import pytest

import timing
from conftest import PATIENCE, wait_until
from timing import Probed, auc, leaks, leaks_of_both

D = "example.test"
LONG = "l" * 62
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # of ids: src/queue/id.c

# What exists, and for each spelling one of the same shape and length that leads nowhere.
PAIRS = {
    "mailbox": ("alice", "alicf"),
    "other case": ("ALICE", "ALICF"),
    "tag": ("alice+tag", "alicf+tag"),
    "quoted": ('"alice"', '"alicf"'),
    "needs quotes": ('"a b"', '"a c"'),
    "alias": ("qal", "qam"),
    "alias elsewhere": ("qaway", "qawaz"),
    "list": ("qstaff", "qstafg"),
    "closed list": ("qinner", "qinnes"),
    "moved 251": ("m251", "m252"),
    "moved 551": ("m551", "m552"),
    "moved hidden": ("mhide", "mhidf"),
    "disabled": ("qoff", "qofg"),
    "over quota": ("qfull", "qfulm"),
    "smaller than the message": ("qtiny", "qtinz"),
    "outside ASCII": ("jürgen", "jürgem"),
    "longest": (LONG + "ab", LONG + "ac"),
    "percent": ("a%b", "a%c"),
}


def populate(t):
    for name in ("alice", '"a b"', "bob", "m251", "m551", "mhide", "qoff", "jürgen", LONG + "ab", "a%b"):
        t.user("add", f"{name}@{D}")
    t.user("add", f"qtiny@{D}", "--quota", "1")
    t.user("add", f"qfull@{D}")
    t.run("sendmail", f"qfull@{D}", input="Subject: filler\n\n" + 300 * ("x" * 70 + "\n"))
    t.wait_mail("qfull")
    t.user("change", f"qfull@{D}", "--quota", "20K")
    t.user("add", f"qal@{D}", "--alias-of", f"alice@{D}")
    t.user("add", f"qaway@{D}", "--alias-of", "somebody@remote.example")
    t.user("add", f"qstaff@{D}", "--list", "--show-members", "--member", f"alice@{D}", "--member", f"bob@{D}")
    t.user("add", f"qinner@{D}", "--list", "--closed", "--member", f"alice@{D}")
    for how in ("251", "551", "hide"):
        t.user("move", f"m{how}@{D}", "new@elsewhere.example", "--reply", how)
    t.user("disable", f"qoff@{D}")


class Talk:
    """A session whose replies are kept, with the name that was asked about and the ids of messages masked."""

    def __init__(self, tacit, name):
        self.client, self.name, self.replies, self.ids = tacit.connect(), name, [], []
        self.keep(self.client.greeting)

    def keep(self, reply):
        for id_text in re.findall(r"queued as (\S+)", reply):
            self.ids.append((id_text, time.time()))
        self.replies.append(re.sub(r"queued as \S+", "queued as ID", reply).replace(self.name, "NAME"))

    def say(self, *lines):
        for line in lines:
            self.client.send(line.replace("NAME", self.name) + "\r\n")
            self.keep(self.client.reply())

    def until_closed(self, line, most):
        """Says it until the server closes; what it says last, and when, is kept."""
        for _ in range(most):
            try:
                self.say(line)
            except (EOFError, OSError):
                self.replies.append("closed")
                return
        self.replies.append("open")

    def end(self):
        self.say("QUIT")
        self.replies.append("closed" if self.client.closed() else "more")
        self.client.close()
        return tuple(self.replies)


CONTENT = "Subject: x\r\n\r\nx\r\n."
BDAT = "BDAT 17 LAST\r\nSubject: x\r\n\r\nx\r\n"


def everything(t):
    """All that a stranger can ask about one name."""
    utf8 = "" if t.name.isascii() else " SMTPUTF8"
    to = f"RCPT TO:<NAME@{D}>"
    t.say("HELO a.example", "EHLO a.example", "HELP", "HELP VRFY", f"HELP NAME@{D}")
    for verb in ("VRFY", "EXPN"):
        t.say(*(f"{verb} {form}{utf8}" for form in (f"NAME@{D}", f"<NAME@{D}>", "NAME", "A. Person <NAME@%s>" % D)),
              f"{verb} NAME@{D} MORE", f"{verb} NAME@remote.example")
    t.say(f"MAIL FROM:<s@a.example>{utf8}", to, to, to.lower().replace("name", "NAME"), "NOOP", "RSET", "NOOP")
    t.say(f"MAIL FROM:<s@a.example> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=x{utf8}",
          to + " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x@a.example", to + " NOTIFY=NEVER", to + " NOTIFY=WHAT",
          to + " SIZE=1", f"RCPT TO:<alice@{D}>", f"RCPT TO:<nobody@{D}>", "RCPT TO:<x@remote.example>",
          f"RCPT TO:<NAME@sub.{D}>", f"RCPT TO:<@a.example:NAME@{D}>", "RCPT TO:<NAME@[127.0.0.1]>", "DATA", CONTENT)
    t.say(f"MAIL FROM:<s@a.example>{utf8}", to, BDAT, "BDAT 0 LAST", "RSET")
    t.say(f"MAIL FROM:<s@a.example> SIZE=99999999999{utf8}", to)
    t.say(f"MAIL FROM:<NAME@{D}>{utf8}", to, "DATA", CONTENT)
    t.say(f"MAIL FROM:<>{utf8}", to, f"RCPT TO:<alice@{D}>", "DATA", CONTENT, "RSET")
    t.say("MAIL FROM:<s@a.example>", to, "VRFY NAME", "EXPN NAME", "DATA", "Subject: bare\nLF\r\n.")


def id_parts(text):
    value = 0
    for c in text:
        value = value * 32 + DIGITS.index(c)
    return value >> 22, value >> 14 & 255, value & (1 << 14) - 1  # ms, lane, counter


@pytest.mark.parametrize("disclosure", ["", 'vrfy = "502"', 'rcpt_reply = "252"', 'strangers = "refuse"', "catch-all"])
def test_every_reply_is_the_same(make_tacit, disclosure):
    t = make_tacit(disclosure=disclosure if "=" in disclosure else "", extra_global="fronts = 1",
                   extra='queue { local_retry = {"1s"} } limits { errors = 100 }').start()
    populate(t)
    if disclosure == "catch-all":
        t.user("add", f"*@{D}", "--alias-of", f"bob@{D}")
    for shape, (real, invented) in PAIRS.items():
        seen = []
        for name in (real, invented):
            talk = Talk(t, name)
            began = time.time()
            everything(talk)
            seen.append(talk.end())
            for text, known in talk.ids:  # an id tells when its message began and by which front: no more
                ms, lane, counter = id_parts(text)
                assert began * 1000 - 1 <= ms <= known * 1000 + 1 and lane == 1 and counter < 4, (text, shape)
        assert len(seen[0]) == len(seen[1]) and [p for p in zip(*seen) if p[0] != p[1]] == [], shape


def test_every_limit_is_the_same(make_tacit):
    t = make_tacit(extra="limits { errors = 8 commands = 150 transactions = 6 idle_commands = 12 recipients = 100 }",
                   extra_global="fronts = 1").start()
    populate(t)
    to = f"RCPT TO:<NAME@{D}>"

    def greeted(name):
        talk = Talk(t, name)
        talk.say("EHLO a.example")
        return talk

    def recipients(talk):
        talk.say("MAIL FROM:<s@a.example>")
        talk.until_closed(to, 160)

    def questions(talk):
        talk.until_closed(f"VRFY NAME@{D}", 40)

    def mistakes(talk):
        talk.say("MAIL FROM:<s@a.example>")
        talk.until_closed(to + " NO=SUCH", 40)

    def messages(talk):
        for _ in range(5):
            talk.say("MAIL FROM:<s@a.example>", to, "DATA", CONTENT)
        talk.say("MAIL FROM:<s@a.example>", "RSET")
        talk.until_closed("MAIL FROM:<s@a.example>", 5)

    def null_senders(talk):
        for _ in range(5):
            talk.say("MAIL FROM:<>", to, "DATA", CONTENT)
        talk.say("MAIL FROM:<>", "RSET")
        talk.until_closed("MAIL FROM:<>", 5)

    for scene in (recipients, questions, mistakes, messages, null_senders):
        for real, invented in [PAIRS[k] for k in ("mailbox", "disabled", "over quota", "list")]:
            seen = []
            for name in (real, invented):
                talk = greeted(name)
                scene(talk)
                talk.client.close()
                seen.append(talk.replies)
            assert seen[0] == seen[1], (scene.__name__, real)
            assert seen[0][-1] == "closed" and seen[0][-2].startswith("421"), (scene.__name__, seen[0][-2:])


def test_nothing_comes_afterwards(make_tacit):
    """No report, bounce or notice to whom a stranger says it is, be that one of ours; for no shape of name."""
    t = make_tacit(extra='queue { local_retry = {"300ms"} expire = "2s" delay_notice = "1s" }'
                         'unclaimed { digest = "0" }').start()
    populate(t)
    t.user("add", f"forged@{D}")
    senders = (f"forged@{D}", "forged@victim.example")
    with t.connect() as c:
        c.helo()
        for sender in senders:
            for name in (n for pair in PAIRS.values() for n in pair):
                assert c.cmd(f"MAIL FROM:<{sender}> RET=FULL SMTPUTF8").startswith("250")
                assert c.cmd(f"RCPT TO:<{name}@{D}> NOTIFY=SUCCESS,FAILURE,DELAY").startswith("250")
                assert c.cmd("DATA").startswith("354")
                c.send(CONTENT + "\r\n")
                assert c.reply().startswith("250")

    def settled():
        rows = t.queue()
        return rows if all("pending" not in str(row) for row in rows) else None

    rows = wait_until(settled, 20 * PATIENCE)
    assert len(t.queue("--unclaimed")) >= 2 * len(PAIRS)
    assert not t.mail("forged")
    assert all(row["sender"] in senders for row in rows), rows


def test_a_message_for_nobody_costs_a_delivery(make_tacit):
    """Else the disk would tell the sender's next messages whether somebody got the last one."""
    t = make_tacit(extra_global="fronts = 1").start()
    populate(t)
    written = t.maildir(".nobody") / "new" / "last"
    with t.connect() as c:
        c.helo()
        assert c.message("s@a.example", f"alice@{D}").startswith("250")
        t.wait_mail("alice")
        assert not written.exists()
        for i, name in enumerate(("nobody", "nobody+tag", "qoff", "qfull", "qtiny", "mhide", "qinner", "m251", "qaway")):
            assert c.message("s@a.example", f"{name}@{D}", b"x" * (i + 1) * 1000 + b"\r\n").startswith("250")
            wait_until(lambda: written.exists() and written.stat().st_size // 1000 == i + 1)


# ---- time ----

timed = pytest.mark.skipif(PATIENCE > 1, reason="a sanitized build is measured by nobody but its developers")


def test_the_statistics_are_right():
    assert auc([3, 4], [1, 2])[0] == 1 and auc([1, 2], [3, 4])[0] == 0 and auc([1, 1], [1, 1])[0] == 0.5
    area, half = auc([2, 4, 6, 8, 9, 10], [1, 3, 5, 7, 9, 9])
    assert abs(area - 21 / 36) < 1e-9 and 0.3 < half < 0.5
    even = [(i * 7919) % 10007 for i in range(4000)]
    area, half = auc(even[:2000], even[2000:])
    assert abs(area - 0.5) < 0.02 and 0.016 < half < 0.02


@timed
def test_no_time_tells_who_exists(make_tacit):
    probed = Probed(make_tacit(**timing.SETTINGS).start())
    found = []
    for channel, (_, count) in timing.CHANNELS.items():
        if count:
            found += probed.measure(channel, count)
    print("\n".join(f"{area:.4f} +- {half:.4f}  {name}" for name, area, half in found))
    assert max(half for _, _, half in found) < 0.022
    if leaks(found):
        print("again, for:\n" + "\n".join(leaks(found)))
        channels = {name.split(":")[0] for name, area, half in found if leaks([(name, area, half)])}
        again = [row for channel in channels for row in probed.measure(channel, timing.CHANNELS[channel][1], seed=8)]
        assert not leaks_of_both(found, again), "\n".join(leaks_of_both(found, again))


@timed
def test_a_leak_is_found(make_tacit, monkeypatch):
    monkeypatch.setenv("TACIT_LEAK_NS", "20000")
    t = make_tacit(**timing.SETTINGS)
    t.program = timing.LEAKY
    probed = Probed(t.start())
    found, again = probed.measure("RCPT", 1600), probed.measure("RCPT", 1600, seed=8)
    assert any(name.startswith("RCPT: 2") for name in leaks_of_both(found, again)), (found, again)
