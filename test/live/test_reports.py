"""Reports of each kind, as programs of others read them: Mailman's bounce parser (flufl.bounce), which takes dead
addresses off lists, and Sisimai, which says why mail came back.
"""
import json
import os
import subprocess
import sys

import pytest

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
            assert (for_now, for_good) == (["dave@example.net"], []), name
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
