"""What clients of each class learn about who exists (doc/disclosure.md)."""
import re
import time

import pytest

from conftest import parsed, wait_until

RELAY = 'relay { networks = {"127.0.0.0/8"} }'


def test_a_stranger_learns_nothing_from_vrfy(tacit):
    with tacit.connect() as c:
        c.helo()
        exists, invented = c.cmd("VRFY alice@example.test"), c.cmd("VRFY nobody@example.test")
        assert exists.startswith("252 2.5.0") and exists == invented
        assert c.cmd("VRFY alice") == exists == c.cmd("VRFY <nobody>")
        assert c.cmd("EXPN staff").startswith("252")
        assert c.cmd("TURN").startswith("502 5.5.1")
        assert "alice" not in exists


def test_a_server_may_choose_not_to_offer_vrfy(make_tacit):
    t = make_tacit(disclosure='vrfy = "502"').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        ehlo = c.helo()
        assert "VRFY" not in ehlo and "EXPN" not in ehlo
        assert c.cmd("VRFY alice@example.test") == c.cmd("VRFY nobody@example.test")
        assert c.cmd("VRFY alice@example.test").startswith("502 5.5.1")
        assert c.cmd("EXPN staff").startswith("502 5.5.1")
        assert "VRFY" not in c.cmd("HELP")


def test_vrfy_answer_tells_anybody(make_tacit):
    t = make_tacit(disclosure='vrfy = "answer"').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        c.helo()
        assert c.cmd("VRFY alice@example.test").startswith("250 2.1.5")
        assert c.cmd("VRFY nobody@example.test").startswith("550 5.1.1")
    assert "anybody" in (lambda r: r.stdout + r.stderr)(t.run("check")).lower() or "warning" in t.run("check").stderr


def mask(reply, name):
    return reply.replace(name, "X")


def test_rcpt_and_data_are_the_same_for_real_and_invented_names(tacit):
    tacit.user("add", "off@example.test")
    tacit.user("disable", "off@example.test")
    tacit.user("add", "gone@example.test")
    tacit.user("move", "gone@example.test", "new@elsewhere.example", "--reply", "551")
    seen = set()
    for name in ["alice", "nobody", "off", "gone", "ALICE", "alice+tag", "nobody+tag", '"alice"']:
        with tacit.connect() as c:
            c.helo()
            talk = [c.cmd("MAIL FROM:<s@elsewhere.example>"), c.cmd(f"RCPT TO:<{name}@example.test>"), c.cmd("DATA")]
            c.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
            talk.append(re.sub(r"as \S+", "as ID", c.reply()))
            talk.append(c.cmd("QUIT"))
            seen.add(tuple(mask(t, name) for t in talk))
    assert len(seen) == 1, seen
    assert [r[:3] for r in seen.pop()] == ["250", "250", "354", "250", "221"]


def test_mail_for_an_invented_name_is_held_and_nobody_is_told(tacit):
    with tacit.connect() as c:
        c.helo()
        assert c.message("forged@victim.example", "nobody@example.test").startswith("250")
    held = wait_until(lambda: tacit.queue("--unclaimed"))
    assert len(held) == 1 and "nobody@example.test" in str(held[0]) and "forged@victim.example" in str(held[0])
    time.sleep(0.5)
    everything = tacit.queue()
    assert all("victim" not in str(m.get("recipients", m.get("to", ""))) for m in everything), everything
    assert not tacit.mail("nobody")
    # The postmaster may release it once the mailbox exists.
    tacit.user("add", "nobody@example.test")
    identity = held[0]["id"]
    tacit.run("queue", "release", identity)
    assert len(tacit.wait_mail("nobody")) == 1
    assert not tacit.queue("--unclaimed")


def test_a_relay_is_told_the_truth(make_tacit):
    t = make_tacit(extra=RELAY).start()
    t.user("add", "alice@example.test")
    for name, new, how in [("m251", "here@new.example", "251"), ("m551", "there@new.example", "551"),
                           ("mhide", "secret@new.example", "hide")]:
        t.user("add", f"{name}@example.test")
        t.user("move", f"{name}@example.test", new, "--reply", how)
    t.user("add", "off@example.test")
    t.user("disable", "off@example.test")
    with t.connect() as c:
        c.helo()
        assert c.cmd("VRFY alice@example.test").startswith("250 2.1.5")
        assert "alice@example.test" in c.cmd("VRFY alice")
        assert c.cmd("VRFY nobody@example.test").startswith("550 5.1.1")
        assert re.match(r"251 .*<here@new\.example>", c.cmd("VRFY m251@example.test"))
        assert re.match(r"551 5\.1\.6 .*<there@new\.example>", c.cmd("VRFY m551@example.test"))
        hidden = c.cmd("VRFY mhide@example.test")
        assert hidden.startswith("550 5.1.6") and "secret" not in hidden
        assert c.cmd("MAIL FROM:<s@elsewhere.example>").startswith("250")
        assert c.cmd("RCPT TO:<nobody@example.test>").startswith("550 5.1.1")
        assert re.match(r"251 .*<here@new\.example>", c.cmd("RCPT TO:<m251@example.test>"))
        assert re.match(r"551 5\.1\.6 .*<there@new\.example>", c.cmd("RCPT TO:<m551@example.test>"))
        assert c.cmd("RCPT TO:<mhide@example.test>").startswith("550 5.1.6")
        assert c.cmd("RCPT TO:<off@example.test>").startswith("550 5.2.1")
        assert c.cmd("RCPT TO:<alice@example.test>").startswith("250 2.1.5")
        assert c.cmd("RCPT TO:<x@remote.example>").startswith("250")
        assert c.cmd("DATA").startswith("354")
        c.send("Subject: relay\r\n\r\nx\r\n.\r\n")
        assert c.reply().startswith("250")
    t.wait_mail("alice")
    wait_until(lambda: [m for m in t.queue() if "x@remote.example" in str(m) and "here@new.example" in str(m)])


def test_expn_of_a_list(make_tacit):
    t = make_tacit(extra=RELAY).start()
    for name in ("alice", "bob"):
        t.user("add", f"{name}@example.test")
    t.user("add", "staff@example.test", "--list", "--member", "alice@example.test", "--member", "bob@example.test",
           "--show-members")
    with t.connect() as c:
        c.helo()
        reply = c.cmd("EXPN staff@example.test")
        assert reply.startswith("250-2.1.5") and "alice@example.test" in reply and "bob@example.test" in reply
        assert c.message("s@elsewhere.example", "staff@example.test").startswith("250")
    assert len(t.wait_mail("alice")) == 1 and len(t.wait_mail("bob")) == 1


def test_others_may_not_relay(tacit):
    with tacit.connect() as c:
        c.helo()
        assert c.cmd("MAIL FROM:<alice@example.test>").startswith("250")
        assert c.cmd("RCPT TO:<x@remote.example>").startswith("550 5.7.1")
        assert c.cmd("RCPT TO:<x%remote.example@example.test>").startswith("250")  # a local part like any other
        assert c.cmd("RCPT TO:<@a.example,@b.example:alice@example.test>").startswith("250")


def test_postmaster_and_abuse_always_exist(make_tacit):
    t = make_tacit(extra=RELAY).start()
    with t.connect() as c:
        c.helo()
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        for name in ("postmaster@example.test", "Postmaster", "abuse@example.test", "POSTMASTER@EXAMPLE.TEST"):
            assert c.cmd(f"RCPT TO:<{name}>").startswith("250"), name
        assert c.cmd("RSET").startswith("250")
        assert c.message("s@elsewhere.example", "postmaster").startswith("250")
    t.wait_mail("postmaster")


def test_null_sender_mail_must_answer_ours(tacit):
    with tacit.connect() as c:
        c.helo()
        for name in ("alice", "nobody"):
            assert c.cmd("MAIL FROM:<>").startswith("250")
            assert c.cmd(f"RCPT TO:<{name}@example.test>").startswith("250 2.1.0")
            assert c.cmd("RCPT TO:<bob@example.test>").startswith("452 4.5.3")
            assert c.cmd("DATA").startswith("354")
            c.send("Subject: undeliverable\r\n\r\nMessage-ID: <made-up@elsewhere.example>\r\n.\r\n")
            assert c.reply().startswith("550 5.7.1")
    assert not tacit.mail("alice")


def test_a_bounce_that_quotes_our_message_id_is_taken(tacit):
    tacit.run("sendmail", "-f", "alice@example.test", "alice@example.test",
              input="Subject: ours\n\nThis gets a Message-ID of ours.\n")
    mine = parsed(tacit.wait_mail("alice")[0])["Message-ID"]
    assert mine.endswith("@mx.example.test>")
    with tacit.connect() as c:
        c.helo()
        assert c.message("", "alice@example.test",
                         f"Subject: failed\r\n\r\nMessage-ID: {mine}\r\n".encode()).startswith("250")
        forged = mine.replace(mine[3], "z" if mine[3] != "z" else "y", 1)
        assert c.message("", "alice@example.test", f"Message-ID: {forged}\r\n\r\n".encode()).startswith("550 5.7.1")
    tacit.wait_mail("alice", 2)


def test_refusing_strangers_is_uniform(make_tacit):
    t = make_tacit(disclosure='strangers = "refuse"').start()
    t.user("add", "alice@example.test")
    with t.connect() as c:
        c.helo()
        replies = {c.message("s@elsewhere.example", f"{n}@example.test") for n in ("alice", "nobody")}
    assert len(replies) == 1 and replies.pop().startswith("550 5.7.26")
    assert not t.mail("alice")


@pytest.mark.parametrize("code", ["250", "252"])
def test_rcpt_reply(make_tacit, code):
    t = make_tacit(disclosure=f'rcpt_reply = "{code}"').start()
    with t.connect() as c:
        c.helo()
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        assert c.cmd("RCPT TO:<anyone@example.test>").startswith(code)


def test_a_submitter_gets_a_report_in_plain_words(tacit):
    tacit.user("add", "bob@example.test")
    tacit.user("add", "team@example.test", "--alias-of", "bob@example.test", "--alias-of", "ghost@example.test")
    tacit.run("sendmail", "-f", "alice@example.test", "team@example.test", input="Subject: hi\n\nx\n")
    tacit.wait_mail("bob")
    report = parsed(tacit.wait_mail("alice")[0])
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    human, status = report.get_payload()[0].get_payload(decode=True).decode(), report.get_payload()[1]
    assert report["Auto-Submitted"].startswith("auto-replied")
    assert "ghost@example.test" in human or "team@example.test" in human
    fields = status.get_payload()
    assert fields[0]["Reporting-MTA"].endswith("mx.example.test")
    assert fields[1]["Action"] == "failed" and fields[1]["Status"] == "5.1.1"
    assert "bob@example.test" not in str(status)
    refused = tacit.run("sendmail", "-f", "alice@example.test", "ghost@example.test", input="Subject: x\n\nx\n",
                        check=False)
    assert refused.returncode != 0 and "550" in refused.stderr
