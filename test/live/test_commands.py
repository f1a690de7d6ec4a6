"""The commands, with the server running and not."""
import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from conftest import TACIT, free_port, parsed, wait_until

COMMANDS = ["init", "serve", "check", "user", "queue", "trace", "contacts", "sendmail", "status"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_wrong_use(command):
    r = subprocess.run([TACIT, command, "--help"], capture_output=True, text=True)
    assert r.returncode == 0 and "tacit " + command in r.stdout and r.stdout.count("\n") > 3
    assert "\x1b[" not in r.stdout
    if command != "sendmail":
        r = subprocess.run([TACIT, command, "--no-such-option"], capture_output=True, text=True)
        assert r.returncode == 2 and "--no-such-option" in r.stderr


def test_no_or_unknown_command():
    assert subprocess.run([TACIT], capture_output=True).returncode == 2
    r = subprocess.run([TACIT, "serv"], capture_output=True, text=True)
    assert r.returncode == 2 and "serve" in r.stderr
    assert subprocess.run([TACIT, "--version"], capture_output=True, text=True).stdout.startswith("tacit ")


def test_init_writes_a_working_configuration(tmp_path):
    conf = tmp_path / "etc" / "tacit.conf"
    conf.parent.mkdir()
    r = subprocess.run([TACIT, "init", "example.test", "--config", str(conf), "--data", str(tmp_path / "data")],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert "MX" in r.stdout and "example.test" in r.stdout and "v=spf1" in r.stdout
    assert subprocess.run([TACIT, "check", "--config", str(conf)], capture_output=True).returncode == 0
    before = conf.read_text()
    again = subprocess.run([TACIT, "init", "example.test", "--config", str(conf)], capture_output=True, text=True)
    assert again.returncode == 1 and str(conf) in again.stderr and conf.read_text() == before


def test_the_example_of_the_manual_is_right():
    r = subprocess.run([TACIT, "check", "--config", os.path.join(os.path.dirname(__file__), "../../etc/tacit.conf")],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr


def test_users(tacit):
    tacit.user("add", "bob@example.test", "--quota", "1M")
    assert "exists" in tacit.user("add", "BOB@example.test", check=False).stderr
    assert tacit.user("add", "x@elsewhere.example", check=False).returncode == 1
    assert tacit.user("add", "no at sign", check=False).returncode in (1, 2)
    rows = json.loads(tacit.user("list", "--json").stdout)
    rows = rows if isinstance(rows, list) else rows["users"]
    assert {"alice@example.test", "bob@example.test"} <= {r["address"] for r in rows}
    tacit.user("disable", "bob@example.test")
    assert "disabled" in tacit.user("list").stdout
    tacit.user("remove", "bob@example.test")
    assert "bob@" not in tacit.user("list").stdout
    assert tacit.user("remove", "bob@example.test", check=False).returncode == 1


def test_sendmail_interface(tacit):
    tacit.user("add", "bob@example.test")
    message = ("From: Alice <alice@example.test>\nTo: Bob <bob@example.test>\nBcc: alice@example.test\n"
               "Subject: by sendmail\n\nline\n.\nafter the dot\n")
    tacit.run("sendmail", "-t", "-i", input=message)
    got = parsed(tacit.wait_mail("bob")[0])
    assert got["Subject"] == "by sendmail" and got["Bcc"] is None and got["Message-ID"] and got["Date"]
    assert got.get_payload() == "line\n.\nafter the dot\n"
    tacit.wait_mail("alice")
    tacit.stop()
    r = tacit.run("sendmail", "-f", "alice@example.test", "bob@example.test", input="x\n\ny\n", check=False)
    assert r.returncode == 75 and r.stderr.strip()
    tacit.start()


def test_queue_and_trace_and_status(make_tacit):
    t = make_tacit(extra='relay { networks = {"127.0.0.0/8"} }').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        c.helo()
        reply = c.message("s@elsewhere.example", ["alice@example.test", "far@remote.example"])
        identity = re.search(r"as (\w+)", reply).group(1)
    t.wait_mail("alice")
    row = wait_until(lambda: [m for m in t.queue() if m["id"] == identity])[0]
    assert "far@remote.example" in str(row)
    shown = t.run("queue", "show", identity).stdout
    assert "s@elsewhere.example" in shown and "far@remote.example" in shown
    t.run("queue", "hold", identity)
    assert "held" in str([m for m in t.queue() if m["id"] == identity]).lower()
    t.run("queue", "release", identity)
    wait_until(lambda: t.run("trace", identity).stdout.count("\n") > 2)
    story = t.run("trace", identity).stdout
    assert "alice@example.test" in story and "delivered" in story.lower()
    assert identity in t.run("trace", "127.0.0.1").stdout
    t.run("queue", "remove", identity)
    assert not [m for m in t.queue() if m["id"] == identity]
    assert t.run("queue", "show", identity, check=False).returncode == 1
    status = json.loads(t.run("status", "--json").stdout)
    assert "back" in str(status)
    text = t.run("status").stdout
    assert all(role in text for role in ("front", "keeper", "back", "resolver", "carrier"))


def test_json_does_not_steer_the_terminal(make_tacit):
    """What a stranger may write into an address or a field means the same behind an escape."""
    steering = "\u009b\u0080\u009f\u202e"
    t = make_tacit(extra='relay { networks = {"127.0.0.1"} }').start()
    with t.connect() as c:
        c.helo()
        assert c.cmd(f"MAIL FROM:<x{steering}é@elsewhere.example> SMTPUTF8").startswith("250")
        assert c.cmd("RCPT TO:<bob@far.example>").startswith("250")
        c.cmd("DATA")
        c.send(f"Subject: {steering}\x7f\r\n\r\nx\r\n.\r\n")
        assert c.reply().startswith("250")
    [row] = wait_until(t.queue)
    assert row["sender"] == f"x{steering}é@elsewhere.example"
    for words in (("queue", "list"), ("queue", "show", row["id"]), ("trace", row["id"])):
        text = t.run(*words, "--json").stdout
        assert "x\\u009B\\u0080\\u009F\\u202Eé@" in text and not set(text) & set(steering + "\x7f"), ascii(text)
        assert f"x{steering}é@" in json.dumps([json.loads(line) for line in text.splitlines()], ensure_ascii=False)
    assert f"Subject: {steering}\x7f" in json.loads(t.run("queue", "show", row["id"], "--json").stdout)["headers"]


def test_a_list_says_what_it_leaves_out_and_times_their_zone(make_tacit, monkeypatch):
    t = make_tacit().start()
    with t.connect() as c:
        c.helo()
        c.message("s@elsewhere.example", [f"nobody{i}@example.test" for i in range(70)])
    [row] = wait_until(lambda: [m for m in t.queue() if m["state"] == "unclaimed"])
    assert len(row["recipients"]) == 50 and row["recipients_more"] == 20
    assert "    and 20 more\n1 message\n" in t.run("queue", "list").stdout
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    shown = t.run("queue", "show", row["id"]).stdout
    assert shown.count("nobody") >= 70 and " more\n" not in shown
    assert re.search(r"^received +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0530$", shown, re.M), shown


def test_commands_say_when_the_server_is_down(make_tacit):
    t = make_tacit()
    for command in (("queue", "list"), ("status",)):
        r = t.run(*command, check=False)
        assert r.returncode == 1 and "not running" in r.stderr, r.stderr


def test_metrics(make_tacit):
    port = free_port()
    t = make_tacit(extra=f'metrics {{ address = "127.0.0.1:{port}" }}').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        c.helo()
        c.message("s@elsewhere.example", ["alice@example.test"])
        c.cmd("FROB")
    t.wait_mail("alice")

    def counted():
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        return re.search(r"^tacit_messages_accepted_total(\{.*\})? 1$", text, re.M) and "tacit_messages_delivered_total" in text
    wait_until(counted)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/other", timeout=5)
    old = sorted(t.roles())
    t.reload()
    wait_until(lambda: len(t.roles()) == len(old) and not set(t.roles()) & set(old))
    wait_until(counted)


def test_json_log(make_tacit):
    t = make_tacit(extra_global='log = "json"').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        c.helo('evil"kind="forged')
        c.helo()
        c.message("s@elsewhere.example", ["alice@example.test"])
        c.cmd("QUIT")
    t.wait_mail("alice")

    def kinds():
        lines = [json.loads(line) for line in t.log().splitlines()]
        return {"session", "transaction", "attempt"} <= {line["kind"] for line in lines}
    wait_until(kinds)
    assert not any(json.loads(line)["kind"] == "forged" for line in t.log().splitlines())
    assert t.run("trace", "alice@example.test").stdout.strip()


def test_quota(make_tacit):
    t = make_tacit(extra='queue { expire = "3s"  local_retry = {"500ms"} }\nrelay { networks = {"127.0.0.2"} }').start()
    t.user("add", "small@example.test", "--quota", "20K")
    t.user("add", "alice@example.test")
    big = b"Subject: big\r\n\r\n" + b"x" * 70 + (b"\r\n" + b"y" * 70) * 200 + b"\r\n"
    with t.connect(source="127.0.0.2") as c:
        c.helo()
        assert c.message("alice@example.test", "small@example.test", big).startswith("250")
        t.wait_mail("small")
        assert c.message("alice@example.test", "small@example.test", big).startswith("250")
    report = t.wait_mail("alice", 1, 20)[0]
    assert b"5.2.2" in report or b"4.2.2" in report
    assert len(t.mail("small")) == 1
    assert (t.maildir("small") / "maildirsize").exists()


def test_larger_than_the_whole_quota(make_tacit):
    """It can never fit, so it is not tried for days; whoever may be told hears it at once, all others nothing."""
    t = make_tacit(extra='relay { networks = {"127.0.0.2"} }').start()
    for name, quota in (("small", "2K"), ("behind", "2K"), ("alice", "0")):
        t.user("add", f"{name}@example.test", "--quota", quota)
    t.user("add", "team@example.test", "--alias-of", "behind@example.test")
    big = b"Subject: big\r\n\r\n" + b"x" * 900 + b"\r\n" + b"y" * 1200 + b"\r\n"
    with t.connect(source="127.0.0.2") as c:
        c.helo()
        assert c.message("alice@example.test", ["small@example.test", "team@example.test"], big).startswith("250")
    report = t.wait_mail("alice", 1, 20)[0]
    assert report.count(b"Status: 5.2.3") == 2 and b"Make the message smaller" in report, report
    assert b"The message is larger than this mailbox takes." in report and b"behind@" not in report, report
    assert t.queue() == []
    with t.connect() as c:
        c.helo()
        assert c.message("alice@example.test", "small@example.test", big).startswith("250")
    row, = wait_until(lambda: t.queue("--unclaimed"))
    assert row["recipients"][0]["status"] == "5.2.3" and len(t.mail("alice")) == 1 and not t.mail("small"), row
    t.user("change", "small@example.test", "--quota", "3K")
    t.run("queue", "release", row["id"])
    t.wait_mail("small")


def test_delay_notice_and_digest(make_tacit):
    t = make_tacit(extra='queue { delay_notice = "1s"  expire = "30s"  local_retry = {"500ms"} }\n'
                         'unclaimed { digest = "2s" }\nrelay { networks = {"127.0.0.2"} }').start()
    t.user("add", "small@example.test", "--quota", "3K")
    t.user("add", "alice@example.test")
    with t.connect(source="127.0.0.2") as c:
        c.helo()
        for _ in range(2):  # the first one fits
            assert c.message("alice@example.test", "small@example.test", b"Subject: x\r\n\r\n" + b"z" * 900 + b"\r\n" +
                             b"y" * 900 + b"\r\n").startswith("250")
            t.wait_mail("small")
    with t.connect() as c:
        c.helo()
        c.message("s@elsewhere.example", "invented@example.test")
    assert b"Action: delayed" in t.wait_mail("alice", 1, 20)[0]
    digest = t.wait_mail("postmaster", 1, 20)[0]
    assert b"invented@example.test" in digest and b"s@elsewhere.example" in digest
    time.sleep(2.5)
    assert len(t.mail("postmaster")) == 1 and len(t.mail("alice")) == 1


def test_alias_loops_and_lists(make_tacit):
    t = make_tacit(extra='relay { networks = {"127.0.0.2"} }').start()
    t.user("add", "alice@example.test")
    t.user("add", "a@example.test", "--alias-of", "b@example.test")
    t.user("add", "b@example.test", "--alias-of", "a@example.test")
    with t.connect(source="127.0.0.2") as c:
        c.helo()
        assert c.message("alice@example.test", "a@example.test")[:3] in ("250", "554", "550")
    if "250" in t.log():
        assert b"5.4.6" in t.wait_mail("alice")[0]


def test_a_report_does_not_call_a_right_alias_wrong(tacit):
    tacit.user("add", "team@example.test", "--alias-of", "ghost@example.test")
    tacit.run("sendmail", "-f", "alice@example.test", "team@example.test", input="Subject: x\n\ny\n")
    report = tacit.wait_mail("alice")[0]
    assert b"team@example.test" in report and b"ghost" not in report
    assert b"leads on to others" in report and b"Check the spelling" not in report


def test_status_and_the_system_name_each_process(tacit):
    names = {(Path("/proc") / str(pid) / "comm").read_text().strip() for _, pid in tacit.roles()}
    assert {"tacit-keeper-0", "tacit-back-0", "tacit-front-0", "tacit-resolver", "tacit-carrier-0"} <= names
    text = tacit.run("status").stdout
    assert "commit time total" in text and " ms\n" in text and " us " not in text


def test_a_request_may_come_in_pieces_but_not_without_end(tacit):
    """What is looked at again with each piece would cost back seconds here, in which it delivers nothing."""
    def ask(pieces):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(tacit.dir / "data" / "run" / "control.sock"))
            s.settimeout(60)
            for piece in pieces:
                s.sendall(piece)
            return b"".join(iter(lambda: s.recv(65536), b"")).splitlines()

    status = ask(bytes([octet]) for octet in b'{"command": "status"}\n')
    assert json.loads(status[-1])["end"] is True
    assert "must be a JSON object" in json.loads(ask([b"x" * 100] * 5000 + [b"\n"])[-1])["error"]
    assert "too long" in json.loads(ask([b"x" * (1 << 20) + b"\n"])[-1])["error"]
