"""tacit sends to real servers and takes from them: another tacit, found by the DNS; Postfix as a smarthost; Dovecot over
LMTP; Exim and OpenSMTPD in both directions."""
import json
import os
import subprocess
import sys

import pytest

from conftest import PATIENCE, ROOT, TACIT, Tacit, free_port, parsed, wait_until, without_trace
from sending import World
from tools import Dovecot, Postfix

sys.path.append(str(ROOT / "bench"))

OTHER = """
hostname = "mx.far.test"
data     = "data"
grace    = "3s"
listen near {{ address = "127.0.0.1:{mx}" }}
listen mx   {{ address = "127.0.3.2:{port}" }}
domain "far.test" {{ deliver = "maildir:mail/{{{{domain}}}}/{{{{local}}}}" }}
dns {{ server = "{dns}"  validate = false }}
relay {{ networks = {{{relay}}} }}
route "*" {{ port = {port}  connect_timeout = "1s" }}
queue {{ retry = {{"500ms", "1s"}}  expire = "8s"  delay_notice = 0 }}
"""
CONTENT = b"Subject: across\r\nMessage-ID: <one@client.example>\r\n\r\n.a line with a dot\r\n..\r\n" + b"x" * 990 + b"\r\n"


class Far(Tacit):
    """Another server, whose clients are those that `relay` names."""

    def __init__(self, world, relay):
        (world.far_dir).mkdir()
        self.world = world
        super().__init__(world.far_dir, text="#")
        self.configure(relay)

    def configure(self, relay):
        text = OTHER.format(mx=self.mx, port=self.world.port, dns=self.world.dns.address, relay=relay)
        self.write_config(text=text.replace("{{", "{").replace("}}", "}"))

    def mail(self, local, domain="far.test"):
        return super().mail(local, domain)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    port, dovecot_port = free_port(), None
    directory = tmp_path_factory.mktemp("exchange")
    for parent in [directory, *directory.parents]:
        if parent.stat().st_mode & 0o055 != 0o055:
            parent.chmod(parent.stat().st_mode | 0o055)
    running = []
    world = World(expire="20s", extra_listen=f'listen far {{ address = "127.0.3.1:{port}" }}',
                  zone="far.test. MX 10 mx.far.test.\nmx.far.test. A 127.0.3.2\n"
                       "example.test. MX 10 mx.example.test.\nmx.example.test. A 127.0.3.1")
    world.port = world.hosts.port = port
    world.far_dir = directory / "far"
    try:
        world.dovecot = Dovecot(directory, ["bob", "carla"]).start()
        running.append(world.dovecot)
        world.behind = world.host("behind.example")  # what the smarthost reaches
        world.postfix = Postfix(directory, f"[{world.behind.address}]:{port}").start()
        running.append(world.postfix)
        world.queue["more"] = f"""
domain "dove.test" {{ deliver = "lmtp:127.0.0.1:{world.dovecot.port}" }}
route "dovecot.example" {{ via = "lmtp://127.0.0.1:{world.dovecot.port}" }}
route "behind.example" {{ via = "smtp://127.0.0.1:{world.postfix.port}" }}
"""
        world.start()
        world.far = Far(world, "").start()
        running.append(world.far)
        world.far.user("add", "bob@far.test")
        world.far.user("add", "old@far.test")
        world.far.user("move", "old@far.test", "new@elsewhere.example", "--reply", "551")
        yield world
        world.far.stop()
        world.far.check_log()
    finally:
        for server in running:
            server.stop()
        world.stop()


def arrived(server, local, needle, timeout=60, **where):
    def found():
        return [m for m in server.mail(local, **where) if needle in m]
    [message] = wait_until(found, timeout * PATIENCE)
    return message


# ---- two of us ---------------------------------------------------------------------------------------------------------

def test_there_and_back(world):
    world.send("there", "bob@far.test", content=CONTENT)
    message = arrived(world.far, "bob", b"one@client.example")
    assert without_trace(message) == CONTENT
    received = parsed(message).get_all("Received")
    assert len(received) == 2 and "mx.far.test" in received[0] and "mx.example.test" in received[0]
    world.gone("there")
    world.far.run("sendmail", "-f", "bob@far.test", "alice@example.test", input="Subject: back\n\nthank you\n")
    assert b"thank you" in arrived(world.tacit, "alice", b"Subject: back")
    assert not world.reports("there")


def test_a_stranger_is_not_told_that_an_address_is_wrong(world):
    """doc/disclosure.md: the other server takes it and holds it; nobody is told."""
    world.send("wrong", "nobody@far.test")
    world.gone("wrong")
    wait_until(lambda: [r for r in world.far.queue() if r["state"] == "unclaimed"], 60 * PATIENCE)
    assert not world.reports("wrong") and len(world.far.mail("bob")) == 1


def test_who_may_know_is_told_at_once(world):
    world.far.configure('"127.0.0.1"')
    world.far.reload()
    wait_until(lambda: "reloaded:" in world.far.log(), 60 * PATIENCE)

    def told():  # the old front may answer for a moment still
        with world.far.connect() as c:
            c.helo()
            c.cmd("MAIL FROM:<a@b.example>")
            return c.cmd("RCPT TO:<nobody@far.test>").startswith("550 5.1.1")
    wait_until(told, 60 * PATIENCE, 0.2)
    world.send("told", "nobody@far.test")
    report = world.report("told")
    assert report.status("nobody@far.test") == "5.1.1" and "mx.far.test" in report.words
    world.send("moved", "old@far.test")
    report = world.report("moved")
    assert report.status("old@far.test") == "5.1.6" and "new@elsewhere.example" in report.words


# ---- LMTP --------------------------------------------------------------------------------------------------------------

def test_dovecot_has_the_mailboxes_of_a_domain_of_ours(world):
    """Who exists our directory says; where it was wrong Dovecot's answer is reported."""
    for local in ("bob", "ghost"):
        world.tacit.user("add", f"{local}@dove.test")
    world.send("dove", "bob@dove.test", "ghost@dove.test", content=CONTENT)
    wait_until(lambda: world.dovecot.mail("bob"), 60 * PATIENCE)
    [message] = world.dovecot.mail("bob")
    assert b"\n.a line with a dot" in message and b"Return-Path: <alice+dove@example.test>" in message
    report = world.report("dove")
    assert list(report.recipients) == ["ghost@dove.test"] and report.status("ghost@dove.test").startswith("5.1.1")


def test_dovecot_behind_a_route(world):
    world.send("route", "carla@dovecot.example")
    wait_until(lambda: world.dovecot.mail("carla"), 60 * PATIENCE)
    world.gone("route")


# ---- Postfix, Exim, OpenSMTPD ------------------------------------------------------------------------------------------

def test_postfix_as_smarthost(world):
    world.send("smarthost", "bob@behind.example", content=CONTENT)
    wait_until(lambda: world.behind.messages, 60 * PATIENCE)
    [message] = world.behind.messages
    assert message.sender == world.sender("smarthost") and message.recipients == ["bob@behind.example"]
    header, _, body = CONTENT.partition(b"\r\n\r\n")  # Postfix adds what the header lacks
    assert header in message.content and message.content.endswith(b"\r\n\r\n" + body)
    world.gone("smarthost")


@pytest.mark.parametrize("name", ["Exim", "OpenSmtpd"])
def test_others_in_both_directions(make_tacit, name, tmp_path):
    """Two connections at once: more than OpenSMTPD's accept queue holds may never be greeted (bench/peers.py)."""
    import peers
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_mode & 0o055 != 0o055:
            parent.chmod(parent.stat().st_mode | 0o055)
    peer = getattr(peers, name)(tmp_path, "maildir")
    t = make_tacit(extra=f"""
relay {{ networks = {{"127.0.0.1"}} }}
route "peer.test" {{ via = "smtp://127.0.0.1:{peer.port}"  connections = 2 }}
queue {{ retry = {{"500ms"}} }}
""")
    peer.domain, peer.smarthost = "peer.test", t.mx
    try:
        peer.start()
        r = subprocess.run([TACIT, "probe", "127.0.0.1", "--port", str(peer.port), "--json"], capture_output=True, text=True)
        seen = json.loads(r.stdout)
        assert (seen["verdict"], r.returncode) == ("takes-mail", 0) and "SIZE" in seen["extensions"], r.stdout
        t.start()
        t.user("add", "alice@example.test")
        with t.connect() as c:
            c.helo()
            for i in range(3):
                assert c.message("alice@example.test", ["u1@peer.test", "u2@peer.test"]).startswith("250")
        wait_until(lambda: peer.delivered() == 6, 60 * PATIENCE, 0.2)
        assert not t.queue() and not t.mail("alice")
        with t.connect(peer.port) as c:
            c.helo()
            assert c.message("u1@peer.test", "alice@example.test").startswith("250")
        [back] = t.wait_mail("alice", 1, 60 * PATIENCE)
        assert b"Return-Path: <u1@peer.test>" in back
        with t.connect() as c:  # whoever does not exist there
            c.helo()
            assert c.message("alice@example.test", "nobody@peer.test").startswith("250")
        report = t.wait_mail("alice", 2, 60 * PATIENCE)[-1]
        assert b"nobody@peer.test" in report
    except Exception:
        print(peer.told()[-4000:])
        raise
    finally:
        peer.stop()
