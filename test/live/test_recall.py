"""What is on its way to another server and is held, removed or rerouted meanwhile: what waits in line is called back; what
is being sent goes on to its end, and who asked hears how it ended."""
import threading

import pytest

from conftest import PATIENCE, wait_until
from sending import World


class Gate:
    """A host answers a message when it is opened."""

    def __init__(self):
        self.event = threading.Event()

    def answer(self, _):
        self.event.wait(120)
        return "250 2.0.0 Taken"


@pytest.fixture(scope="module")
def world():
    w = World(expire="1h", retry='"10m"')
    w.gates = {name: Gate() for name in ("line", "soon", "never")}
    w.slow = {name: w.host(f"{name}.example", name=f"mx.{name}.example", message=gate.answer)
              for name, gate in w.gates.items()}
    w.other = w.host(name="relay.example")
    w.queue["more"] = f'route "line.example" {{ port = {w.port}  connections = 1 }}'
    w.start()
    failed = True
    try:
        yield w
        failed = False
    finally:
        for gate in w.gates.values():
            gate.event.set()
        w.stop(failed)


def being_sent(world, name, *cases):
    """Sends a message for each case, and waits until the host has one; gives its case."""
    for case in cases:
        world.send(case, f"bob@{name}.example")
    wait_until(lambda: world.slow[name].messages, 20 * PATIENCE)
    wait_until(lambda: len([r for r in world.tacit.queue() if r["state"] == "active"]) >= len(cases), 20 * PATIENCE)
    return next(c for c in cases if world.slow[name].messages[0].sender == world.sender(c))


def change(world, command, case, *options):
    return world.tacit.run("queue", command, world.row(case)["id"], *options, check=False)


def test_what_waits_in_line_comes_back(world):
    cases = [f"line{i}" for i in range(5)]
    first = being_sent(world, "line", *cases)
    goes, removed, held, rerouted = [c for c in cases if c != first]
    r = change(world, "remove", removed)
    assert (r.returncode, r.stdout) == (0, "1 message removed\n"), r
    r = change(world, "hold", held)
    assert (r.returncode, r.stdout) == (0, "1 message held\n"), r
    r = change(world, "reroute", rerouted, "--via", f"smtp:{world.other.address}:{world.port}")
    assert (r.returncode, r.stdout) == (0, "1 message rerouted\n"), r
    world.gone(removed)
    world.gone(rerouted)
    assert [m.sender for m in world.other.messages] == [world.sender(rerouted)]
    assert len(world.slow["line"].messages) == 1
    world.gates["line"].event.set()
    world.gone(first)
    world.gone(goes)
    assert [m.sender for m in world.slow["line"].messages] == [world.sender(first), world.sender(goes)]
    assert world.row(held)["state"] == "held"
    world.tacit.run("queue", "release", world.row(held)["id"])
    world.gone(held)


def test_what_is_being_sent_ends_first(world):
    being_sent(world, "soon", "soon")
    opens = threading.Timer(1, world.gates["soon"].event.set)
    opens.start()
    r = change(world, "remove", "soon")
    opens.join()
    assert r.returncode == 1 and "it was being sent; it ended as delivered" in r.stderr, r
    assert not world.row("soon") and len(world.slow["soon"].messages) == 1


def test_nobody_waits_for_ever(world):
    being_sent(world, "never", "never")
    row = world.row("never")
    r = change(world, "remove", "never")
    assert r.returncode == 0 and "1 message removed" in r.stdout, r
    assert f"{row['id']}: it is being sent at the moment" in r.stdout, r
    assert not world.row("never")
    world.gates["never"].event.set()
    wait_until(lambda: "it was removed while it was being sent" in world.tacit.run("trace", row["id"]).stdout, 20 * PATIENCE)
    assert not world.row("never") and not world.reports("never") and len(world.slow["never"].messages) == 1
