"""tacit trace on logs made by hand: what belongs together is told together, in the order of time, and a client that
writes like a log line forges nothing."""
import json
import os
import subprocess

import pytest

TACIT = os.environ["TACIT"]
ID1, ID2, ID3, ID4, REPORT = "6gzvqrmpm0g00", "6gzvqrmqc0g00", "6gzvqrmr00g00", "6gzvqrms00g00", "6gzvqs02w0000"


def text_line(second, kind, **keys):
    def quoted(value):
        value = str(value)
        return value if value and not set(value) & set(' "=\\\n') else json.dumps(value)
    return f"2026-11-21T10:00:{second:02}.000Z info {kind} " + " ".join(f"{k}={quoted(v)}" for k, v in keys.items())


def json_line(second, kind, **keys):
    return json.dumps({"time": f"2026-11-21T10:00:{second:02}.000Z", "level": "info", "kind": kind, **keys})


@pytest.fixture(params=[text_line, json_line], ids=["text", "json"])
def trace(request, tmp_path):
    line = request.param
    (tmp_path / "log").mkdir()
    (tmp_path / "tacit.conf").write_text('hostname = "mx.example.test"\ndata = "."\n'
                                         'listen mx { address = "127.0.0.1:2525" }\ndomain "example.test" { }\n')
    older = [
        line(1, "transaction", session="s1", id=ID1, client="192.0.2.1", **{"from": "<a@far.test>"},
             to="<alice@example.test>", result="accepted", code=250),
        line(3, "session", session="s1", client="192.0.2.1", helo='x" kind=attempt id=' + ID2, messages=2),
        line(2, "transaction", session="s1", id=ID2, client="192.0.2.1", **{"from": "<b@far.test>"},
             to="<bob@example.test>", result="accepted", code=250),
    ]
    newer = [
        line(5, "attempt", id=ID1, **{"from": "a@far.test"}, rcpt="alice@example.test", result="delivered"),
        line(6, "attempt", id=ID2, **{"from": "b@far.test"}, rcpt="bob@example.test", result="failed", status="5.2.1"),
        line(7, "report", id=REPORT, to="b@far.test", reason=f"failure of {ID2}"),
        line(8, "attempt", id=REPORT, **{"from": ""}, rcpt="b@far.test", result="waiting"),
        line(9, "session", session="s2", client="192.0.2.10", reason="refused"),
        line(9, "attempt", id=ID3, **{"from": "c@far.test"}, rcpt="malice@example.test", result="delivered"),
        line(10, "attempt", id=ID4, **{"from": "c@far.test"}, rcpt="dave@example.net", attempt=2, result="deferred",
             status="4.7.1", remote="mx.example.net", address="192.0.2.25", code=450,
             reply="450-4.7.1 Greylisted\n4.7.1 come back \x1b[2Jlater"),
        line(11, "attempt", id=ID4, **{"from": "c@far.test"}, rcpt="erin@example.net", attempt=2, result="deferred",
             status="4.4.1", remote="mx.example.net", address="192.0.2.25", reason="no connection to the server"),
        line(12, "attempt", id=ID4, **{"from": "c@far.test"}, rcpt="frank@example.net", attempt=2, result="delivered",
             status="2.0.0", remote="mx.example.net", address="192.0.2.25", code=250, reply="250 2.0.0 Ok"),
        line(13, "attempt", id=ID4, **{"from": "c@far.test"}, rcpt="dave@example.net", attempt=3, result="deferred",
             status="4.7.1", remote="mx.example.net", address="192.0.2.25", code=450,
             reply="450-4.7.1 Greylisted\n4.7.1 come back \x1b[2Jlater"),
        json.dumps({"time": "2026-11-21T10:00:14.000Z\x1b[2J", "level": "info", "kind": "se\x1b[2Jt", "session": "s3",
                    "client": "192.0.2.66", "result": "\x1b[2J", "k\x1b[2J": 1}),
        "", "torn line without", '{"torn', "2026 =", 'x y z a="unclosed',
    ]
    (tmp_path / "log" / "tacit.log.1").write_text("\n".join(older) + "\n")
    (tmp_path / "log" / "tacit.log").write_text("\n".join(newer))

    def run(what):
        r = subprocess.run([TACIT, "trace", what, "--json", "--config", tmp_path / "tacit.conf"], capture_output=True,
                           text=True, timeout=30)
        rows = [json.loads(row) for row in r.stdout.splitlines()]
        assert rows == sorted(rows, key=lambda row: row["time"])
        plain = subprocess.run([TACIT, "trace", what, "--config", tmp_path / "tacit.conf"], capture_output=True,
                               text=True, timeout=30)
        told = [line for line in plain.stdout.splitlines() if not line.startswith(" ")]
        assert len(told) == len(rows) and plain.returncode == r.returncode
        run.text = plain.stdout
        return r.returncode, [(row["kind"], row.get("id") or row.get("session")) for row in rows]
    return run


def test_a_message(trace):
    assert trace(ID1) == (0, [("transaction", ID1), ("session", "s1"), ("attempt", ID1)])


def test_a_message_and_the_report_about_it(trace):
    assert trace(ID2) == (0, [("transaction", ID2), ("session", "s1"), ("attempt", ID2), ("report", REPORT),
                              ("attempt", REPORT)])


def test_an_address_is_matched_whole(trace):
    assert trace("alice@example.test") == (0, [("transaction", ID1), ("session", "s1"), ("attempt", ID1)])
    assert trace("malice@example.test") == (0, [("attempt", ID3)])


def test_a_client_with_all_it_brought(trace):
    assert [row for _, row in trace("192.0.2.1")[1]] == [ID1, ID2, "s1", ID1, ID2, REPORT, REPORT]
    assert trace("192.0.2.10") == (0, [("session", "s2")])


def test_nothing(trace):
    assert trace("nobody@example.test") == (1, [])


def test_the_words_of_other_servers_and_what_they_mean(trace):
    assert trace(ID4)[1] == [("attempt", ID4)] * 4
    deferred, unreached, delivered, again = trace.text.split("2026-11-21T10:00:")[1:]
    assert "to dave@example.net  4.7.1" in deferred
    assert "mx.example.net [192.0.2.25] said:\n          450-4.7.1 Greylisted\n          4.7.1 come back \\x1B[2Jlater\n" in deferred
    assert "that means: The server puts off every first message" in deferred
    assert "no connection to the server" in unreached and "mx.example.net [192.0.2.25] gave no answer\n" in unreached
    assert "that means: The receiving host did not answer" in unreached
    assert "          250 2.0.0 Ok\n" in delivered and "means" not in delivered
    assert again.endswith("        the same answer again\n")


def test_a_role_in_wrong_hands_does_not_steer_the_terminal(trace):
    assert trace("192.0.2.66")[0] == 0
    assert "\x1b" not in trace.text and trace.text.count("\\x1B[2J") == 4
