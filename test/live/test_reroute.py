"""The queue of mail for other servers as an operator meets it: what the last server said, finding messages by it, and
sending them another way."""
import pytest

from conftest import PATIENCE, wait_until
from scripted import LOSE
from sending import World


@pytest.fixture(scope="module")
def world():
    w = World(retry='"10m"', expire="1h")
    w.host("slow.example", name="mx.slow.example", rcpt="451-4.7.0 Come back tomorrow\n451 4.7.0 or later")
    w.host("busy.example", "late.example", name="mx.busy.example", mail="452 4.3.1 No room")
    w.dead = w.host("dead.example", greeting=[LOSE] * 3 + ["220 mx.dead.example ESMTP"])
    w.smarthost = w.host(name="relay.example")
    w.start()
    failed = True
    try:
        yield w
        failed = False
    finally:
        w.stop(failed)


def deferred(world, case, *to):
    world.send(case, *to)
    wait_until(lambda: (world.row(case) or {}).get("state") == "deferred", 20 * PATIENCE)
    return world.row(case)


def test_what_the_server_said_is_shown_and_found(world):
    row = deferred(world, "said", "bob@slow.example")
    [to] = row["recipients"]
    assert to["remote"] == "mx.slow.example" and to["code"] == 451 and to["reply"].startswith("451")
    assert "Come back tomorrow" in to["reply"] and "or later" in to["reply"]
    other = deferred(world, "other", "bob@busy.example")
    queue = world.tacit.queue
    for filters in (["--site", "mx.slow.example"], ["--site", to["remote_address"]], ["--reply", "451"],
                    ["--reply", "4.7.0"], ["--reply", "tomorrow"], ["--domain", "slow.example", "--reply", "451"],
                    ["--sender", world.sender("said"), "--larger", "10", "--state", "deferred"]):
        assert [r["id"] for r in queue(*filters)] == [row["id"]], filters
    assert [r["id"] for r in queue("--reply", "452")] == [other["id"]]
    assert not queue("--site", "mx.slow.example", "--reply", "452")
    shown = world.tacit.run("queue", "show", "--site", "mx.slow.example").stdout
    assert row["id"] in shown and "or later" in shown and other["id"] not in shown
    listing = world.tacit.run("queue", "list", "--domain", "slow.example").stdout
    assert "NEXT" in listing and "mx.slow.example" in listing and "Come back tomorrow" in listing


def test_another_way_and_back_again(world):
    row = deferred(world, "way", "bob@busy.example", "eve@late.example")
    smarthost = f"smtp:{world.smarthost.address}:{world.port}"
    assert "1 message rerouted" in world.tacit.run("queue", "reroute", row["id"], "--via", "smtp:127.0.1.250").stdout
    wait_until(lambda: "127.0.1.250" in str(world.row("way")["recipients"][0].get("remote_address", "")) and
               world.row("way")["state"] == "deferred", 20 * PATIENCE)
    assert world.row("way")["via"] == "smtp:127.0.1.250"
    assert "via smtp:127.0.1.250" in world.tacit.run("queue", "list", row["id"]).stdout
    world.tacit.run("queue", "reroute", row["id"], "--via", "configured")
    wait_until(lambda: (world.row("way")["recipients"][0].get("remote"), world.row("way")["state"]) ==
               ("mx.busy.example", "deferred"), 20 * PATIENCE)
    assert "via" not in world.row("way")
    world.tacit.run("queue", "reroute", "--site", "mx.busy.example", "--via", smarthost)
    world.gone("way")
    took = str([m.recipients for m in world.smarthost.messages if world.sender("way") in m.sender])
    assert "bob@busy.example" in took and "eve@late.example" in took


def test_a_site_that_rests_is_tried_when_somebody_asks(world):
    """Its rest is a minute: it has given up to answer three times in a row."""
    for i in range(3):
        world.send(f"dead{i}", "bob@dead.example")
    wait_until(lambda: [r["state"] for r in world.tacit.queue("--domain", "dead.example")] == ["deferred"] * 3, 20 * PATIENCE)
    world.send("dead3", "bob@dead.example")
    wait_until(lambda: any(r.get("parked") for r in world.tacit.queue("--domain", "dead.example")), 20 * PATIENCE)
    assert " turn " in world.tacit.run("queue", "list", "--domain", "dead.example").stdout
    asked = []

    def retried():
        asked.append(world.tacit.run("queue", "retry", "--domain", "dead.example", check=False))
        return world.dead.messages
    wait_until(retried, 45 * PATIENCE, 1.0)
    for i in range(4):
        world.gone(f"dead{i}")


def test_a_way_that_is_none(world):
    for via in ("smtp:", "ftp:relay.example", "smtp:relay.example:0", "configured "):
        r = world.tacit.run("queue", "reroute", "--all", "--via", via, check=False)
        assert r.returncode == 1 and "via" in r.stderr, via
    assert world.tacit.run("queue", "reroute", "--all", check=False).returncode == 2
    row = deferred(world, "held", "bob@slow.example")
    world.tacit.run("queue", "reroute", row["id"], "--via", "hold:")
    wait_until(lambda: world.row("held")["state"] == "waiting", 20 * PATIENCE)
    world.tacit.run("queue", "remove", row["id"])
    world.gone("held")
