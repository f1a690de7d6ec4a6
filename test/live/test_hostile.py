"""What hostile clients, odd gateways and separate users of the processes have shown to be worth a look."""
import os
import pwd

import pytest

from conftest import free_port, wait_until, without_trace
from test_front import is_sanitized, memory_of

LINE = b"0123456789" * 7 + b"\r\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")
def test_large_bodies_reach_mailboxes_when_each_process_has_its_own_user(make_tacit):
    users = [p.pw_name for p in pwd.getpwall() if p.pw_uid and p.pw_gid][:3]
    front, keeper, back = users
    t = make_tacit(extra=f'users {{ front = "{front}"  keeper = "{keeper}"  back = "{back}" }}').start()
    t.user("add", "alice@example.test")
    content = b"Subject: large\r\n\r\n" + LINE * 3000
    with t.connect() as c:
        c.helo()
        assert c.message("s@elsewhere.example", "alice@example.test", content).startswith("250")
    assert without_trace(t.wait_mail("alice")[0]) == content
    bodies = list((t.data / "spool").glob("lane-*/body"))
    assert bodies and all(b.stat().st_mode & 0o7777 == 0o2770 for b in bodies)


def test_a_gateway_can_take_back_what_it_said_of_its_client(make_tacit):
    """What the client before was allowed must not fall to the next one in the same session."""
    t = make_tacit(mx_settings='xclient = {"127.0.0.1", "127.0.0.9"}', extra='relay { networks = {"127.0.0.9"} }')
    t.start()
    with t.connect() as c:
        c.helo()
        assert c.cmd("XCLIENT ADDR=198.51.100.8 LOGIN=alice").startswith("220")
        c.helo()
        assert c.cmd("VRFY nobody@example.test").startswith("550")
        assert c.cmd("XCLIENT ADDR=198.51.100.9 LOGIN=[UNAVAILABLE]").startswith("220")
        c.helo()
        assert c.cmd("VRFY nobody@example.test").startswith("252")
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        assert c.cmd("RCPT TO:<x@remote.example>").startswith("550 5.7.1")
    with t.connect(source="127.0.0.9") as c:  # the gateway may relay, the client that it does not know may not
        c.helo()
        assert c.cmd("VRFY nobody@example.test").startswith("550")
        assert c.cmd("XCLIENT ADDR=[UNAVAILABLE]").startswith("220")
        c.helo()
        assert c.cmd("VRFY nobody@example.test").startswith("252")


@pytest.mark.parametrize("content,answer", [(b"Subject: x\r\n\r\nx\r\n", "250 2.0.0"),
                                            (b"Subject: x\r\n\r\nbare\nline\r\n", "550 5.6.0")])
def test_lmtp_answers_for_each_of_very_many_recipients(make_tacit, content, answer):
    port, count = free_port(), 15000
    t = make_tacit(extra=f"limits {{ recipients = {count} }}",
                   extra_listen=f'listen local {{ address = "127.0.0.1:{port}"  protocol = "lmtp" }}').start()
    with t.connect(port, timeout=60) as c:
        c.cmd("LHLO x.example")
        c.cmd("MAIL FROM:<s@elsewhere.example>")
        for start in range(0, count, 500):
            c.send("".join(f"RCPT TO:<u{i}@example.test>\r\n" for i in range(start, start + 500)))
            assert all(c.reply().startswith("250") for _ in range(500))
        assert c.cmd("DATA").startswith("354")
        c.send(content + b".\r\n")
        assert all(c.reply().startswith(answer) for _ in range(count))
        assert c.cmd("NOOP").startswith("250")


def test_envelopes_of_many_sessions_share_a_ceiling(make_tacit):
    """A thousand recipients are more than half a megabyte: many sessions must not add that up without end."""
    t = make_tacit(extra_global="fronts = 1", extra='limits { memory = "2M" }').start()

    def accepted(c):
        c.helo()
        assert c.cmd("MAIL FROM:<s@elsewhere.example>").startswith("250")
        replies = []
        for start in range(0, 1000, 100):
            c.send("".join(f"RCPT TO:<{i:064d}@example.test> ORCPT=rfc822;{'y' * 490}\r\n"
                           for i in range(start, start + 100)))
            replies += [c.reply()[:9] for _ in range(100)]
        count = replies.count("250 2.1.0")
        assert replies == ["250 2.1.0"] * count + ["452 4.5.3"] * (1000 - count)
        return count

    before = memory_of(t, "front")
    clients = [t.connect() for _ in range(40)]
    counts = [accepted(c) for c in clients]
    assert counts[0] == 1000 and counts[-1] == 100
    if not is_sanitized():
        assert memory_of(t, "front") - before < 12 << 20
    assert clients[-1].cmd("DATA").startswith("354")
    clients[-1].send(b"Subject: x\r\n\r\nx\r\n.\r\n")
    assert clients[-1].reply().startswith("250")
    for c in clients:
        c.close()
    wait_until(lambda: "sessions open              0" in t.run("status").stdout)
    with t.connect() as c:
        assert accepted(c) == 1000
