"""Which servers a message is taken to, with a real name server: RFC 5321 5.1, RFC 7505, RFC 3463, and the ways that a
configuration names. One tacit has all cases; each host has an address of the loopback of its own."""
import socket

import pytest

from conftest import PATIENCE, free_port, wait_until
from scripted import Host
from sending import World

HAVE_IPV6 = True
try:
    with socket.socket(socket.AF_INET6) as s:
        s.bind(("::1", 0))
except OSError:
    HAVE_IPV6 = False
DOWN = "127.0.2.9"  # nobody listens there

# What no server takes: (case, domain, status in the report). Null MX has tests of its own: whoever asks is told at RCPT.
AT_ONCE = [
    ("unknown", "no-such-domain.example", "5.1.2"),
    ("dangling", "dangling.example", "5.4.4"),
    ("nothing", "nothing.example", "5.4.4"),
    ("ourselves", "ourselves.example", "5.4.6"),
    ("ourselves-by-address", "ours-by-address.example", "5.4.6"),
    ("worse-than-us", "worse-than-us.example", "5.4.6"),
]
# A look-up that fails now may go well later: tried until it expires.
TRIED = [
    ("servfail", "servfail.example"),
    ("refused", "refused.example"),
    ("silent", "silent.example"),
    ("forged", "forged.example"),
    ("soft-host", "soft-host.example"),
]
ROUTES = """
route "smart.example"      {{ via = "smtp://127.0.1.201:{port}"  user = "tacit"  password = "s3cret" }}
route "login.example"      {{ via = "smtp://127.0.1.202:{port}"  user = "tacit"  password = "s3cret" }}
route "named.example"      {{ via = "smtp://smarthost.example:{port}" }}
route "lmtp.example"       {{ via = "lmtp://127.0.1.203:{port}" }}
route "discard.example"    {{ via = "discard:" }}
route "hold.example"       {{ via = "hold:" }}
route "from alice+particular@example.test" {{ via = "smtp://127.0.1.204:{port}" }}
route "port.example"       {{ port = {other} }}
"""


@pytest.fixture(scope="module")
def world():
    port, other = free_port(), free_port()
    world = World(expire="8s", more=ROUTES.format(port=port, other=other),
                  extra_listen=f'listen also {{ address = "127.0.2.1:{port}" }}')
    world.port = world.hosts.port = port
    try:
        build(world, other)
        world.start()
        yield world
    finally:
        world.stop()


def build(world, other):
    w = world.by_name = {}

    def host(key, *domains, **more):
        w[key] = world.host(*domains, name=f"{key}.hosts.example", **more)
        return w[key]

    host("first", "preference.example", preference=5)
    host("second", "preference.example", preference=20)
    world.zone.append(f"preference.example. MX 50 down.hosts.example.\ndown.hosts.example. A {DOWN}")
    host("backup", "backup.example", preference=50)
    world.zone.append("backup.example. MX 1 down.hosts.example.\nbackup.example. MX 2 gone.hosts.example.")
    for i in range(3):
        host(f"equal{i}", "equal.example", preference=10)
    # Two addresses of one host, of which the first does not answer; IPv4 and IPv6.
    host("several", "several.example")
    world.zone.append(f"several.hosts.example. A {DOWN}\nseveral.hosts.example. A 127.0.2.8")
    if HAVE_IPV6:
        host("six", "six.example", address="::1")
        world.zone.append(f"both.example. MX 1 both.hosts.example.\nboth.hosts.example. AAAA ::1\n"
                          f"both.hosts.example. A {DOWN}")
    host("implicit")
    world.zone.append(f"implicit.example. A {w['implicit'].address}")
    world.zone.append("null.example. MX 0 .")
    host("odd", "odd-null.example", preference=10)
    world.zone.append("odd-null.example. MX 0 .")
    world.zone.append("dangling.example. MX 10 nowhere.hosts.example.\ndangling.example. A 127.0.1.1")
    world.zone.append("nothing.example. TXT \"neither MX nor address\"")
    world.zone.append("ourselves.example. MX 10 mx.example.test.\nmx.example.test. A 127.0.0.1")
    world.zone.append("ours-by-address.example. MX 10 ours.hosts.example.\nours.hosts.example. A 127.0.2.1")
    host("worse", "worse-than-us.example", preference=30)
    world.zone.append("worse-than-us.example. MX 10 mx.example.test.")
    host("better", "better-than-us.example", preference=5)
    world.zone.append("better-than-us.example. MX 10 mx.example.test.")
    host("real")
    world.zone.append("alias.example. MX 10 alias.hosts.example.\nalias.hosts.example. CNAME real.hosts.example.")
    world.zone.append("whole-alias.example. CNAME aliased.example.\naliased.example. MX 10 real.hosts.example.")
    host("many", "many.example", preference=1)
    world.zone += [f"many.example. MX {i + 2} many{i}.hosts.example.\nmany{i}.hosts.example. A 127.0.2.7" for i in range(300)]
    host("idn", "xn--mnchen-3ya.example")
    world.zone.append("soft-host.example. MX 10 host.servfail.example.")
    world.names.update(silent=["silent.example"], failing=["servfail.example"], refused=["refused.example"],
                       forged=["forged.example"])
    world.zone.append("forged.example. MX 10 first.hosts.example.")
    world.zone.append("null-sender.example. MX 0 .")
    host("literal")
    host("mx-of-route", "smart.example", "login.example", "lmtp.example", "discard.example", "hold.example",
         "ordinary.example")
    host("smart", address="127.0.1.201", extensions=["AUTH PLAIN LOGIN"])
    host("login", address="127.0.1.202", extensions=["AUTH LOGIN"], auth="334 VXNlcm5hbWU6",
         **{"auth, more": ["334 UGFzc3dvcmQ6", "235 2.7.0 Ok"]})
    host("lmtp", address="127.0.1.203", lmtp=True,
         message=lambda to: "550 5.2.0 Not me" if to.startswith("bad") else "250 2.1.5 Delivered")
    host("particular", address="127.0.1.204")
    host("smarthost")
    world.zone.append(f"smarthost.example. A {w['smarthost'].address}")
    w["port"] = Host("127.0.1.205", other, name="port.hosts.example")
    world.hosts.hosts.append(w["port"])
    world.zone.append("port.example. A 127.0.1.205")


def taken(world, key, count=1, timeout=60):
    host = world.by_name[key]
    wait_until(lambda: len(host.messages) >= count, timeout * PATIENCE)
    assert len(host.messages) == count
    return host.messages


def goes_to(world, case, address, key):
    world.send(case, address)
    [message] = [m for m in taken(world, key) if m.sender == world.sender(case)]
    assert message.recipients == [address]
    world.gone(case)
    assert not world.reports(case)


# ---- by the DNS --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def failures(world):
    """All at once, for some take seconds."""
    for case, domain in [c[:2] for c in AT_ONCE] + TRIED:
        world.send(case, f"bob@{domain}")


@pytest.mark.parametrize("case,domain,status", AT_ONCE)
def test_what_can_never_go_fails_at_once(world, failures, case, domain, status):
    report = world.report(case, 60 * PATIENCE)
    assert report.status(f"bob@{domain}") == status, report.words
    world.gone(case)
    worse = world.by_name["worse"]
    assert not worse.said  # it would send it back to us, and we to it


def test_mx_by_preference(world):
    goes_to(world, "preference", "bob@preference.example", "first")
    assert not world.by_name["second"].said


def test_the_next_host_where_the_first_cannot_be_reached(world):
    goes_to(world, "backup", "bob@backup.example", "backup")


def test_equal_hosts_share_the_work(world):
    hosts = [world.by_name[f"equal{i}"] for i in range(3)]
    for i in range(12):
        world.send(f"equal{i}", f"bob{i}@equal.example")
    wait_until(lambda: sum(len(h.messages) for h in hosts) == 12, 60 * PATIENCE)


def test_every_address_of_a_host(world):
    goes_to(world, "several", "bob@several.example", "several")


@pytest.mark.skipif(not HAVE_IPV6, reason="no IPv6 on the loopback")
def test_ipv6(world):
    goes_to(world, "six", "bob@six.example", "six")
    world.send("both", "bob@both.example")  # IPv4 of that host is dead
    taken(world, "six", 2)


def test_implicit_mx(world):
    goes_to(world, "implicit", "bob@implicit.example", "implicit")


def test_a_root_beside_other_hosts_is_passed_over(world):
    goes_to(world, "odd", "bob@odd-null.example", "odd")


def test_better_than_us(world):
    goes_to(world, "better", "bob@better-than-us.example", "better")


def test_aliases(world):
    """RFC 2181 10.3 forbids the first; the second is the domain itself, by another name."""
    goes_to(world, "alias", "bob@alias.example", "real")
    world.send("whole-alias", "bob@whole-alias.example")
    taken(world, "real", 2)


def test_hundreds_of_hosts(world):
    goes_to(world, "many", "bob@many.example", "many")


def test_a_domain_outside_ascii(world):
    world.send("idn", "bob@münchen.example", mail=" SMTPUTF8")
    [message] = taken(world, "idn")
    assert message.recipients == ["bob@xn--mnchen-3ya.example"]


def test_address_literals(world):
    address = world.by_name["literal"].address
    goes_to(world, "literal", f"bob@[{address}]", "literal")
    if HAVE_IPV6:
        before = len(world.by_name["six"].messages)
        world.send("literal6", "bob@[IPv6:::1]")
        taken(world, "six", before + 1)


@pytest.mark.parametrize("case,domain", TRIED)
def test_a_look_up_that_fails_is_tried_again(world, failures, case, domain):
    """And where that never changes, the report says that it was the DNS."""
    report = world.report(case)
    assert report.status(f"bob@{domain}") == "5.4.7", report.words
    assert "(DNS) did not say where mail for this domain goes" in " ".join(report.words.split()), report.words


# ---- null MX -----------------------------------------------------------------------------------------------------------

def told(c, line, reply):
    """Where look-ups have failed a few times nobody waits for one, until one goes well again: the second time it is known."""
    def said():
        c.cmd("RSET")
        if line.startswith("RCPT"):
            assert c.cmd("MAIL FROM:<alice+rcpt@example.test>").startswith("250")
        return c.cmd(line).startswith(reply)
    wait_until(said, 60 * PATIENCE, 0.2)


def test_null_mx_is_said_to_whom_it_concerns(world):
    with world.tacit.connect() as c:
        c.helo()
        told(c, "RCPT TO:<bob@null.example>", "556 5.1.10")
        assert c.cmd("RCPT TO:<bob@implicit.example>").startswith("250")
        told(c, "MAIL FROM:<bob@null-sender.example>", "550 5.7.27")
        assert c.cmd("MAIL FROM:<bob@implicit.example>").startswith("250")
    with world.tacit.connect(source="127.0.0.3") as c:  # a stranger is not told, but of his own domain
        c.helo()
        told(c, "MAIL FROM:<bob@null-sender.example>", "550 5.7.27")
        assert c.cmd("MAIL FROM:<bob@implicit.example>").startswith("250")
        assert c.cmd("RCPT TO:<bob@null.example>").startswith("550 5.7.1 ")
        assert c.cmd("RCPT TO:<alice@example.test>").startswith("250")


# ---- by the configuration ----------------------------------------------------------------------------------------------

def test_a_smarthost_with_a_password(world):
    goes_to(world, "smart", "bob@smart.example", "smart")
    assert "AUTH PLAIN AHRhY2l0AHMzY3JldA==" in world.by_name["smart"].lines()
    goes_to(world, "login", "bob@login.example", "login")
    assert "czNjcmV0" in world.by_name["login"].lines()
    assert "s3cret" not in world.tacit.log() and "czNjcmV0" not in world.tacit.log()


def test_a_smarthost_by_name(world):
    goes_to(world, "named", "bob@named.example", "smarthost")


def test_by_sender(world):
    goes_to(world, "particular", "bob@ordinary.example", "particular")
    goes_to(world, "ordinary", "bob@ordinary.example", "mx-of-route")


def test_another_port(world):
    goes_to(world, "port", "bob@port.example", "port")


def test_lmtp(world):
    world.send("lmtp", "good@lmtp.example", "bad@lmtp.example")
    report = world.report("lmtp")
    assert report.status("bad@lmtp.example") == "5.2.0" and "Not me" in report.diagnostic("bad@lmtp.example")
    assert list(report.recipients) == ["bad@lmtp.example"]
    [message] = taken(world, "lmtp")
    assert message.recipients == ["good@lmtp.example"] and world.by_name["lmtp"].lines()[0].startswith("LHLO ")


def test_discard_and_hold(world):
    world.send("discard", "bob@discard.example")
    world.gone("discard")
    world.send("hold", "bob@hold.example")
    row = wait_until(lambda: world.row("hold"))
    wait_until(lambda: world.row("hold")["recipients"][0]["state"] == "waiting", 60 * PATIENCE)
    world.tacit.write_config(extra=world.tacit.settings["extra"].replace('via = "hold:"', f"port = {world.port}"))
    world.tacit.reload()
    before = len(world.by_name["mx-of-route"].messages)
    wait_until(lambda: "reloaded" in world.tacit.log(), 60 * PATIENCE)
    world.tacit.run("queue", "retry", row["id"])
    taken(world, "mx-of-route", before + 1)
