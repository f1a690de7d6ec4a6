"""What the commands tell of messages that went to other servers: a person reads there what became of each, who said so,
what it means and what happens next."""
import json

import pytest

from conftest import PATIENCE, wait_until
from sending import World

MOVED = "551 5.1.6 User not local; please try <robert@new.example>"
FULL = "452 4.2.2 The mailbox is full"


@pytest.fixture(scope="module")
def world(request):
    world = World(expire="10m", retry='"500ms", "2s"')
    try:
        world.host("moved.example", name="mx.moved.example", rcpt=MOVED)
        world.host("vague.example", name="mx.vague.example", rcpt="252 2.1.5 Cannot verify, but will try")
        world.host("wrong.example", name="mx.wrong.example", rcpt="550 5.1.1 No such user here")
        world.host("full.example", name="mx.full.example", rcpt=FULL)
        world.zone.append("null.example. MX 0 .")
        world.start()
        world.tacit.user("add", "outside@example.test", "--alias-of", "bob@null.example")
        world.ids = {}
        for case in ("moved", "vague", "wrong", "full"):
            world.ids[case] = world.send(case, f"bob@{case}.example").split()[-1]
        world.ids["null"] = world.send("null", "outside@example.test").split()[-1]
        for case in ("moved", "vague", "wrong", "null"):
            world.gone(case)
        wait_until(lambda: world.row("full") and FULL[:3] in json.dumps(world.row("full")), 15 * PATIENCE)
        yield world
    finally:
        world.stop()


def trace(world, what):
    return world.tacit.run("trace", what).stdout


def contact(world, address):
    """They are remembered within a second or so."""
    def known():
        shown = world.tacit.run("contacts", "show", address, check=False)
        return shown.returncode == 0 and shown.stdout
    return wait_until(known, 60 * PATIENCE, 0.2)


def test_a_moved_user(world):
    told = trace(world, world.ids["moved"])
    assert "mx.moved.example" in told and "robert@new.example" in told and "5.1.6" in told, told
    report = world.report("moved")
    assert "robert@new.example" in report.words
    known = contact(world, "bob@moved.example")
    assert "robert@new.example" in known and "mx.moved.example" in known, known


def test_a_user_whom_the_server_does_not_confirm(world):
    told = trace(world, world.ids["vague"])
    assert "mx.vague.example" in told and "delivered" in told, told
    assert not world.reports("vague")
    known = contact(world, "bob@vague.example")
    assert "deliver" in known, known


def test_a_wrong_address(world):
    told = trace(world, world.ids["wrong"])
    assert "No such user here" in told and "mx.wrong.example" in told and "failed" in told, told
    assert "No such user here" in world.report("wrong").words
    assert "bob@wrong.example" in trace(world, "bob@wrong.example")
    known = contact(world, "bob@wrong.example")
    assert "No such user here" in known or "no such" in known.lower(), known


def test_a_domain_without_mail(world):
    """Whoever forwards there learns it at once; whoever writes there himself, before the message is sent."""
    told = trace(world, world.ids["null"])
    assert "5.1.10" in told, told
    assert world.report("null").status("outside@example.test").startswith("5.")
    with world.tacit.connect() as c:
        c.helo()
        c.cmd("MAIL FROM:<alice@example.test>")
        assert c.cmd("RCPT TO:<bob@null.example>").startswith("556 5.1.10")
    sent = world.tacit.run("sendmail", "-f", "alice@example.test", "bob@null.example", input="Subject: x\n\nx\n",
                           check=False)
    assert sent.returncode != 0 and "5.1.10" in sent.stderr + sent.stdout


def test_what_waits(world):
    shown = world.tacit.run("queue", "show", world.ids["full"]).stdout
    assert "mx.full.example" in shown and "The mailbox is full" in shown and "4.2.2" in shown, shown
    listed = world.tacit.run("queue", "list").stdout
    assert world.ids["full"] in listed, listed
    told = trace(world, world.ids["full"])
    assert "The mailbox is full" in told and "mx.full.example" in told, told
    world.hosts.hosts[3].script["rcpt"] = "250 2.1.5 There is room again"
    world.tacit.run("queue", "retry", world.ids["full"])
    world.gone("full")
    assert len(world.hosts.hosts[3].messages) == 1


def test_the_contacts_as_a_whole(world):
    listed = world.tacit.run("contacts", "list").stdout
    for case in ("moved", "vague", "wrong"):
        assert f"bob@{case}.example" in listed, listed
    exported = world.tacit.run("contacts", "export", "--csv").stdout.splitlines()
    assert len(exported) >= 4 and "address" in exported[0].lower(), exported
