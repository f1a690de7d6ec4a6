"""tacit pipe: mail to programs. Most of it is asked of its socket by Python's client of LMTP; in the end a server delivers
there, and its reports and retries are looked at."""
import os
import pwd
import resource
import signal
import smtplib
import socket
import subprocess
import time
from pathlib import Path

import pytest

from conftest import PATIENCE, SANITIZER, TACIT, Tacit, wait_until


class Pipe:
    def __init__(self, directory, script, *arguments, options=(), **popen):
        self.dir = Path(directory)
        self.socket = self.dir / "pipe.sock"
        self.program = self.dir / "program"
        self.program.write_text("#!/bin/sh\n" + script)
        self.program.chmod(0o755)
        self.log_path = self.dir / "pipe.log"
        self.log_file = open(self.log_path, "wb")
        self.process = subprocess.Popen([TACIT, "pipe", *options, str(self.socket), "--", str(self.program), *arguments],
                                        stdin=subprocess.DEVNULL, stdout=self.log_file, stderr=self.log_file,
                                        cwd=self.dir, **popen)
        wait_until(lambda: b"ready:" in self.log_path.read_bytes() or self.process.poll() is not None, 10 * PATIENCE)
        assert self.process.poll() is None, self.log()

    def log(self):
        return self.log_path.read_text()

    def client(self):
        return smtplib.LMTP(str(self.socket))

    def send(self, *recipients, **more):
        return send_to(self.socket, *recipients, **more)

    def session_is_told_to_stop(self):
        pid = self.process.pid
        session = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        pending = Path(f"/proc/{session}/status").read_text().split("ShdPnd:")[1].split()[0]
        return int(pending, 16) >> signal.SIGTERM - 1 & 1

    def stop(self):
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30 * PATIENCE)
        self.log_file.close()
        assert not SANITIZER.search(self.log()), self.log()
        return status


def send_to(path, *recipients, sender="alice@example.org", content=b"Subject: a test\r\n\r\nhello\r\n"):
    """What was answered for each recipient, "250 2.0.0 …"."""
    with smtplib.LMTP(str(path)) as c:
        send_with(c, recipients, sender, content)
        replies = [c.getreply() for _ in recipients]
    return [f"{code} {text.decode()}" for code, text in replies]


def send_with(c, recipients, sender="alice@example.org", content=b"Subject: a test\r\n\r\nhello\r\n"):
    """The replies to the message are not read."""
    c.ehlo_or_helo_if_needed()
    assert c.mail(sender)[0] == 250
    for r in recipients:
        code, text = c.rcpt(r)
        assert code == 250, text
    assert c.docmd("DATA")[0] == 354
    c.send(b"\r\n".join(b"." + line if line.startswith(b".") else line for line in content.split(b"\r\n")))
    c.send(b".\r\n")


@pytest.fixture
def make_pipe(tmp_path):
    made = []

    def make(*args, **more):
        made.append(Pipe(tmp_path, *args, **more))
        return made[-1]

    tmp_path.chmod(0o777)
    for above in tmp_path.parents:
        if above.stat().st_uid == os.getuid() and not above.stat().st_mode & 1:
            above.chmod(above.stat().st_mode | 0o011)
    yield make
    for p in made:
        assert p.stop() == 0, p.log()


def test_the_program_gets_the_message(make_pipe, tmp_path):
    p = make_pipe('cat > "$1.mail"; shift; printf "%s\\n" "$@" > words; env > environment\n'
                  '(ls /proc/$$/fd > descriptors)\n',
                  "{local}", "to={recipient}", "{sender}", "{domain}", "{}", "{", "x{local}y{local}")
    content = b"Subject: a test\r\n\r\nhello\r\n.dots\r\n..\r\nbare \xc3\xa9\r\n"
    assert p.send("bob@example.net", content=content) == [f"250 2.0.0 program: took the message"]
    assert (tmp_path / "bob.mail").read_bytes() == (b"Return-Path: <alice@example.org>\nDelivered-To: bob@example.net\n"
                                                    + content.replace(b"\r\n", b"\n"))
    assert (tmp_path / "words").read_text().splitlines() == ["to=bob@example.net", "alice@example.org", "example.net", "{}",
                                                             "{", "xbobybob"]
    environment = (tmp_path / "environment").read_text().splitlines()
    assert {"RECIPIENT=bob@example.net", "LOCAL=bob", "DOMAIN=example.net", "SENDER=alice@example.org",
            "ORIGINAL_RECIPIENT="} <= set(environment)
    assert set((tmp_path / "descriptors").read_text().split()) <= {"0", "1", "2", "10"}  # 10: the script itself
    assert "result=delivered" in p.log() and "rcpt=bob@example.net" in p.log()
    assert p.send("carol@example.net", sender="") == ["250 2.0.0 program: took the message"]
    assert (tmp_path / "carol.mail").read_bytes().startswith(b"Return-Path: <>\n")


def test_each_recipient_is_a_run(make_pipe, tmp_path):
    p = make_pipe('case $LOCAL in\n'
                  'data) exit 65;; nouser) echo "there is no such customer"; exit 67;; nohost) exit 68;;\n'
                  'busy) exit 75;; slip) exit 64;; unknown) exit 3;; killed) kill -9 $$;; away) exit 69;;\n'
                  'qmail) exit 100;; denied) printf "one\\n\\033[31mtwo\\377\\n" >&2; exit 77;; esac\n')
    names = ["data", "nouser", "nohost", "busy", "fine", "slip", "unknown", "killed", "away", "qmail", "denied"]
    assert p.send(*(f"{n}@example.net" for n in names)) == [
        "554 5.6.0 program: it cannot do anything with this message",
        "550 5.1.1 program: it knows no such user; it says: there is no such customer",
        "550 5.1.2 program: it knows no such host",
        "451 4.3.0 program: ended with status 75",
        "250 2.0.0 program: took the message",
        "451 4.3.0 program: ended with status 64",
        "451 4.3.0 program: ended with status 3",
        "451 4.3.0 program: was killed by signal 9",
        "554 5.3.0 program: it does not take this message",
        "554 5.3.0 program: it does not take this message",
        "550 5.7.1 program: this message is not permitted; it says: one ?[31mtwo?",
    ]


def test_hostile_addresses_are_words(make_pipe, tmp_path):
    p = make_pipe('printf "%s\\n" "$@" "$LOCAL" > words\n', "{local}", "--to={local}")
    with p.client() as c:
        c.ehlo_or_helo_if_needed()
        c.mail("a@example.org")
        assert c.docmd("RCPT TO:<-rf@example.net>") == (553, b"5.1.3 The program would take this address for an option")
    assert p.send('"$(touch pwned); `touch pwned` {sender} \'\\"*"@example.net')[0].startswith("250")
    word = "$(touch pwned); `touch pwned` {sender} '\"*"
    assert (tmp_path / "words").read_text().splitlines() == [word, "--to=" + word, word]
    assert not (tmp_path / "pwned").exists()


def test_a_program_need_not_read_and_may_say_much(make_pipe, tmp_path):
    p = make_pipe('[ $LOCAL = lazy ] && exit 0\n[ $LOCAL = closing ] && { exec 0<&-; sleep 0.2; exit 0; }\n'
                  '[ $LOCAL = loud ] && { head -c 3000000 /dev/zero | tr "\\0" x; wc -c >&2; exit 75; }\n'
                  'wc -c > size\n')
    content = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 300000
    replies = p.send("lazy@example.net", "closing@example.net", "loud@example.net", "whole@example.net", content=content)
    assert [r[:9] for r in replies] == ["250 2.0.0", "250 2.0.0", "451 4.3.0", "250 2.0.0"]
    assert 200 < len(replies[2]) < 450
    head = len("Return-Path: <alice@example.org>\nDelivered-To: whole@example.net\n")
    assert int((tmp_path / "size").read_text()) == head + len(content.replace(b"\r\n", b"\n"))


def test_one_that_takes_too_long_is_ended_with_its_children(make_pipe, tmp_path):
    p = make_pipe('[ $LOCAL = talker ] && exec yes\n[ $LOCAL = deaf ] && trap "" TERM\nsleep 1000 & echo $! > $LOCAL.child; echo $$ > $LOCAL.pid; wait; sleep 1000\n',
                  options=["--timeout", "1s"])
    assert p.send("slow@example.net", "deaf@example.net") == ["451 4.3.0 program: took more than 1 s and was killed"] * 2
    assert p.send("talker@example.net")[0].startswith("451 4.3.0 program: took more than 1 s and was killed; it says: y y ")
    for name in ("slow.child", "slow.pid", "deaf.child", "deaf.pid"):
        pid = int((tmp_path / name).read_text())
        wait_until(lambda: not is_running(pid), 10 * PATIENCE)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except OSError:
        return False


def test_what_goes_on_in_the_background_is_not_waited_for(make_pipe, tmp_path):
    p = make_pipe("cat > /dev/null; sleep 1000 &\necho $! > child\n")
    began = time.monotonic()
    assert p.send("bob@example.net")[0].startswith("250")
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert time.monotonic() - began < 100


def test_a_program_that_is_gone(make_pipe, tmp_path):
    p = make_pipe("exit 0\n")
    p.program.rename(tmp_path / "elsewhere")
    assert p.send("bob@example.net") == ["451 4.3.5 program: it cannot be started: No such file or directory"]
    (tmp_path / "elsewhere").rename(p.program)
    assert p.send("bob@example.net") == ["250 2.0.0 program: took the message"]


def test_a_large_message_is_refused(make_pipe):
    p = make_pipe("exit 0\n", options=["--size", "64K"])
    with p.client() as c:
        c.ehlo_or_helo_if_needed()
        assert c.esmtp_features["size"] == "65536"
        assert c.docmd("MAIL FROM:<a@example.org> SIZE=100000")[0] == 552


def test_whoever_is_not_named_is_refused(make_pipe):
    if os.getuid() != 0:
        pytest.skip("needs root to be somebody else")
    p = make_pipe("exit 0\n", options=["--from", "nobody"])
    ask = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(100).decode()[:3])")

    def asked_by(user):
        return subprocess.run(["/usr/bin/python3", "-c", ask, str(p.socket)], user=user, capture_output=True,
                              text=True).stdout.strip()

    assert asked_by(pwd.getpwnam("nobody").pw_uid) == "220"
    assert asked_by(0) == "220"
    assert asked_by(60605) == "554"
    wait_until(lambda: "a connection of user 60605 was refused" in p.log(), 10 * PATIENCE)


def test_no_more_programs_at_once_than_wanted(make_pipe, tmp_path):
    p = make_pipe('mkdir running || touch two; sleep 0.3; rmdir running\n', options=["--at-once", "1"])
    first, second = p.client(), socket.socket(socket.AF_UNIX)
    first.ehlo_or_helo_if_needed()
    second.connect(str(p.socket))
    second.settimeout(0.5)
    with pytest.raises(TimeoutError):
        second.recv(100)
    first.quit()
    second.settimeout(20 * PATIENCE)
    assert second.recv(100).startswith(b"220")
    second.close()
    assert not (tmp_path / "two").exists()


def test_a_stop_lets_the_program_end(make_pipe, tmp_path):
    p = make_pipe("touch began; sleep 1; cat > done\n")
    idle = p.client()
    idle.ehlo_or_helo_if_needed()
    with p.client() as c:
        c.ehlo_or_helo_if_needed()
        c.mail("a@example.org")
        c.rcpt("bob@example.net")
        c.docmd("DATA")
        c.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        wait_until((tmp_path / "began").exists)
        p.process.send_signal(signal.SIGTERM)
        assert c.getreply()[0] == 250
        assert c.getreply()[0] == 421
    assert idle.getreply()[0] == 421
    assert (tmp_path / "done").exists()
    assert p.stop() == 0 and not p.socket.exists()


def test_a_stop_begins_no_further_run(make_pipe, tmp_path):
    p = make_pipe("touch began.$LOCAL; while [ ! -e go ]; do sleep 0.05; done\n")
    with p.client() as c:
        send_with(c, ["one@example.net", "two@example.net", "three@example.net"])
        wait_until((tmp_path / "began.one").exists, 10 * PATIENCE)
        p.process.send_signal(signal.SIGTERM)
        wait_until(p.session_is_told_to_stop, 10 * PATIENCE)
        (tmp_path / "go").touch()
        assert [c.getreply() for _ in range(4)] == [
            (250, b"2.0.0 program: took the message"), (451, b"4.3.2 This service stops"),
            (451, b"4.3.2 This service stops"), (421, b"4.3.2 This service stops")]
    assert p.stop() == 0
    assert [f.name for f in tmp_path.glob("began.*")] == ["began.one"]


def test_a_stop_leaves_the_socket_of_the_next(make_pipe):
    first = make_pipe("exit 0\n")
    first.socket.unlink()
    second = make_pipe("exit 0\n")
    assert first.stop() == 0
    assert second.send("bob@example.net") == ["250 2.0.0 program: took the message"]


def test_a_flood_of_strangers_neither_keeps_it_from_stopping_nor_fills_its_log(make_pipe):
    if os.getuid() != 0:
        pytest.skip("needs root to be somebody else")
    p = make_pipe("exit 0\n")
    connect = ("import socket, sys\nwhile True:\n    with socket.socket(socket.AF_UNIX) as s:\n"
               "        try: s.connect(sys.argv[1])\n        except OSError: pass\n")
    flood = [subprocess.Popen(["/usr/bin/python3", "-c", connect, str(p.socket)], user=60601) for _ in range(3)]
    try:
        wait_until(lambda: "was refused" in p.log(), 20 * PATIENCE)
        time.sleep(0.5)
        p.process.send_signal(signal.SIGTERM)
        assert p.process.wait(10 * PATIENCE) == 0
    finally:
        for f in flood:
            f.kill()
            f.wait()
    assert p.log().count("was refused") < 10


def test_no_room_for_a_message(make_pipe, tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

    p = make_pipe("touch ran.$LOCAL\n", preexec_fn=limit)
    with p.client() as c:
        send_with(c, ["large@example.net"], content=b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 50000)
        assert c.getreply() == (452, b"4.3.1 There is no room for the message")
        send_with(c, ["small@example.net"])
        assert c.getreply()[0] == 250
    assert [f.name for f in tmp_path.glob("ran.*")] == ["ran.small"]


def test_its_standard_error_is_closed(tmp_path):
    """What it opens must not take the number to which it writes its log."""
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ncat > "$LOCAL.mail"\n')
    program.chmod(0o755)
    path = tmp_path / "pipe.sock"
    process = subprocess.Popen(["/bin/sh", "-c", 'exec "$0" pipe "$1" -- "$2" 2>&-', TACIT, str(path), str(program)],
                               cwd=tmp_path)
    try:
        wait_until(path.exists, 10 * PATIENCE)
        assert send_to(path, "one@x.example", "two@x.example") == ["250 2.0.0 program: took the message"] * 2
        assert ((tmp_path / "two.mail").read_bytes() == b"Return-Path: <alice@example.org>\nDelivered-To: two@x.example\n"
                                                        b"Subject: a test\n\nhello\n")
    finally:
        process.terminate()
        process.wait()


def test_a_word_too_large_to_fill_in_is_no_fault_of_the_address(make_pipe):
    p = make_pipe("exit 0\n", "{local}" * 250)
    assert p.send("l" * 64 + "@example.net") == ["451 4.3.0 out of memory"]


@pytest.mark.parametrize("arguments, words", [
    (["relative.sock", "--", "/bin/true"], "whole path"),
    (["/nowhere/x.sock", "--", "/bin/true"], "/nowhere/x.sock"),
    (["{dir}/x.sock", "--", "true"], "whole path"),
    (["{dir}/x.sock", "--", "/no/such/program"], "/no/such/program cannot be run: No such file"),
    (["{dir}/x.sock", "--", "/bin/echo", "{locla}"], "{locla}"),
    (["--timeout", "10m", "{dir}/x.sock", "--", "/bin/true"], "between 1s and 9m"),
    (["--at-once", "0", "{dir}/x.sock", "--", "/bin/true"], "between 1 and 200"),
    (["--size", "1", "{dir}/x.sock", "--", "/bin/true"], "between 64K and 1T"),
    (["--from", "no-such-user", "{dir}/x.sock", "--", "/bin/true"], "no-such-user"),
    (["{dir}/" + "x" * 200, "--", "/bin/true"], "too long"),
])
def test_slips(tmp_path, arguments, words):
    arguments = [a.replace("{dir}", str(tmp_path)) for a in arguments]
    r = subprocess.run([TACIT, "pipe", *arguments], capture_output=True, text=True, timeout=20 * PATIENCE)
    assert r.returncode in (1, 2) and words in r.stderr, r.stderr


def test_a_server_delivers_to_it(make_pipe, tmp_path):
    """What is refused is reported, what fails for now is tried again, also where nobody takes it for a while."""
    p = make_pipe('case $LOCAL in lost) echo "the words of the program"; exit 67;; later) [ -e now ] || exit 75;; esac\n'
                  'cat > "$LOCAL.new" && mv "$LOCAL.new" "$LOCAL.mail"\n',
                  options=["--from", "nobody", "--from", str(60605)])
    server = Tacit(tmp_path, extra=f'domain "tickets.example" {{ deliver = "lmtp:unix:{p.socket}" }}\n'
                                   f'route "away.example" {{ via = "lmtp:unix:{p.socket}" }}\n'
                                   'queue { retry = {"300ms"}  local_retry = {"300ms"} }\nrelay { networks = {"127.0.0.1"} }')
    try:
        server.start()
        server.user("add", "alice@example.test")
        for name in ("new", "lost", "later"):
            server.user("add", f"{name}@tickets.example")
        server.user("add", "support@example.test", "--alias-of", "new@tickets.example")

        def send(name):
            with smtplib.SMTP("127.0.0.1", server.mx) as c:
                c.sendmail("alice@example.test", [name], f"Subject: a test\r\n\r\nhello\r\n")

        for name in ("support@example.test", "lost@tickets.example", "later@tickets.example"):
            send(name)
        wait_until((tmp_path / "new.mail").exists, 20 * PATIENCE)
        inbox = server.maildir("alice") / "new"
        wait_until(lambda: inbox.is_dir() and any(inbox.iterdir()), 20 * PATIENCE)
        report = next(inbox.iterdir())
        assert "Status: 5.1.1" in report.read_text() and "the words of the program" not in report.read_text()
        report.unlink()
        send("lost@away.example")
        wait_until(lambda: any(inbox.iterdir()), 20 * PATIENCE)
        text = next(inbox.iterdir()).read_text()
        assert "Status: 5.1.1" in text and "the words of the program" in text and "Remote-MTA: dns; mx.example.test\n" in text
        wait_until(lambda: "ended with status 75" in p.log(), 20 * PATIENCE)
        (tmp_path / "now").touch()
        wait_until((tmp_path / "later.mail").exists, 60 * PATIENCE)
        text = (tmp_path / "later.mail").read_text()
        assert text.startswith("Return-Path: <alice@example.test>\nDelivered-To: later@tickets.example\nReceived: ")
        assert text.count("Return-Path:") == 1
    finally:
        server.stop()
        server.check_log()
