"""The built program from outside, without a server: help, wrong use, check, init, the manual, and sendmail against a
server of the test's own."""
import json
import os
import socket
import subprocess
import threading

import pytest

TACIT = os.environ["TACIT"]
COMMANDS = ["init", "serve", "check", "user", "queue", "trace", "status", "spool", "sendmail", "help"]
CONF = 'hostname = "mx.example.test"\nlisten mx { address = "127.0.0.1:2525" }\ndomain "example.test" { }\n'


def run(*words, argv0=None, stdin="", **env):
    return subprocess.run([argv0 or TACIT, *words], executable=TACIT, input=stdin, capture_output=True, text=True,
                          timeout=30, env={**os.environ, **env})


def subcommands(command):
    text = run(command, "--help").stdout
    if "Commands\n" not in text:
        return []
    lines = text.split("Commands\n")[1].split("\n\n")[0].splitlines()
    return [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]


def test_every_command_and_subcommand_has_help():
    top = run("--help")
    assert top.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in top.stdout, command
        r = run(command, "--help")
        assert r.returncode == 0 and r.stdout.startswith(f"tacit {command}: ") and not r.stderr
        assert r.stdout == run("help", command).stdout
        for sub in subcommands(command):
            r = run(command, sub, "--help")
            assert r.returncode == 0 and r.stdout.startswith(f"tacit {command} {sub}: "), (command, sub)
            for line in r.stdout.splitlines():
                assert len(line) <= 80 or "Usage:" in line, line


@pytest.mark.parametrize("words,says", [
    ([], "Usage"), (["serv"], 'did you mean "serve"'), (["--config", "x"], "options follow the command"),
    (["check", "--confi"], None), (["check", "--cnofig", "x"], "did you mean --config"),
    (["check", "--json=1"], "--json takes no value"), (["check", "--config"], "--config needs a value"),
    (["check", "-c"], "-c needs a value"), (["check", "-z"], "no option -z"), (["check", "x"], "one argument too many"),
    (["check", "-c", "a", "--config", "b"], "given twice"), (["init"], "an argument is missing: DOMAIN"),
    (["user", "ad"], 'did you mean "add"'), (["user"], "Usage"), (["help", "nothing"], "no command"),
    (["init", "no domain"], "not a domain name"), (["serve", "--role", "front"], "--index"),
    (["serve", "--role", "king", "--index", "0", "--lane", "0"], "king"),
])
def test_wrong_use_is_2(words, says):
    r = run(*words)
    assert r.returncode == 2 and not r.stdout
    if says:
        assert says in r.stderr, r.stderr


def test_version():
    r = run("--version")
    assert r.returncode == 0 and r.stdout.split()[0] == "tacit"


def test_control_characters_do_not_reach_the_terminal():
    r = run("check", "--\x1b[31mred")
    assert "\x1b" not in r.stderr and "\\x1B" in r.stderr


@pytest.mark.parametrize("text,where,says", [
    ("nonsense { }", ":4", "nonsense"), ("\n\nlimits { mesage = 1M }", ":6", 'did you mean "message"'),
    ("limits {\n message = many }", ":5", "many"), ("listen x {", ":4", "never closed"),
    ('domain "example.test" { }', ":4", "found duplicate title"),
])
def test_check_names_file_and_line(tmp_path, text, where, says):
    conf = tmp_path / "t.conf"
    conf.write_text(CONF + text + "\n")
    r = run("check", "--config", str(conf))
    assert r.returncode == 1 and f"{conf}{where}: " in r.stderr and says in r.stderr, r.stderr
    assert r.stderr.count("\n") == 1 and not r.stdout
    r = run("check", "--json", "--config", str(conf))
    assert r.returncode == 1
    answer = json.loads(r.stdout)
    assert answer["ok"] is False and says in answer["error"]


def test_check(tmp_path):
    conf = tmp_path / "t.conf"
    r = run("check", "--config", str(conf))
    assert r.returncode == 1 and "tacit init" in r.stderr
    conf.write_text(CONF)
    r = run("check", TACIT_CONFIG=str(conf))
    assert r.returncode == 0 and "127.0.0.1:2525" in r.stdout and not r.stderr
    conf.write_text(CONF + 'disclosure { vrfy = "answer" }')
    r = run("check", "-c", str(conf))
    assert r.returncode == 0 and f"{conf}:4: " in r.stderr and "anybody" in r.stderr
    assert run("check", "--strict", "-c", str(conf)).returncode == 1
    answer = json.loads(run("check", "--json", "-c", str(conf)).stdout)
    assert answer["ok"] and len(answer["warnings"]) == 1 and answer["domains"] == ["example.test"]


def test_check_reads_text_files_of_who_exists(tmp_path):
    conf, users = tmp_path / "t.conf", tmp_path / "data" / "users"
    conf.write_text(CONF + 'domain "b.test" { directory = "file:users" }\n')
    assert run("check", "-c", str(conf)).returncode == 0 and not users.exists()
    users.parent.mkdir()
    users.write_text("alice@b.test mailbox\nbob\n")
    r = run("check", "-c", str(conf))
    assert r.returncode == 1 and f"domain b.test: {users}:2: " in r.stderr and not r.stdout
    answer = json.loads(run("check", "--json", "-c", str(conf)).stdout)
    assert answer["ok"] is False and f"{users}:2: " in answer["error"]
    users.write_text("alice@b.test mailbox\n")
    assert run("check", "-c", str(conf)).returncode == 0 and users.read_text() == "alice@b.test mailbox\n"


def test_init(tmp_path):
    conf = tmp_path / "deep" / "t.conf"
    r = run("init", "Exämple.TEST", "--config", str(conf), "--hostname", "MX.example.test")
    assert r.returncode == 0, r.stderr
    assert "xn--exmple-cua.test.  MX    10 mx.example.test." in r.stdout and "_dmarc.xn--exmple-cua.test." in r.stdout
    assert (tmp_path / "deep" / "data" / "directory.db").exists()
    assert (tmp_path / "deep" / "data" / "keys" / "secret").stat().st_mode & 0o777 == 0o600
    assert run("check", "--strict", "--config", str(conf)).returncode == 0
    before = conf.read_bytes()
    r = run("init", "other.test", "--config", str(conf))
    assert r.returncode == 1 and str(conf) in r.stderr and conf.read_bytes() == before
    conf.unlink()  # again over the same data: the key and the mailboxes stay
    key = (tmp_path / "deep" / "data" / "keys" / "secret").read_bytes()
    assert run("init", "xn--exmple-cua.test", "--config", str(conf)).returncode == 0
    assert (tmp_path / "deep" / "data" / "keys" / "secret").read_bytes() == key
    blocked = tmp_path / "file"
    blocked.write_text("")
    r = run("init", "a.test", "--config", str(tmp_path / "b.conf"), "--data", str(blocked / "data"))
    assert r.returncode == 1 and not (tmp_path / "b.conf").exists()
    r = run("init", "a.test", "--config", str(tmp_path / "b.conf"), "--data", 'x"y')
    assert r.returncode == 2 and not (tmp_path / "b.conf").exists()


def test_init_prints_commands_that_a_shell_takes(tmp_path):
    for name in ("plain.conf", "two words.conf", "it's $HOME `id`;#&.conf", "ä.conf"):
        conf = tmp_path / name
        r = run("init", "example.test", "--config", str(conf), "--data", str(tmp_path / "data"))
        assert r.returncode == 0, r.stderr
        add, serve = [line.strip() for line in r.stdout.splitlines() if line.startswith("  tacit ")]
        for line, words in ((add, ["user", "add", "you@example.test"]), (serve, ["serve"])):
            taken = subprocess.run(["sh", "-c", line.replace("tacit ", "printf '%s\\n' ", 1)], capture_output=True, text=True)
            assert taken.stdout.splitlines() == words + ["--config", str(conf)], line


def test_json_does_not_steer_the_terminal(tmp_path):
    conf = tmp_path / "tacit.conf"
    conf.write_text(CONF + f'data = "{tmp_path}"\n')
    r = run("contacts", "check", "-", "--json", "--config", str(conf), stdin='email\n"a\x9b2J\x7fé b"\n')
    assert "\\u009B2J\\u007Fé b" in r.stdout and not set(r.stdout) & {"\x9b", "\x7f"}, ascii(r.stdout) + r.stderr
    assert r.stdout.count("\n") == 1 and "a\x9b2J\x7fé b" in json.loads(r.stdout).values()


def test_a_table_of_strangers_addresses_does_not_steer_the_terminal(tmp_path):
    conf = tmp_path / "tacit.conf"
    conf.write_text(CONF + f'data = "{tmp_path}"\n')
    r = run("contacts", "check", "-", "--config", str(conf), stdin='email\n"a\x1b[2J\x9b2Jé b"\n')
    assert r.stdout.splitlines()[1].startswith('2,a?[2J?2Jé b,bad-address,'), r.stdout + r.stderr


def test_manual_pages_have_no_mistakes():
    for page in ["", "tacit.conf", *COMMANDS]:
        roff = run("man", *([page] if page else [])).stdout
        assert roff.startswith(".TH ") and ".SH NAME\n" in roff and ".SH SYNOPSIS" in roff or page == "tacit.conf"
        r = subprocess.run(["groff", "-man", "-Kutf8", "-Tutf8", "-ww", "-z"], input=roff, capture_output=True, text=True)
        assert r.returncode == 0 and not r.stderr, (page, r.stderr)
    broken = subprocess.run(["groff", "-man", "-ww", "-z"], input=".TH X 1\n.SH\n.nosuch\n", capture_output=True, text=True)
    assert broken.stderr  # the check can fail
    assert run("man", "nothing").returncode == 1


class Server(threading.Thread):
    """An SMTP server on data/run/submit.sock that says what `replies` has for a verb (or OK) and keeps what it heard."""

    def __init__(self, tmp_path, **replies):
        super().__init__(daemon=True)
        self.conf = tmp_path / "t.conf"
        self.conf.write_text(CONF)
        (tmp_path / "data" / "run").mkdir(parents=True, exist_ok=True)
        self.replies, self.heard, self.content, self.early = replies, [], b"", b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(tmp_path / "data" / "run" / "submit.sock"))
        self.socket.listen()
        self.start()

    def run(self):
        try:
            self.talk()
        except ConnectionError:  # the client heard enough
            pass

    def talk(self):
        connection, _ = self.socket.accept()
        connection.settimeout(0.3)
        try:
            self.early = connection.recv(100)
        except socket.timeout:
            pass
        connection.settimeout(20)
        stream = connection.makefile("rwb")

        def say(text):
            stream.write(text.encode() + b"\r\n")
            stream.flush()
        say(self.replies.get("greeting", "220-two\r\n220 lines"))
        for line in stream:
            verb = line.split()[0].decode().upper()
            self.heard.append(line.decode())
            if verb == "EHLO":
                say(self.replies.get("EHLO", "250-mx\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN"))
            elif verb == "DATA" and "DATA" not in self.replies:
                say("354 go")
                for line in stream:
                    if line == b".\r\n":
                        break
                    self.content += line
                say(self.replies.get("content", "250 2.0.0 taken"))
            elif verb == "RCPT":
                found = [v for k, v in self.replies.items() if k in line.decode()]
                say(found[0] if found else "250 ok")
            else:
                say(self.replies.get(verb, "250 ok"))
                if verb == "QUIT":
                    break
        connection.close()

    def send(self, *words, stdin="Subject: x\n\nbody\n", argv0="sendmail"):
        r = run(*words, argv0=argv0, stdin=stdin, TACIT_CONFIG=str(self.conf))
        if self.heard:
            self.join(20)
        return r


def test_sendmail_sends(tmp_path):
    s = Server(tmp_path)
    r = s.send("-f", "alice@example.test", "-N", "failure,delay", "-R", "hdrs", "-V", "id=1", "-oi", "-oem", "--",
               "bob@example.test", "Carol <carol@example.test>, bob@example.test", "root",
               stdin="Subject: ünicode\n\n.\n..x\nlast")
    assert r.returncode == 0, r.stderr
    assert s.early == b"" and s.heard[0].startswith("EHLO mx.example.test")
    assert s.heard[1].split()[:2] == ["MAIL", "FROM:<alice@example.test>"]
    assert {"SMTPUTF8", "BODY=8BITMIME", "RET=HDRS", "ENVID=id+3D1"} <= set(s.heard[1].split())
    assert [h.split()[1] for h in s.heard if h.startswith("RCPT")] == [
        "TO:<bob@example.test>", "TO:<carol@example.test>", "TO:<root@example.test>"]
    assert "NOTIFY=failure,delay" in s.heard[2]
    head, body = s.content.split(b"\r\n\r\n", 1)
    assert body == b"..\r\n...x\r\nlast\r\n"
    assert b"From: <alice@example.test>" in head and b"Date: " in head


def test_sendmail_t(tmp_path):
    s = Server(tmp_path)
    r = s.send("-t", "-f", "", "also@example.test",
               stdin="From: a@b.test\nTo: \"B, b\" <b@b.test>\nCc: list: c@b.test, d@b.test;\nBcc: e@b.test\n\n.\nnot sent\n")
    assert r.returncode == 0, r.stderr
    assert s.heard[1].startswith("MAIL FROM:<> ")
    assert sorted(h.split()[1] for h in s.heard if h.startswith("RCPT")) == sorted(
        f"TO:<{x}>" for x in ["also@example.test", "b@b.test", "c@b.test", "d@b.test", "e@b.test"])
    assert b"e@b.test" not in s.content and b"not sent" not in s.content


@pytest.mark.parametrize("replies,status,says", [
    ({"ghost": "550 5.1.1 no such mailbox"}, 67, "550 5.1.1"), ({"ghost": "451 4.3.0 later"}, 75, "451"),
    ({"MAIL": "552 5.3.4 too large"}, 69, "552"), ({"DATA": "554 5.5.1 no"}, 69, "554"),
    ({"content": "451 4.3.0 disk"}, 75, "451"), ({"content": "550 5.6.0 bare CR"}, 69, "5.6.0"),
    ({"greeting": "421 4.3.2 full"}, 75, "421"), ({"greeting": "nonsense"}, 69, "not SMTP"),
    ({"EHLO": "250-" + "x" * 100000}, 75, "too long"),
])
def test_sendmail_refused(tmp_path, replies, status, says):
    s = Server(tmp_path, **replies)
    r = s.send("-f", "a@b.test", "bob@example.test", "ghost@example.test")
    assert r.returncode == status and says in r.stderr and "nothing was sent" in r.stderr, (r.returncode, r.stderr)
    if "ghost" in replies:
        assert not any(h.startswith("DATA") for h in s.heard)


def test_sendmail_wrong_use_and_no_server(tmp_path):
    conf = tmp_path / "t.conf"
    assert run("x@y.test", argv0="sendmail", TACIT_CONFIG=str(conf)).returncode == 78
    conf.write_text(CONF)

    def send(*words, stdin="x\n"):
        return run(*words, argv0="/usr/sbin/sendmail", stdin=stdin, TACIT_CONFIG=str(conf))
    r = send("-f", "a@b.test", "x@y.test")
    assert r.returncode == 75 and "not running" in r.stderr
    assert send().returncode == 64
    assert send("-t").returncode == 65
    assert send("no address@").returncode == 65
    assert send("-f", "no address@", "x@y.test").returncode == 64
    assert send("-N", "x\r\nDATA", "x@y.test").returncode == 64
    assert send("-bd").returncode == 64 and send("-Z").returncode == 64
    assert send("-bi").returncode == 0 and send("-q30m").returncode == 0
    assert run(argv0="newaliases").returncode == 0
    r = run(argv0="mailq", TACIT_CONFIG=str(conf))
    assert r.returncode == 1 and "not running" in r.stderr
    conf.write_text(CONF + 'limits { message = "64K" }')
    r = send("-f", "a@b.test", "x@y.test", stdin="x" * 65537)
    assert r.returncode == 65 and "65536" in r.stderr


def test_sendmail_speaks(tmp_path):
    s = Server(tmp_path)
    r = s.send("-bs", stdin="NOOP\r\nMAIL FROM:<a@b.test>\r\nQUIT\r\n")
    assert r.returncode == 0 and s.early == b""
    assert [h.split()[0] for h in s.heard] == ["NOOP", "MAIL", "QUIT"]
    assert r.stdout.startswith("220-two\n") and r.stdout.count("250 ok") == 3


def test_every_command_shows_examples():
    for command in COMMANDS:
        text = run(command, "--help").stdout
        if command != "help":
            examples = text.split("\nExamples\n")[1].split("\n\n")[0]
            assert f"tacit {command}" in examples, command
            assert f"tacit {command}" in run("man", command).stdout.split("EXAMPLES\n")[1], command
    assert "help" not in run("man").stdout.split("COMMANDS")[1]  # it has no page


def test_serve_without_a_configuration_says_what_to_do(tmp_path):
    r = run("serve", "--config", str(tmp_path / "none.conf"))
    assert r.returncode == 1 and "none.conf" in r.stderr and "tacit init" in r.stderr and not r.stdout


def test_user_says_what_it_did_and_lists_for_people(tmp_path):
    conf = tmp_path / "tacit.conf"
    conf.write_text(CONF)

    def user(*words, stdin=""):
        return run("user", *words, "--config", str(conf), stdin=stdin).stdout

    assert user("list") == "0 addresses\n"
    assert user("add", "alice@example.test", "--quota", "1G") == "added mailbox alice@example.test\n"
    assert user("change", "alice@example.test", "--quota", "1536M") == "changed mailbox alice@example.test\n"
    assert user("disable", "alice@example.test") == "disabled mailbox alice@example.test\n"
    assert user("password", "alice@example.test", stdin="x\n") == "set the password of mailbox alice@example.test\n"
    header, row, count = user("list").splitlines()
    assert header.split() == ["ADDRESS", "KIND", "MORE"] and header.index("KIND") == row.index("mailbox")
    assert "quota 1.5G" in row and "disabled" in row and count == "1 address"
    assert user("add", "jürgen@example.test") == "added mailbox jürgen@example.test\n"
    assert header.index("KIND") == user("list").splitlines()[2].index("mailbox")
    r = run("user", "change", "alice@example.test", "--config", str(conf))
    assert r.returncode == 2 and "say what is to change" in r.stderr and not r.stdout
    team = ("--alias-of", "alice@example.test", "--alias-of", "alcie@example.test", "--alias-of", "x@elsewhere.test")
    r = run("user", "add", "team@example.test", *team, "--config", str(conf))
    assert r.returncode == 0 and r.stderr == "warning: alcie@example.test does not exist\n", r
    r = run("user", "change", "team@example.test", "--member", "postmaster@example.test", "--config", str(conf))
    assert r.stderr == "warning: alcie@example.test does not exist\n", r
    assert user("enable", "alice@example.test") == "enabled mailbox alice@example.test\n"
    assert user("move", "alice@example.test", "a@b.example", "--reply", "hide") == "moved alice@example.test\n"
    assert user("remove", "alice@example.test") == "removed moved alice@example.test\n"


@pytest.mark.parametrize("words,says", [
    (["list", "--state", "foo"], "--state must be queued"), (["hold"], "--all"), (["show"], "by a filter"),
    (["list", "--larger", "big"], "--larger must be a size"), (["reroute", "--all"], "--via mx"),
    (["list", "--domain", ""], "--domain must not be empty"), (["remove"], "--all"),
    (["release", "--to", "a@b.example"], "--all"), (["list", "--older", "soon"], "such as 30m")])
def test_wrong_use_of_the_queue_is_2_without_a_server_too(tmp_path, words, says):
    conf = tmp_path / "tacit.conf"
    conf.write_text(CONF)
    r = run("queue", *words, "--config", str(conf))
    assert r.returncode == 2 and says in r.stderr, r.stderr


def test_a_directory_that_is_no_lane_is_not_found_good(tmp_path):
    for words in ("verify", "dump"):
        r = run("spool", words, str(tmp_path))
        assert r.returncode == 1 and "is not a lane" in r.stderr and not r.stdout
