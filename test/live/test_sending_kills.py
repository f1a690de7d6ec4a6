"""Any process is killed at any moment while mail goes to other servers: of what was answered 250 nothing is lost. Nothing
comes twice either, but where the answer to the content was lost: when the carrier was killed, or the other server broke
off, before the answer was read; or when carrier and back were both killed before it was written down."""
import collections
import os
import random
import re
import signal
import threading
import time

import pytest

from conftest import PATIENCE, Raw, wait_until
from scripted import LOSE
from sending import World

HOSTS, SENDERS = 4, 3


class Load:
    """Senders at work until stop(); each message has a tag, and recipients in several domains."""

    def __init__(self, world, seed):
        self.world, self.lock, self.stopping = world, threading.Lock(), False
        self.sent = {}  # tag: (recipients, whether it was answered 250; None: nobody knows)
        self.threads = [threading.Thread(target=self.run, args=(random.Random(seed + i),), daemon=True)
                        for i in range(SENDERS)]
        for thread in self.threads:
            thread.start()

    def run(self, rng):
        while not self.stopping:
            try:
                with Raw(self.world.tacit.mx, timeout=20) as c:
                    c.helo()
                    for _ in range(rng.randint(1, 10)):
                        self.message(c, rng)
                        time.sleep(rng.random() * 0.03)
            except (OSError, EOFError, AssertionError):
                time.sleep(0.02)

    def message(self, c, rng):
        with self.lock:
            tag = f"t{len(self.sent)}"
            domains = rng.sample([f"site{i}.example" for i in range(HOSTS)] + ["example.test"], rng.randint(1, 3))
            recipients = [f"alice@{d}" for d in domains]
            self.sent[tag] = (recipients, None)
        content = f"X-Tag: {tag}\r\n\r\n".encode() + b"some line of text\r\n" * rng.choice([1, 100, 8000])
        reply = c.message("s@nowhere.example", recipients, content)
        self.sent[tag] = (recipients, reply.startswith("250"))

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


def copies(world, killed):
    """{(tag, recipient): [whether the answer was surely read]}."""
    found = collections.defaultdict(list)
    for host in world.hosts.hosts:
        for m in list(host.messages):
            tag = re.search(rb"^X-Tag: (\w+)", m.content, re.M)[1].decode()
            if m.answered:
                for r in m.recipients:
                    found[tag, r].append(not m.answer_may_be_lost() and not m.may_be_forgotten(killed))
    for m in world.tacit.mail("alice"):
        found[re.search(rb"^X-Tag: (\w+)", m, re.M)[1].decode(), "alice@example.test"].append(True)
    return found


def account(world, sent, killed, lost_answers):
    found = copies(world, killed)
    wrong = []
    for tag, (recipients, taken) in sent.items():
        got = [bool(found.get((tag, r))) for r in recipients]
        if taken and not all(got) or taken is False and any(got) or taken is None and any(got) and not all(got):
            wrong.append(f"{tag}, answered {taken}, is there for {got} of {recipients}")
    for (tag, recipient), surely in found.items():
        if len(surely) > 1 and (not lost_answers or sum(surely) > 1):
            wrong.append(f"{tag} came to {recipient} {len(surely)} times, {sum(surely)} of them surely")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:20])


@pytest.fixture
def world(request):
    """Servers that have their moods, but for one that is always well."""
    rng = random.Random(7)

    def moody(usual, *moods):
        return lambda _: rng.choice(moods) if rng.random() < 0.15 else usual

    world = World(retry='"300ms", "500ms", "1s"', expire="10m")
    try:
        world.host("site0.example", extensions=["PIPELINING"])
        lost = LOSE if request.param == "answers are lost too" else "421 4.3.2 Later"
        world.host("site1.example", message=moody("250 2.0.0 Ok", "451 4.3.0 Later", lost))
        world.host("site2.example", rcpt=moody("250 2.1.5 Ok", "450 4.2.1 Later"), extensions=["CHUNKING", "PIPELINING"])
        world.host("site3.example", mail=moody("250 2.1.0 Ok", "421 4.3.2 Later"))
        world.start()
        yield world
    finally:
        world.stop(getattr(request.node, "failed_call", False))


def kill(world, roles, killed, rng):
    role = rng.choice(roles)
    victims = [pid for name, pid in sorted(world.tacit.roles()) if name == role]
    if victims:
        try:
            os.kill(rng.choice(victims), signal.SIGKILL)
            killed.append((role, time.time()))
        except ProcessLookupError:
            pass


def settle(world, load):
    load.stop()

    def quiet():
        try:
            return not world.tacit.queue()
        except AssertionError:
            return False
    try:
        wait_until(quiet, 60 * PATIENCE, 0.3)
    except AssertionError:
        raise AssertionError(f"still in the queue: {world.tacit.queue()[:5]}")


# Of front, keeper, back and resolver the carrier knows nothing, so the answers are not lost: nothing may come twice.
@pytest.mark.parametrize("world,victims,everything", [
    ("answers are read", ("front", "keeper", "back", "back", "back", "resolver"), False),
    ("answers are lost too", ("carrier",), False),
    ("answers are lost too", ("front", "keeper", "back", "resolver", "carrier"), True)], indirect=["world"],
    ids=["all-but-the-carrier", "carrier", "any"])
def test_killed_while_sending(world, victims, everything):
    rng, killed = random.Random(11), []
    load = Load(world, 5)
    try:
        for n in range(6):
            time.sleep(rng.choice([0.05, 0.1, 0.3, 0.5]))
            kill(world, victims, killed, rng)
            if everything and n == 3:
                roles = world.tacit.roles()
                killed += [(role, time.time()) for role, _ in roles]
                world.tacit.kill_all()
                wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for _, pid in roles), 30)
                world.tacit.start()
        time.sleep(0.3)
    finally:
        load.stop()
    settle(world, load)
    assert sum(taken is True for _, taken in load.sent.values()) > 20
    account(world, load.sent, killed, "carrier" in victims)


def test_master_ends_in_the_middle():
    """Carrier and back end by themselves then; what a server answers meanwhile is written down all the same."""
    w = World(retry='"200ms"', expire="1h")

    def slowly(_):
        time.sleep(0.3)
        return "250 2.0.0 Taken"
    peer = w.host("peer.example", message=slowly)
    w.start()
    try:
        w.send("once", "bob@peer.example")
        wait_until(lambda: peer.messages, 30 * PATIENCE, 0.01)
        roles = w.tacit.roles()
        w.tacit.process.kill()
        w.tacit.process.wait()
        w.tacit.process = None
        w.tacit.log_file.close()
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for _, pid in roles), 30 * PATIENCE)
        assert peer.messages[0].answered and not peer.messages[0].answer_may_be_lost()
        w.tacit.start(timeout=60)
        w.gone("once")
        assert len(peer.messages) == 1
    finally:
        w.stop()
