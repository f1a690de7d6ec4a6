"""tacit probe: the right verdict about domains in a real DNS, about scripted servers for each special reply, and about
tacit itself and Postfix; and it never says more than it should."""
import json
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import TACIT, free_port
from nameserver import NameServer
from scripted import LOSE, SILENCE, Hosts, cut
from tools import Postfix

EXTENSIONS = ("PIPELINING", "SIZE 10240000", "STARTTLS", "8BITMIME", "SMTPUTF8", "DSN")
# domain: script of its host, --rcpt, verdict, exit status, words that must be said
SCRIPTS = {
    "plain": ({}, False, "takes-mail", 0, ["STARTTLS is offered, but no TLS came about", "10240000", "SMTPUTF8"]),
    "r250": ({"vrfy": "250 2.1.5 <anna@r250.example>"}, True, "taken", 0,
             ["no proof that the mailbox exists", "the server says that the mailbox exists"]),
    "r251": ({"rcpt": "251 2.1.5 User not local; will forward to <new@else.example>"}, True, "forwarded", 0,
             ["new@else.example", "updating the address", "not offered here"]),
    "r252": ({"vrfy": "252 2.5.0 Cannot VRFY user", "rcpt": "252 2.1.5 Cannot verify"}, True, "not-told", 0,
             ["not told", "bounce comes back later", "this is success"]),
    "r502": ({"vrfy": "502 5.5.1 VRFY is disabled"}, True, "taken", 0, ["not offered here: send a message instead"]),
    "r551": ({"rcpt": "551 5.1.6 User has moved; please try <new@else.example>"}, True, "moved", 4,
             ["moved to new@else.example", "update your contacts"]),
    "r556": ({"rcpt": "556 5.1.10 Domain takes no mail"}, True, "null-mx", 4, ["takes no mail"]),
    "r550": ({"rcpt": "550 5.1.1 User unknown"}, True, "refused", 4, ["does not exist", "spelling"]),
    "r450": ({"rcpt": "450 4.7.1 Greylisted, try again in 300 seconds"}, True, "later", 3, ["puts off", "tries again"]),
    "mail550": ({"mail": "550 5.7.1 Your address is listed at zen.spamhaus.org"}, True, "refused", 4, ["list of senders of spam"]),
    "g421": ({"greeting": "421 4.3.2 Too busy"}, False, "later", 3, ["tries again"]),
    "g521": ({"greeting": "521 5.3.2 No mail here"}, False, "no-mail-host", 4, ["never takes mail"]),
    "g554": ({"greeting": "554 5.7.1 You are on our blacklist"}, False, "refused", 4, ["list of senders of spam"]),
    "helo": ({"ehlo": "502 5.5.1 What?"}, False, "takes-mail", 0, ["HELO probe.test"]),
    "garbage": ({"greeting": b"\x00\xff\xfe nonsense\r\n"}, False, "unreachable", 3, []),
    "endless": ({"greeting": b"220-" + b"x" * 100000}, False, "unreachable", 3, []),
    "lost": ({"ehlo": LOSE}, False, "broken", 3, ["broke off"]),
    "half": ({"ehlo": cut(b"250-half")}, False, "broken", 3, []),
    "silent": ({"greeting": SILENCE}, False, "unreachable", 3, ["in time"]),
}
ZONE = """
null.example. MX 0 .
odd.example. MX 0 .
odd.example. MX 10 mx.plain.example.
dangling.example. MX 10 nowhere.example.
implicit.example. A 127.0.1.200
plain.example. TXT "v=spf1 mx -all"
_dmarc.plain.example. TXT "v=DMARC1; p=reject"
_mta-sts.plain.example. TXT "v=STSv1; id=1"
twice.example. MX 10 mx.plain.example.
twice.example. TXT "v=spf1 -all"
twice.example. TXT "v=spf1 +all"
"""


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory(prefix="tacit-live-") as d:
        port, zone = free_port(), [ZONE]
        hosts = Hosts(port)
        for name, (script, *_) in SCRIPTS.items():
            host = hosts.add(None, name=f"mx.{name}.example", extensions=EXTENSIONS, **script)
            zone += [f"mx.{name}.example. A {host.address}", f"{name}.example. MX 10 mx.{name}.example."]
        hosts.add("127.0.1.200", name="implicit.example")
        certificate = Path(d) / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", certificate, "-out",
                        certificate.with_suffix(".crt"), "-subj", "/O=Nobody/CN=mx.tls.example", "-addext",
                        "subjectAltName=DNS:mx.tls.example,DNS:*.else.example"], check=True, capture_output=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.with_suffix(".crt"), certificate)
        host = hosts.add(None, name="mx.tls.example", extensions=EXTENSIONS, tls=tls)
        zone += [f"mx.tls.example. A {host.address}", "tls.example. MX 10 mx.tls.example."]
        dns = NameServer(d, "\n".join(zone), silent=["mute.example"], refused=["failing.example"]).start()
        dns.mail_port = port
        dns.hosts = hosts
        yield dns
        dns.stop()
        hosts.stop()


def probe(world, *args, port=None):
    r = subprocess.run([TACIT, "probe", "--dns", world.address, "--port", str(port or world.mail_port), "--helo", "probe.test",
                        "--timeout", "2s", *args], capture_output=True, text=True, timeout=120,
                       env={"PATH": "/usr/bin", "TACIT_CONFIG": "/nonexistent"})
    assert "\x1b" not in r.stdout
    return r


@pytest.mark.parametrize("name", SCRIPTS)
def test_replies(world, name):
    _, rcpt, verdict, status, words = SCRIPTS[name]
    target = ["--rcpt", f"anna@{name}.example"] if rcpt else [f"{name}.example"]
    r = probe(world, *target, "--json")
    row = json.loads(r.stdout)
    assert (row["verdict"], r.returncode) == (verdict, status), r.stdout + r.stderr
    text = " ".join(probe(world, *target).stdout.split()) if words else ""
    assert [w for w in words if w not in text] == [], text


@pytest.mark.parametrize("domain, verdict, status, words", [
    ("null.example", "null-mx", 4, ["556 5.1.10", "null MX", "slip"]),
    ("anna@null.example", "null-mx", 4, ["takes no mail at all"]),
    ("nothere.example", "no-domain", 4, ["no such domain"]),
    ("dangling.example", "no-hosts", 4, ["5.4.4"]),
    ("failing.example", "dns-unknown", 3, ["4.4.3", "Try again later"]),
    ("odd.example", "takes-mail", 0, ["passed over"]),
    ("implicit.example", "takes-mail", 0, ["implicit MX"]),
    ("plain.example", "takes-mail", 0, ["v=spf1 mx -all", "p=reject", "v=STSv1"]),
    ("twice.example", "takes-mail", 0, ["more than one record"]),
    ("PLAIN.example", "takes-mail", 0, []),
])
def test_dns(world, domain, verdict, status, words):
    r = probe(world, domain)
    text = " ".join(r.stdout.split())
    assert r.returncode == status and verdict in text, r.stdout + r.stderr
    assert [w for w in words if w not in text] == [], text


def test_nothing_more_is_said_than_was_asked_for(world):
    host = next(h for h in world.hosts.hosts if h.name == "mx.plain.example")
    before = len(host.said)
    probe(world, "plain.example")
    probe(world, "anna@plain.example")
    assert host.said[before:] == [["EHLO probe.test", "STARTTLS", "QUIT"]] * 2
    probe(world, "--rcpt", "anna@plain.example")
    assert host.said[-1] == ["EHLO probe.test", "VRFY <anna@plain.example>", "MAIL FROM:<>", "RCPT TO:<anna@plain.example>",
                             "RSET", "STARTTLS", "QUIT"]
    assert not host.messages


def test_a_certificate(world):
    row = json.loads(probe(world, "tls.example", "--json").stdout)
    assert row["verdict"] == "takes-mail" and row["tls"]["protocol"].startswith("TLSv1.")
    assert row["tls"]["names"] == "mx.tls.example, *.else.example" and row["tls"]["issuer"] == "Nobody, mx.tls.example"
    assert row["tls"]["name_fits"] and not row["tls"]["trusted"] and "self" in row["tls"]["problem"]
    assert row["tls"]["until"] > row["tls"]["from"] > "2020"
    host = next(h for h in world.hosts.hosts if h.name == "mx.tls.example")
    assert host.said[-1] == ["EHLO probe.test", "STARTTLS", "QUIT"]
    text = " ".join(probe(world, "--rcpt", "anna@tls.example").stdout.split())
    assert "not to be trusted" in text and "for mx.tls.example" in text and "taken" in text
    row = json.loads(probe(world, "--json", host.address).stdout)
    assert not row["tls"]["name_fits"]


def test_a_host_by_name_and_by_address(world):
    host = next(h for h in world.hosts.hosts if h.name == "mx.plain.example")
    assert probe(world, "--host", "mx.plain.example").returncode == 0
    assert probe(world, host.address).returncode == 0
    assert probe(world, "127.0.0.1", port=free_port()).returncode == 3


def test_wrong_use(world):
    assert probe(world, "--rcpt", "plain.example").returncode == 2
    assert probe(world, "no domain").returncode == 1
    assert probe(world, "a@@b").returncode == 1
    assert probe(world, "--port", "0", "plain.example").returncode == 2


def test_tacit_itself(world, tacit):
    tacit.user("add", "anna@example.test")
    answers = []
    for name in ("anna", "nobody"):
        r = subprocess.run([TACIT, "probe", "--rcpt", f"{name}@[127.0.0.1]", "--port", str(tacit.mx), "--json"],
                           capture_output=True, text=True, env={"PATH": "/usr/bin", "TACIT_CONFIG": "/nonexistent"})
        row = json.loads(r.stdout)
        assert [s["code"] for s in row["conversation"] if s["step"] == "vrfy"] == [252]
        answers.append([(s["step"], s.get("code")) for s in row["conversation"]])
    assert answers[0] == answers[1]  # who exists is not told


def test_postfix(world, tmp_path):
    postfix = Postfix(tmp_path, "[127.0.0.1]:9")
    postfix.start()
    try:
        row = json.loads(probe(world, "127.0.0.1", "--json", port=postfix.port).stdout)
        assert row["verdict"] == "takes-mail" and "PIPELINING" in row["extensions"] and row["size"] > 1000
    finally:
        postfix.stop()
