"""What each answer of another server makes of a message: one case for each row of smtp/outcome.def and each thing no server
should say. One tacit sends all of them at once; each case has its own domain and its own server, which follows a script.

Outcomes:
  TAKEN    a server has taken it in the first attempt, on one connection where nothing else is said
  LATER    it was put off, and taken in a later attempt
  FAILED   it failed, at once, and the sender was told why
  REFUSED  the server refuses us altogether: a few attempts, then it failed
  EXPIRED  it was put off until the queue gave it up, and the sender was told the last reason
"""
import re

import pytest

from conftest import PATIENCE
from scripted import LOSE, SILENCE, cut
from sending import World

TAKEN, LATER, FAILED, REFUSED, EXPIRED = "taken", "later", "failed", "refused", "expired"
SIZE = "SIZE 10000000"


class Case:
    """`hosts`: scripts, the preferred host first; to: local parts of the recipients; failed: those that fail (all);
    `told`: the words of the server that the report repeats; connections: to the first host."""

    def __init__(self, name, outcome, *hosts, status=None, told=None, to=("bob",), failed=None, connections=None,
                 content=b"Subject: a test\r\n\r\nhello\r\n", mail="", rcpt="", check=None):
        self.name, self.outcome, self.scripts, self.status, self.told = name, outcome, hosts, status, told
        self.domain = f"{name}.example"
        self.to = [f"{local}@{self.domain}" for local in to]
        self.failed = [f"{local}@{self.domain}" for local in (to if failed is None else failed)]
        self.connections, self.content, self.mail, self.rcpt, self.check = connections, content, mail, rcpt, check


def first(reply, then=None):
    """Says it once, and then what an ordinary server says."""
    return [reply, then or "250 2.0.0 Ok"]


def only(reply, *locals):
    return lambda address: reply if address.split("@")[0] in locals else "250 2.1.5 Ok"


def if_asked(parameter, reply):
    """To MAIL and RCPT with a parameter of an extension."""
    return lambda argument: reply if parameter in argument else "250 2.1.0 Ok"


def some_at_once(count, reply):
    """Takes so many recipients of a transaction; a server that counts from MAIL to MAIL."""
    seen = []

    def mail(_):
        seen.clear()
        return "250 2.1.0 Ok"

    def rcpt(address):
        seen.append(address)
        return "250 2.1.5 Ok" if len(seen) <= count else reply
    return {"mail": mail, "rcpt": rcpt}


def one_by_one(bad, reply):
    """Refuses the content where the recipient is among several, or alone."""
    now = []

    def mail(_):
        now.clear()
        return "250 2.1.0 Ok"

    def rcpt(address):
        now.append(address)
        return "250 2.1.5 Ok"

    def message(_):
        return reply if any(a.startswith(bad) for a in now) else "250 2.0.0 Taken"
    return {"mail": mail, "rcpt": rcpt, "message": message}


def helo_said(world, case, hosts):
    assert any(line.startswith("HELO ") for line in hosts[0].lines())


def at_second(world, case, hosts):
    assert not hosts[0].messages and len(hosts[1].messages) == 1


def nothing_asked(world, case, hosts):
    assert not any(line.startswith("MAIL") for line in hosts[0].lines())


def no_content(world, case, hosts):
    assert not hosts[0].messages


def two_transactions(world, case, hosts):
    assert len([line for line in hosts[0].lines() if line.startswith("MAIL")]) >= 2


def in_7_bits(world, case, hosts):
    [message] = hosts[0].messages
    assert max(message.content) < 128 and b"quoted-printable" in message.content.lower()
    assert b"gr=C3=BC=C3=9Fe" in message.content


def in_8_bits(world, case, hosts):
    [message] = hosts[0].messages
    assert "grüße".encode() in message.content
    assert any("BODY=8BITMIME" in line for line in hosts[0].lines())


def new_address_told(world, case, hosts):
    assert "robert@new.example" in world.report(case.name).words


def not_repeated(world, case, hosts):
    """What is in the reply shall not break the report."""
    report = world.report(case.name)
    assert len(list(report.message.iter_parts())) == 3 and "\x1b" not in report.words


EIGHT = "Subject: a test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" \
        "Content-Transfer-Encoding: 8bit\r\n\r\ngrüße\r\n".encode()
G220, E250 = "220 {host} ESMTP", "250 {host}"

CASES = [
    # the greeting
    Case("greeting-421", LATER, {"greeting": first("421 4.3.2 Come later", G220)}),
    Case("greeting-421-next", TAKEN, {"greeting": "421 4.3.2 Come later"}, {}, check=at_second),
    Case("greeting-421-always", EXPIRED, {"greeting": "421 4.3.2 Never now"}, status="4.3.2", told="Never now"),
    Case("greeting-521", FAILED, {"greeting": "521 This host takes no mail"}, status="5.3.2", told="takes no mail"),
    Case("greeting-521-next", TAKEN, {"greeting": "521 This host takes no mail"}, {}, check=at_second),
    Case("greeting-521-both", FAILED, {"greeting": "521 No mail here"}, {"greeting": "521 No mail there"},
         status="5.3.2", told="No mail"),
    Case("greeting-554", REFUSED, {"greeting": "554 5.7.1 Not from you"}, status="5.7.1", told="Not from you"),
    Case("greeting-554-next", TAKEN, {"greeting": "554 5.7.1 Not from you"}, {}, check=at_second),
    Case("greeting-556", REFUSED, {"greeting": "556 No mail"}, status="5.3.0", told="No mail"),
    Case("greeting-250", EXPIRED, {"greeting": "250 Hello"}, status="4.5.0"),
    Case("greeting-lost", LATER, {"greeting": first(LOSE, G220)}),
    Case("greeting-multiline", TAKEN, {"greeting": "220 {host}\n220 Welcome\n220 ESMTP"}),
    # EHLO
    Case("ehlo-502", TAKEN, {"ehlo": "502 5.5.1 What?"}, check=helo_said),
    Case("ehlo-500-lost", TAKEN, {"ehlo": LOSE}, connections=2, check=helo_said),
    Case("ehlo-421", LATER, {"ehlo": first("421 4.3.2 Later", E250)}),
    Case("ehlo-521", FAILED, {"ehlo": "521 5.3.2 No mail"}, status="5.3.2", told="No mail"),
    Case("helo-550", REFUSED, {"ehlo": "550 5.7.1 No", "helo": "550 5.7.1 Not you"}, status="5.7.1", told="Not you"),
    # MAIL
    Case("mail-451", LATER, {"mail": first("451 4.3.0 Later")}),
    Case("mail-421", LATER, {"mail": first("421 4.3.2 Going down")}),
    Case("mail-452", EXPIRED, {"mail": "452 No room"}, status="4.3.1", told="No room"),
    Case("mail-455", TAKEN, {"mail": if_asked("SIZE=", "455 4.5.4 Not with that"), "extensions": [SIZE]}),
    Case("mail-555", TAKEN, {"mail": if_asked("SIZE=", "555 5.5.4 Not with that"), "extensions": [SIZE]}),
    Case("mail-530", FAILED, {"mail": "530 Log in first"}, status="5.7.0", told="Log in first"),
    Case("mail-550", FAILED, {"mail": "550 Not you"}, status="5.1.0", told="Not you"),
    Case("mail-550-policy", FAILED, {"mail": "550 5.7.1 Not you"}, status="5.7.1", told="Not you"),
    Case("mail-552", FAILED, {"mail": "552 Too much"}, status="5.3.4", told="Too much"),
    Case("mail-553", FAILED, {"mail": "553 What a sender"}, status="5.1.7", told="What a sender"),
    Case("mail-554", FAILED, {"mail": "554 No"}, status="5.3.0", told="554 No"),
    Case("mail-lost", LATER, {"mail": first(LOSE)}),
    Case("too-large", FAILED, {"extensions": ["SIZE 10"]}, status="5.3.4", check=nothing_asked),
    Case("eight-bit", TAKEN, {}, content=EIGHT, mail=" BODY=8BITMIME", check=in_7_bits),
    Case("eight-bit-taken", TAKEN, {"extensions": ["8BITMIME"]}, content=EIGHT, mail=" BODY=8BITMIME",
         check=in_8_bits),
    Case("needs-utf8", FAILED, {}, to=("jürgen",), mail=" SMTPUTF8", status="5.6.7", check=nothing_asked),
    # RCPT
    Case("rcpt-251", TAKEN, {"rcpt": "251 User not local; will forward to <robert@new.example>"}),
    Case("rcpt-252", TAKEN, {"rcpt": "252 2.1.5 Cannot verify, but will try"}),
    Case("rcpt-450", LATER, {"rcpt": first("450 4.2.1 Busy")}),
    Case("rcpt-451", LATER, {"rcpt": first("451 4.7.1 Greylisted, come back")}),
    Case("rcpt-452", LATER, {"rcpt": first("452 4.5.3 Too many")}),
    Case("rcpt-421", LATER, {"rcpt": first("421 4.7.0 Too fast")}),
    Case("rcpt-full", EXPIRED, {"rcpt": "452 4.2.2 The mailbox is full"}, status="4.2.2", told="is full"),
    Case("rcpt-452-some", TAKEN, some_at_once(2, "452 4.5.3 Too many recipients"), to=("a", "b", "c", "d", "e"),
         check=two_transactions),
    Case("rcpt-552-some", TAKEN, some_at_once(2, "552 Too many recipients"), to=("a", "b", "c"),
         check=two_transactions),
    Case("rcpt-550", FAILED, {"rcpt": "550 No such user"}, status="5.1.1", told="No such user"),
    Case("rcpt-550-temp", FAILED, {"rcpt": "550 4.2.1 Contradicts itself"}, status="5.2.1", told="Contradicts itself"),
    Case("rcpt-551", FAILED, {"rcpt": "551 5.1.6 User not local; please try <robert@new.example>"}, status="5.1.6",
         told="please try", check=new_address_told),
    Case("rcpt-551-hidden", FAILED, {"rcpt": "551 5.1.6 User has moved"}, status="5.1.6", told="has moved"),
    Case("rcpt-552", EXPIRED, {"rcpt": "552 Too many"}, status="4.5.3", told="Too many"),
    Case("rcpt-552-full", FAILED, {"rcpt": "552 5.2.2 Over quota"}, status="5.2.2", told="Over quota"),
    Case("rcpt-553", FAILED, {"rcpt": "553 Not an address"}, status="5.1.3", told="Not an address"),
    Case("rcpt-554", FAILED, {"rcpt": "554 No"}, status="5.1.0", told="554 No"),
    Case("rcpt-555", TAKEN, {"rcpt": ["555 5.5.4 No parameters", "250 2.1.5 Ok"], "extensions": ["DSN"]},
         rcpt=" NOTIFY=FAILURE"),
    Case("rcpt-556", FAILED, {"rcpt": "556 No mail for that domain"}, status="5.1.10", told="No mail for that domain"),
    Case("rcpt-policy", FAILED, {"rcpt": "550 5.7.1 We\n550 5.7.1 do not\n550 5.7.1 want it"}, status="5.7.1",
         told="do not"),
    Case("rcpt-one-of", FAILED, {"rcpt": only("550 5.1.1 Not here", "bob")}, to=("ann", "bob", "cleo"), failed=["bob"],
         status="5.1.1", told="Not here"),
    Case("rcpt-one-later", LATER, {"rcpt": ["450 4.2.1 Busy", "250 2.1.5 Ok"]}, to=("ann", "bob")),
    Case("rcpt-lost", LATER, {"rcpt": first(LOSE)}),
    # DATA
    Case("data-250", EXPIRED, {"data": "250 Ok"}, status="4.5.0", check=no_content),
    Case("data-451", LATER, {"data": first("451 4.3.0 Later", "354 Go ahead")}),
    Case("data-554", FAILED, {"data": "554 No valid recipients"}, status="5.3.0", told="No valid", check=no_content),
    Case("data-421", LATER, {"data": first("421 4.3.2 Later", "354 Go ahead")}),
    # the message
    Case("dot-451", LATER, {"message": first("451 4.3.0 Later")}),
    Case("dot-452", LATER, {"message": first("452 4.3.1 No room")}),
    Case("dot-421", LATER, {"message": first("421 4.3.2 Later")}),
    Case("dot-554", FAILED, {"message": "554 Spam"}, status="5.3.0", told="554 Spam"),
    Case("dot-552", FAILED, {"message": "552 Too much"}, status="5.3.4", told="Too much"),
    Case("dot-550-policy", FAILED, {"message": "550 5.7.1 Spam"}, to=("a", "b"), status="5.7.1", told="Spam"),
    Case("dot-one-of", FAILED, one_by_one("bob", "550 5.1.1 No bob here"), to=("ann", "bob", "cleo"), failed=["bob"],
         status="5.1.1", told="No bob here"),
    Case("dot-lost", LATER, {"message": first(LOSE)}),
    Case("dot-lost-chunked", LATER, {"message": first(LOSE), "extensions": ["CHUNKING", "PIPELINING"]}),
    # QUIT
    Case("quit-500", TAKEN, {"quit": "500 5.5.2 What?"}),
    Case("quit-lost", TAKEN, {"quit": LOSE}),
    Case("quit-silence", TAKEN, {"quit": SILENCE}),
    # what no server should say
    Case("garbage", EXPIRED, {"greeting": b"\x00\xff\xfe hello \x1b[31m\r\n"}, status="5.4.7", check=not_repeated),
    Case("garbage-rcpt", EXPIRED, {"rcpt": b"9999999999\r\n"}, status="5.4.7"),
    Case("endless-line", EXPIRED, {"ehlo": b"250 " + b"x" * 100000}, status="5.4.7"),
    Case("endless-reply", EXPIRED, {"mail": b"250-x\r\n" * 5000}, status="5.4.7"),
    Case("half-line", EXPIRED, {"greeting": cut(b"220 half")}, status="5.4.7"),
    Case("early", EXPIRED, {"ehlo": b"250 x\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n"}, status="5.4.7", check=no_content),
    Case("mixed-codes", EXPIRED, {"rcpt": b"250-Ok\r\n550 No\r\n"}, status="5.4.7", check=no_content),
    Case("escape", FAILED, {"rcpt": "550 5.1.1 \x1b[2Jno\x07 --boundary <b>bob</b>"}, status="5.1.1", check=not_repeated),
    Case("silence", None, {"mail": SILENCE}),
]


@pytest.fixture(scope="module")
def world():
    world = World(expire=f"{6 if PATIENCE == 1 else 15}s")
    try:
        for case in CASES:
            case.hosts = [world.host(case.domain, preference=10 + i, **script) for i, script in enumerate(case.scripts)]
        world.start()
        for case in CASES:
            world.send(case.name, *case.to, content=case.content, mail=case.mail, rcpt=case.rcpt)
        yield world
    finally:
        world.stop()


def taken_by(host, case):
    """The recipients whom a host took in answered messages, in order."""
    return sorted(r for m in host.messages if m.answered for r in m.recipients)


def attempts(world, address, result):
    """In which attempts that was the result, by the log."""
    return [int(n) for n in re.findall(rf" attempt .*rcpt={re.escape(address)} attempt=(\d+) result={result} ",
                                       world.tacit.log())]


@pytest.mark.parametrize("case", [c for c in CASES if c.outcome], ids=lambda c: c.name)
def test_reply(world, case):
    hosts, taken = case.hosts, sorted(r for r in case.to if case.outcome in (TAKEN, LATER) or r not in case.failed)
    world.gone(case.name)
    connections = len(hosts[0].said)
    assert sorted(r for h in hosts for r in taken_by(h, case)) == taken
    delivered = [n for address in taken for n in attempts(world, address, "delivered")]
    assert len(delivered) == len(taken) and (max(delivered, default=1) > 1) == (case.outcome == LATER), delivered
    if case.outcome in (TAKEN, LATER):
        assert not world.reports(case.name), world.report(case.name).words
    else:
        report = world.report(case.name)
        assert sorted(report.recipients) == sorted(case.failed)
        assert "The message was taken" not in report.words, report.words  # what is no answer to us was a yes to something
        assert ("This server tried for" in report.words) == (case.outcome == EXPIRED), report.words
        for address in case.failed:
            status = report.status(address)
            # An address that fails for good has a status that says so, whatever the last answer was.
            assert status == ("5" + case.status[1:] if case.outcome == EXPIRED else case.status) or \
                status == case.status, status
            if case.told:
                assert case.told in report.diagnostic(address) and case.told in report.words, report.words
            if case.told and hosts[-1].said:
                assert report.recipients[address]["Remote-MTA"].endswith(hosts[-1].name)
    if case.outcome in (TAKEN, FAILED):
        assert connections == (case.connections or 1), hosts[0].said
    elif case.outcome in (REFUSED, EXPIRED):
        assert connections > 1 or len([x for x in hosts[0].lines() if x.startswith("MAIL")]) > 1, hosts[0].said
    if case.check:
        case.check(world, case, hosts)


def test_what_is_tried_again_is_shown_as_temporary(world):
    """Also where all hosts refuse us, or one of them for good."""
    for case in CASES:
        if case.outcome:
            world.gone(case.name)
    shown = {status for status in re.findall(r" attempt .* result=deferred status=(\S+)", world.tacit.log())}
    assert "4.7.1" in shown and not [s for s in shown if not s.startswith("4.")], shown
    assert re.search(r' result=deferred status=4\.7\.1 .* code=554 reply="554 5\.7\.1 Not from you"', world.tacit.log())


def test_who_says_nothing_holds_up_nobody(world):
    """It is waited for as long as RFC 5321 4.5.3.2 says; all the others were served meanwhile."""
    row = world.row("silence")
    assert row and row["recipients"][0]["state"] == "pending", row
    assert len(world.tacit.roles()) >= 5 and world.tacit.log().count("was ended") == 0
