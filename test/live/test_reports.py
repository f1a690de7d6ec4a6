"""Reports of each kind, as programs of others read them: Mailman's bounce parser (flufl.bounce), which takes dead
addresses off lists, and Sisimai, which says why mail came back. Then reports of mail that really went to other servers:
what they tell, and what they do not.
"""
import json
import os
import subprocess
import sys

import pytest

from conftest import PATIENCE, wait_until
from sending import World
from tools import unpacked

SAMPLES = os.environ["TACIT_REPORTS"]
MAILMAN = ["python3-flufl.bounce", "python3-public", "python3-zope.interface", "python3-pkg-resources"]
SISIMAI = ["libsisimai-perl", "libclass-accessor-lite-perl", "libjson-perl"]

READ_BY_MAILMAN = """
import email, json, sys
from flufl.bounce import all_failures
for path in sys.argv[1:]:
    with open(path, 'rb') as file:
        print(json.dumps([sorted(x.decode() for x in found) for found in all_failures(email.message_from_binary_file(file))]))
"""
READ_BY_SISIMAI = "use Sisimai; print Sisimai->dump($_, delivered => 1), qq{\\n} for @ARGV"

# What Sisimai makes of the kinds it has words for: recipient, action, status, reply code, reason.
SAID = {
    "failed-no-mailbox": [("ghost@example.net", "failed", "5.1.1", "550", "userunknown")],
    "failed-null-mx": [("info@nomail.example", "failed", "5.1.10", "", "notaccept")],
    "failed-no-domain": [("info@exampel.invalid", "failed", "5.1.2", "", "hostunknown")],
    "failed-moved": [("bob@example.net", "failed", "5.1.6", "551", "hasmoved")],
    "failed-full": [("carol@example.net", "failed", "4.2.2", "452", "mailboxfull")],  # it takes the words before Status
    "failed-several": [("ghost@example.net", "failed", "5.1.1", "550", "userunknown"),
                       ("info@nomail.example", "failed", "5.1.10", "", "notaccept"),
                       ("carol@example.org", "failed", "5.3.4", "552", "mesgtoobig")],
    "delayed": [("dave@example.net", "delayed", "4.4.1", "", "expired")],
    "relayed": [("heidi@example.net", "relayed", "2.0.0", "250", "delivered")],
}
# Whom Mailman takes for gone; all else than these and the delayed ones it must leave alone.
GONE = {"failed-no-mailbox": ["Ghost@example.net"], "failed-no-mailbox-here": ["ghost@example.test"],
        "failed-null-mx": ["info@nomail.example"], "failed-moved": ["bob@example.net"],
        "failed-full": ["carol@example.net"], "failed-expired": ["dave@example.net"],
        "failed-expired-refused": ["dave@example.net"], "failed-hostile": ["mallory@example.net"],
        "failed-several": ["carol@example.org", "ghost@example.net", "info@nomail.example"]}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """name -> file with the report"""
    where = tmp_path_factory.mktemp("reports")
    files = {}
    for name in subprocess.run([SAMPLES], capture_output=True, text=True, check=True).stdout.split():
        files[name] = where / f"{name}.eml"
        files[name].write_bytes(subprocess.run([SAMPLES, name], capture_output=True, check=True).stdout)
    return files


def read(command, environment, files):
    r = subprocess.run([*command, *files.values()], capture_output=True, text=True, timeout=60,
                       env=dict(os.environ, **environment))
    assert r.returncode == 0, r.stderr
    return dict(zip(files, map(json.loads, r.stdout.splitlines()), strict=True))


def test_mailman(reports):
    places = [str(unpacked(package) / "usr/lib/python3/dist-packages") for package in MAILMAN]
    found = read([sys.executable, "-c", READ_BY_MAILMAN], {"PYTHONPATH": ":".join(places)}, reports)
    for name, (for_now, for_good) in found.items():
        if name.startswith("delayed"):
            assert len(for_now) == 1 and for_good == [], name
        elif name.startswith("failed"):
            assert for_now == [] and for_good == GONE.get(name, for_good) and for_good, name
        elif name in ("delivered", "relayed", "relayed-moved", "expanded"):
            assert for_now == for_good == [], name


def test_sisimai(reports):
    places = [str(unpacked(package) / "usr/share/perl5") for package in SISIMAI]
    found = read(["perl", "-e", READ_BY_SISIMAI], {"PERL5LIB": ":".join(places)}, reports)
    for name, expected in SAID.items():
        rows = [(r["recipient"], r["action"], r["deliverystatus"], r["replycode"], r["reason"]) for r in found[name]]
        assert rows == expected, name
    one = found["failed-policy"][0]
    assert one["diagnosticcode"] == ("554-5.7.1 Your message was rejected as spam. "
                                     "See https://postmaster.example.net/why?id=4711"), one["diagnosticcode"]
    assert (one["rhost"], one["addresser"], one["messageid"]) == ("mx.example.net", "alice@elsewhere.example",
                                                                 "1@elsewhere.example")


# ---- mail that went out ----

REFUSE = {"ghost": "550 5.1.1 {host} knows no such user\n550 look for a slip", "full": "452 4.2.2 over quota",
          "moved": "551 5.1.6 gone to <moved@new-home.example>", "later": "451 4.7.1 Greylisted, come back later"}


def said_to(path):
    return REFUSE.get(path.partition("@")[0], "250 2.1.5 Ok")


@pytest.fixture(scope="module")
def world(request):
    w = World(zone="nomail.example. MX 0 .\n")
    try:
        w.host("plain.example", name="mx.plain.example", rcpt=said_to)
        w.able = w.host("able.example", name="mx.able.example", extensions=["DSN"], rcpt=said_to)
        w.start()
        user = w.tacit.user
        user("add", "owner@example.test")
        user("add", "sales@example.test", "--alias-of", "ghost@plain.example")
        user("add", "news@example.test", "--alias-of", "dora@plain.example")
        user("add", "staff@example.test", "--list", "--member", "ghost@plain.example", "--member", "owner@example.test",
             "--owner", "owner@example.test")
        yield w
    finally:
        w.stop(request.session.testsfailed > 0)


def test_several_failures_are_one_report(world):
    world.send("several", "ghost@plain.example", "moved@plain.example", "dora@plain.example", "info@missing.example")
    report = world.report("several")
    assert sorted(report.recipients) == ["ghost@plain.example", "info@missing.example", "moved@plain.example"]
    assert report.diagnostic("ghost@plain.example") == \
        "smtp; 550-5.1.1 mx.plain.example knows no such user 550 look for a slip"
    assert report.recipients["ghost@plain.example"]["Remote-MTA"] == "dns; mx.plain.example"
    words = report.words
    assert "There is no mailbox of this name." in words and "does not exist\n    or cannot take mail" in words
    assert "The server mx.plain.example (127.0.1." in words and "      | 550 look for a slip\n" in words
    assert "The new address, as that server gives it: moved@new-home.example" in words
    assert "Tried once, on" in words and "dora" not in report.message.as_string()
    assert report.message["Auto-Submitted"] == "auto-replied"


def test_time_runs_out(world):
    world.send("expired", "full@plain.example", "later@plain.example")
    report = world.report("expired", 30)
    assert (report.status("full@plain.example"), report.status("later@plain.example")) == ("5.2.2", "5.7.1")
    assert report.diagnostic("later@plain.example") == "smtp; 451 4.7.1 Greylisted, come back later"
    assert "in vain, and has given up" in report.words.replace("\n    ", " ")
    assert "The mailbox is full." in report.words.replace("\n    ", " ")
    assert "The server lets everybody wait" in report.words.replace("\n    ", " ")


def test_an_alias_hides_where_it_leads(world):
    world.send("alias", "sales@example.test")
    report = world.report("alias")
    assert list(report.recipients) == ["sales@example.test"]
    assert report.status("sales@example.test") == "5.1.1"
    whole = report.message.as_string()
    assert "leads on to others" in report.words and "plain.example" not in whole and "ghost" not in whole
    assert "127.0.1." not in whole and "slip" not in whole


def test_a_list_tells_its_owner(world):
    world.send("list", "staff@example.test")
    [report] = wait_until(lambda: [m for m in map(parsed_report, world.tacit.mail("owner")) if m], 20 * PATIENCE)
    assert "A message to your mailing list staff@example.test did not arrive" in report
    assert "ghost@plain.example" in report and "take the address off your list" in report
    assert not world.reports("list")


def parsed_report(delivered):
    text = delivered.decode() if isinstance(delivered, bytes) else delivered
    return text if "report-type=delivery-status" in text else None


def test_success_is_told_by_who_can_tell_it(world):
    world.send("success", "dora@plain.example", "dora@able.example", rcpt=" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;d@x.example",
               mail=" ENVID=QQ-42")
    report = world.report("success")
    assert list(report.recipients) == ["dora@plain.example"]
    row = report.recipients["dora@plain.example"]
    assert (row["Action"], row["Original-Recipient"]) == ("relayed", "rfc822; d@x.example")
    assert "gives no receipts" in report.words.replace("\n    ", " ")
    world.gone("success")
    assert len(world.reports("success")) == 1
    [rcpt] = [line for line in world.able.lines() if line.startswith("RCPT TO:<dora@")]
    [mail] = [line for line in world.able.lines() if "alice+success@" in line]
    assert "NOTIFY=SUCCESS,FAILURE" in rcpt and "ORCPT=rfc822;d@x.example" in rcpt and "ENVID=QQ-42" in mail


def test_never_means_never(world):
    world.send("never", "ghost@plain.example", rcpt=" NOTIFY=NEVER")
    world.gone("never")
    assert not world.reports("never")


def test_trace_and_show_tell_what_was_said(world):
    world.send("told", "later@plain.example", "dora@plain.example")
    row = wait_until(lambda: (r := world.row("told")) and r["state"] == "deferred" and r, 10 * PATIENCE)
    show = world.tacit.run("queue", "show", row["id"]).stdout
    trace = world.tacit.run("trace", row["id"]).stdout
    for told in (show, trace):
        assert "mx.plain.example [127.0.1." in told and "451 4.7.1 Greylisted, come back later" in told
        assert "that means: The server puts off every first message" in told
    assert "@plain.example gave no answer" not in show
    assert "what next" in show and ("it is tried again at" in show or "attempted now" in show)
    assert f"{row['id']}  still in the queue, " in trace
    world.tacit.run("queue", "remove", row["id"])


def test_strangers_hear_nothing_of_where_mail_goes(world):
    sender = world.sender("stranger")
    with world.tacit.connect(source="127.0.0.9") as c:
        c.helo()
        c.cmd(f"MAIL FROM:<{sender}>")
        for to in ("sales", "news"):  # one fails at the other server, one is taken there
            assert c.cmd(f"RCPT TO:<{to}@example.test> NOTIFY=SUCCESS,FAILURE,DELAY").startswith("250")
        c.cmd("DATA")
        c.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert c.reply().startswith("250")
    row = wait_until(lambda: (r := world.row("stranger")) and r["state"] == "unclaimed" and r, 20 * PATIENCE)
    assert not world.reports("stranger")
    world.tacit.run("queue", "remove", row["id"])


def test_a_delay_is_told_once(request):
    w = World(expire="30s", delay='"1s"')
    try:
        w.host("plain.example", name="mx.plain.example", rcpt=said_to)
        w.start()
        w.send("late", "later@plain.example")
        report = w.report("late")
        row = report.recipients["later@plain.example"]
        assert (row["Action"], row["Status"], report.message["Subject"]) == ("delayed", "4.7.1", "Delayed: a test")
        assert row["Will-Retry-Until"] and report.diagnostic("later@plain.example").startswith("smtp; 451 4.7.1 Greyl")
        assert "You need not do" in report.words and "You are told if it has not arrived by then." in report.words
        attempts = w.row("late")["attempts"]
        wait_until(lambda: w.row("late")["attempts"] >= attempts + 2, 20 * PATIENCE)
        assert len(w.reports("late")) == 1
    finally:
        w.stop(request.session.testsfailed > 0)


def test_the_language_of_the_domain():
    w = World(domain_settings='language = "de"')
    try:
        w.host("far.example", rcpt="550 5.1.1 No such user")
        w.start()
        w.send("german", "ghost@far.example")
        report = w.report("german")
        assert report.message["Subject"].startswith("Nicht zugestellt") and "kein Postfach mit diesem Namen" in report.words
        assert report.status("ghost@far.example") == "5.1.1"  # programs read what they always read
    finally:
        w.stop()
