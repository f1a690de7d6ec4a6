"""tacit explain and tacit compare say at least what people need, for each kind of thing that they have in hand."""
import json
import os
import re
import subprocess

import pytest

from conftest import TACIT


def run(*args, text=None):
    return subprocess.run([TACIT, *args], input=text, capture_output=True, text=True, timeout=60)


def said(*args, text=None):
    r = run(*args, text=text)
    assert r.returncode == 0, r.stderr
    return " ".join(r.stdout.split()).lower()


@pytest.mark.parametrize("code, words", [
    ("250", ["every command", "nothing to fix", "deliver"]),
    ("251", ["passes it on", "new address", "updating the address"]),
    ("252", ["not an error", "nothing to fix", "bounce", "try to deliver", "collect addresses"]),
    ("502", ["vrfy", "expn", "turn", "does not offer", "ehlo", "send a message", "not an error"]),
    ("551", ["new address", "update your records", "251", "not pass the message on"]),
    ("556", ["null mx", "takes no mail", "mx records", "rfc 7505", "5.1.10"]),
    ("5.1.10", ["null mx", "556", "exchange online"]),
    ("541", ["no standard has it", "not a code of smtp", "5.4.1"]),
    ("2.7.0", ["login", "nothing stands in the way"]),
    ("null mx", ["takes no mail", "556", "5.1.10"]),
    ("greylisting", ["puts off", "wait", "not yet"]),
])
def test_explain(code, words):
    text = said("explain", *code.split())
    assert [w for w in words if w not in text] == []


@pytest.mark.parametrize("other, words", [
    ("250", ["every command", "vrfy", "success", "send the message", "bounce"]),
    ("502", ["vrfy", "turn", "ehlo", "withheld", "good answer"]),
    ("551", ["new address", "forward", "contacts"]),
    ("556", ["null mx", "domain", "mx records", "spelling"]),
    ("450", ["tries again"]),
    ("554", ["read the text"]),
])
def test_compare_with_252(other, words):
    for pair in (("252", other), (other, "252")):
        text = said("compare", *pair)
        assert [w for w in words if w not in text] == []
        assert "252" in text and other in text


def test_any_two_codes_can_be_compared():
    codes = [json.loads(line)["code"] for line in run("explain", "--list", "--json").stdout.splitlines()
             if json.loads(line)["kind"] == "reply"]
    assert len(codes) > 60
    for code in codes:
        row = json.loads(run("compare", code, "550", "--json").stdout)
        assert row["a"]["code"] == code and row["difference"] and row["when"] and row["advice"]
    assert run("compare", "252", "999").returncode == 1


BOUNCE = """This is the mail system at host mx.example.

Reporting-MTA: dns; mx.example
Arrival-Date: Sat, 1 Jan 2022 00:00:00 +0000

Final-Recipient: rfc822; anna@b.example
Original-Recipient: rfc822;anna@b.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.example
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does
    not exist. 550 5.1.1 See elsewhere

Final-Recipient: rfc822; bert@c.example
Action: delayed
Status: 4.4.1
Diagnostic-Code: smtp; connect to c.example[192.0.2.1]:25: Connection timed out
"""


def test_a_pasted_bounce():
    for text in (BOUNCE, BOUNCE.replace("\n", "\r\n"), "".join("    " + line + "\n" for line in BOUNCE.splitlines())):
        r = run("explain", "--json", text=text)
        first, second = [json.loads(line) for line in r.stdout.splitlines()]
        assert first["recipient"] == "anna@b.example" and first["code"] == "550"
        assert "does not exist" in first["meaning"] and first["delivery"].startswith("No") and first["server"] == "mx.b.example"
        assert second["recipient"] == "bert@c.example" and second["delivery"].startswith("Not yet")


def test_nothing_of_a_stranger_steers_the_terminal():
    marks = "\x1b]0;x\x07", "\x1b[2J", "\x9b2J", "\u202e", "\x7f"
    text = said("explain", text="Final-Recipient: rfc822; a{0}{3}@b\nAction: failed\nStatus: 5.1.1\n"
                                "Remote-MTA: dns; x{1}y{4}\nDiagnostic-Code: smtp; 550 5.1.1 no {2} user\n".format(*marks))
    assert "said by" in text and "\\x1b[2jy" in text and "\\u202e" in text
    assert not any(c in text for c in "\x1b\x07\x9b\u202e\x7f")


def test_a_line_with_several_lines():
    text = said("explain", text="550-5.7.26 This mail has been blocked because the sender is unauthenticated.\n"
                                "550 5.7.26 - gsmtp\n")
    assert "google could not establish who sent" in text


def test_what_is_not_known():
    r = run("explain", "5500")
    assert r.returncode == 1 and "perhaps 500 was meant" in r.stderr
    r = run("explain", "zzyzx")
    assert r.returncode == 1 and "--list" in r.stderr
    assert run("explain", text="").returncode == 2
    r = run("explain", "\x1b[31m" * 10 + "x")
    assert r.returncode == 1 and "\x1b" not in r.stderr
    assert said("explain", "--search", "quota")


def test_pages(tmp_path):
    site = tmp_path / "site"
    r = run("explain", "--html", str(site))
    assert r.returncode == 0, r.stderr
    names = {f.name for f in site.iterdir()}
    assert {"index.html", "style.css", "search.js", "252.html", "250.html", "502.html", "551.html", "556.html", "x-1-10.html",
            "compare-252-551.html", "cause-greylisting.html"} <= names and len(names) > 200
    text = "".join(f.read_text() for f in site.iterdir())
    assert not re.search(r'(src|href)="(https?:)?//', text), "something from elsewhere"


def test_pages_replace_links_and_do_not_follow_them(tmp_path):
    """In a directory that others may write to, as below /tmp, a link leads to a file of theirs, or of ours."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    site.mkdir()
    elsewhere.write_text("precious")
    for name in ("index.html", "style.css", "250.html"):
        (site / name).symlink_to(elsewhere)
    (site / "search.js").symlink_to(tmp_path / "made")
    old = os.umask(0o027)
    try:
        assert run("explain", "--html", str(site)).returncode == 0
    finally:
        os.umask(old)
    assert elsewhere.read_text() == "precious" and not (tmp_path / "made").exists()
    assert not [f for f in site.iterdir() if f.is_symlink() or f.suffix == ".tmp"]
    assert "<!doctype html>" in (site / "index.html").read_text() and (site / "250.html").stat().st_mode & 0o777 == 0o640
    assert run("explain", "--html", str(site)).returncode == 0  # again


def test_pages_in_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    r = run("explain", "--html", str(tmp_path / "file"))
    assert r.returncode == 1 and str(tmp_path / "file") in r.stderr
    r = run("explain", "--html", str(tmp_path / "no" / "where"))
    assert r.returncode == 1 and "No such file" in r.stderr
