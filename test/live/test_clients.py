"""Ordinary clients and servers deliver, and what they sent is what is stored, byte for byte but for the trace fields."""
import os
import shutil
import smtplib
import subprocess

import pytest

from conftest import parsed, wait_until, without_trace
from tools import Postfix, postfix_program, unpacked

MESSAGE = (b"From: Sender <sender@elsewhere.example>\r\nTo: alice@example.test\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
           b"Message-ID: <one@elsewhere.example>\r\nSubject: dots and blanks\r\nMIME-Version: 1.0\r\n"
           b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
           b".one dot\r\n..two dots\r\n.\t\r\n \r\n\ttab\r\nb\xc3\xa9\xc3\xa8 trailing blanks  \r\n\r\n\r\nlast line\r\n")


def program(name):
    return shutil.which(name) or pytest.fail(f"{name} is missing: make deps")


def run(command, **kw):
    kw.setdefault("timeout", 60)
    result = subprocess.run(command, capture_output=True, **kw)
    assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout.decode()}\n{result.stderr.decode()}"
    return result


def test_smtplib_bytes_are_kept(tacit):
    with smtplib.SMTP("127.0.0.1", tacit.mx, "client.example") as s:
        s.ehlo()
        assert s.has_extn("PIPELINING") and s.has_extn("SIZE") and s.has_extn("SMTPUTF8") and s.has_extn("CHUNKING")
        assert s.sendmail("sender@elsewhere.example", ["alice@example.test"], MESSAGE, ["BODY=8BITMIME"]) == {}
    stored = tacit.wait_mail("alice")[0]
    assert without_trace(stored) == MESSAGE
    head = parsed(stored)
    assert head["Return-Path"] == "<sender@elsewhere.example>"
    assert "client.example" in head["Received"] and "127.0.0.1" in head["Received"] and "with ESMTP" in head["Received"]
    assert stored.startswith(b"Return-Path:")


def test_curl(tacit, tmp_path):
    (tmp_path / "m").write_bytes(MESSAGE)
    run([program("curl"), "-sS", f"smtp://127.0.0.1:{tacit.mx}/client.example", "--mail-from",
         "sender@elsewhere.example", "--mail-rcpt", "alice@example.test", "--upload-file", str(tmp_path / "m")])
    assert without_trace(tacit.wait_mail("alice")[0]) == MESSAGE


def test_swaks(tacit, tmp_path):
    (tmp_path / "m").write_bytes(MESSAGE)
    run([program("swaks"), "--server", "127.0.0.1", "--port", str(tacit.mx), "--ehlo", "client.example", "--from",
         "sender@elsewhere.example", "--to", "alice@example.test", "--data", f"@{tmp_path}/m"])
    assert without_trace(tacit.wait_mail("alice")[0]) == MESSAGE + b"\r\n"  # swaks ends each message with a line more
    run([program("swaks"), "--server", "127.0.0.1", "--port", str(tacit.mx), "--from", "sender@elsewhere.example",
         "--to", "alice@example.test", "--body", "a body", "--pipeline"])
    assert parsed(tacit.wait_mail("alice", 2)[1]).get_payload().startswith("a body")


def test_msmtp(tacit):
    run([program("msmtp"), "--host=127.0.0.1", f"--port={tacit.mx}", "--from=sender@elsewhere.example", "--tls=off",
         "--auth=off", "--domain=client.example", "--file=/dev/null", "alice@example.test"],
        input=MESSAGE.replace(b"\r\n", b"\n"))
    assert without_trace(tacit.wait_mail("alice")[0]) == MESSAGE


def test_s_nail(tacit, tmp_path):
    program("s-nail")
    body = "Hello,\n.dot\n..dots\nbye\n"
    run(["s-nail", "-:/", "-Sv15-compat", f"-Smta=smtp://127.0.0.1:{tacit.mx}", "-Ssmtp-config=-all,ehlo",
         "-Ssmtp-auth=none", "-Sfrom=sender@elsewhere.example", "-Shostname=client.example", "-s", "by s-nail",
         "alice@example.test"], input=body.encode(), env=dict(os.environ, HOME=str(tmp_path)))
    got = parsed(tacit.wait_mail("alice")[0])
    assert got["Subject"] == "by s-nail" and got.get_payload() == body


def test_nodemailer(tacit, tmp_path):
    where = unpacked("node-nodemailer") / "usr/share/nodejs"
    (tmp_path / "m").write_bytes(MESSAGE)
    script = f"""
const t = require({str(where / 'nodemailer')!r}).createTransport({{host: '127.0.0.1', port: {tacit.mx}, secure: false, ignoreTLS: true}});
t.sendMail({{envelope: {{from: 'sender@elsewhere.example', to: ['alice@example.test']}},
  raw: require('fs').readFileSync({str(tmp_path / 'm')!r})}})
 .then(r => t.sendMail({{from: 'sender@elsewhere.example', to: 'alice@example.test', subject: 'Grüße', text: 'hällo\\n.\\n',
   attachments: [{{filename: 'a.bin', content: Buffer.from(Array.from({{length: 3000}}, (_, i) => i % 256))}}]}}))
 .then(r => {{ console.log(r.response); process.exit(r.accepted.length === 1 ? 0 : 1) }}, e => {{ console.error(e); process.exit(1) }});
"""
    run([program("node"), "-e", script])
    first, second = sorted(tacit.wait_mail("alice", 2), key=lambda m: b"a.bin" in m)
    assert without_trace(first) == MESSAGE
    parts = list(parsed(second).walk())
    assert [p for p in parts if p.get_filename() == "a.bin"][0].get_payload(decode=True) == bytes(
        i % 256 for i in range(3000))


@pytest.mark.parametrize("options", [[], ["-d"]], ids=["connection each", "connections kept"])
def test_smtp_source(tacit, options):
    path, env = postfix_program("smtp-source")
    run([path, *options, "-s", "20", "-m", "400", "-l", "4096", "-f", "sender@elsewhere.example", "-t",
         "alice@example.test", f"inet:127.0.0.1:{tacit.mx}"], env=env)
    assert len({parsed(m)["Message-Id"] for m in tacit.wait_mail("alice", 400, timeout=60)}) == 400


def test_postfix_relays_to_us(tacit, tmp_path):
    postfix = Postfix(tacit.dir, f"[127.0.0.1]:{tacit.mx}").start()
    try:
        with smtplib.SMTP("127.0.0.1", postfix.port, "client.example") as s:
            for _ in range(3):
                s.sendmail("sender@elsewhere.example", ["alice@example.test"], MESSAGE, ["BODY=8BITMIME"])
            s.sendmail("sender@elsewhere.example", ["invented@example.test"], MESSAGE, ["BODY=8BITMIME"])
        for stored in tacit.wait_mail("alice", 3, timeout=30):
            assert without_trace(stored) == MESSAGE
            assert parsed(stored)["Received"].startswith("from postfix.example")
        held = wait_until(lambda: tacit.queue("--unclaimed"))
        assert len(held) == 1
    finally:
        postfix.stop()
    assert postfix.log().count("status=sent (250") == 4


def test_many_recipients_one_copy_each(make_tacit):
    t = make_tacit().start()
    names = [f"user{i}" for i in range(20)]
    for n in names:
        t.user("add", f"{n}@example.test")
    with smtplib.SMTP("127.0.0.1", t.mx, "client.example") as s:
        s.sendmail("s@elsewhere.example", [f"{n}@example.test" for n in names + names[:5]], MESSAGE.decode("utf-8").encode())
    for n in names:
        assert len(t.wait_mail(n)) == 1


def test_smtputf8(tacit):
    tacit.user("add", "grüße@example.test")
    with smtplib.SMTP("127.0.0.1", tacit.mx, "client.example") as s:
        s.ehlo()
        s.mail("søren@elsewhere.example", ["SMTPUTF8", "BODY=8BITMIME"])
        assert s.rcpt("GRÜSSE@example.test".replace("SS", "ß"))[0] == 250
        code, text = s.data(MESSAGE)
        assert code == 250, text
    stored = tacit.wait_mail("grüße")[0]
    assert without_trace(stored) == MESSAGE and b"with UTF8SMTP" in stored
    with tacit.connect() as c:
        c.helo()
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        assert c.cmd("RCPT TO:<grüße@example.test>").startswith("553 5.6.7")
