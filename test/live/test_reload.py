"""Starting, reloading and stopping."""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import TACIT, free_port, wait_until
from sending import World


def test_the_ready_line_names_every_address(tacit):
    ready = [line for line in tacit.log().splitlines() if "ready: listening" in line][0]
    assert f"127.0.0.1:{tacit.mx}" in ready and f"127.0.0.1:{tacit.submit}" in ready


def test_reload_takes_a_good_file(tacit):
    port = free_port()
    tacit.write_config(disclosure='vrfy = "502"', extra_listen=f'listen more {{ address = "127.0.0.1:{port}" }}')
    with tacit.connect() as old:
        old.helo()
        assert old.cmd("MAIL FROM:<s@elsewhere.example>").startswith("250")
        assert old.cmd("RCPT TO:<alice@example.test>").startswith("250")
        tacit.reload()

        def reloaded():
            try:
                with tacit.connect(port) as c:
                    return "VRFY" not in c.helo()
            except OSError:
                return False
        wait_until(reloaded, 10)
        assert old.cmd("DATA").startswith("354")
        old.send("Subject: over the reload\r\n\r\nx\r\n.\r\n")
        assert old.reply().startswith("250")
    tacit.wait_mail("alice")
    wait_until(lambda: "reloaded:" in tacit.log())
    with tacit.connect() as c:
        c.helo()
        assert c.cmd("VRFY alice").startswith("502")
        assert c.message("s@elsewhere.example", "alice@example.test").startswith("250")
    tacit.wait_mail("alice", 2)


@pytest.mark.parametrize("bad,word", [('nonsense { x = 1 }', "nonsense"), ('limits { message = "many" }', "message"),
                                      ('limits { mesage = "1M" }', "mesage"), ('disclosure { vrfy = "253" }', "vrfy"),
                                      ('domain "example.test" { }', "example.test"), ("listen broken {", "tacit.conf")])
def test_reload_keeps_the_old_file_when_the_new_one_is_bad(tacit, bad, word):
    before = tacit.log()
    good = tacit.conf.read_text()
    tacit.conf.write_text(good + "\n" + bad + "\n")
    result = tacit.run("check", check=False)
    assert result.returncode == 1 and "tacit.conf:" in result.stderr and word in result.stderr, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    tacit.reload()
    wait_until(lambda: word in tacit.log()[len(before):], 5)
    with tacit.connect() as c:
        c.helo()
        assert c.message("s@elsewhere.example", "alice@example.test").startswith("250")


def test_a_server_that_cannot_start_says_why_in_one_line(tacit, make_tacit, tmp_path):
    def fails(t):
        r = subprocess.run([TACIT, "serve", "--config", str(t.conf)], capture_output=True, text=True, timeout=30)
        assert r.returncode == 1, r
        lines = [line for line in r.stderr.splitlines() if line.strip()]
        assert len(lines) <= 2, r.stderr
        return r.stderr

    other = make_tacit()
    other.mx = tacit.mx
    other.write_config()
    error = fails(other)
    assert str(tacit.mx) in error and "in use" in error.lower(), error
    same = make_tacit()
    same.conf.write_text(tacit.conf.read_text().replace('"data"', f'"{tacit.data}"').replace(
        str(tacit.mx), str(free_port())).replace(str(tacit.submit), str(free_port())))
    assert str(tacit.data) in fails(same)
    r = subprocess.run([TACIT, "serve", "--config", str(tmp_path / "none.conf")], capture_output=True, text=True)
    assert r.returncode == 1 and "none.conf" in r.stderr
    with tacit.connect() as c:
        assert c.helo()


def test_sigterm_lets_an_open_transaction_finish(make_tacit):
    t = make_tacit().start()
    t.user("add", "alice@example.test")
    idle, busy = t.connect(), t.connect()
    idle.helo()
    busy.helo()
    busy.cmd("MAIL FROM:<s@elsewhere.example>")
    busy.cmd("RCPT TO:<alice@example.test>")
    assert busy.cmd("DATA").startswith("354")
    busy.send("Subject: last\r\n\r\n")
    t.process.send_signal(signal.SIGTERM)
    assert idle.reply().startswith("421 4.3.2")
    time.sleep(0.3)
    busy.send("x\r\n.\r\n")
    assert busy.reply().startswith("250")
    assert t.process.wait(20) == 0
    t.stop()
    t.start()
    t.wait_mail("alice")


def test_sigterm_without_clients_is_quick(make_tacit):
    t = make_tacit().start()
    roles = [pid for _, pid in t.roles()]
    assert len(roles) >= 3
    began = time.monotonic()
    assert t.stop() == 0
    assert time.monotonic() - began < 3
    assert not any(os.path.exists(f"/proc/{pid}") for pid in roles)


def test_sd_notify(make_tacit, monkeypatch):
    t = make_tacit()
    path = str(t.dir / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        t.start()
        assert b"READY=1" in s.recv(1000)


def test_an_ordinary_user_can_run_it(make_tacit):
    if os.geteuid() != 0:
        return  # every other test shows it
    t = make_tacit()
    os.chown(t.dir, 65534, 65534)
    readable = t.dir / "tacit"
    readable.write_bytes(open(TACIT, "rb").read())
    readable.chmod(0o755)
    p = subprocess.Popen(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", str(readable), "serve",
                          "--config", str(t.conf)], stderr=open(t.log_path, "ab"), cwd=t.dir)
    try:
        wait_until(lambda: "ready: listening" in t.log(), 15)
        with t.connect() as c:
            c.helo()
            assert c.message("s@elsewhere.example", "postmaster@example.test").startswith("250")
        t.wait_mail("postmaster")
    finally:
        p.terminate()
        assert p.wait(30) == 0


def test_a_paused_queue_accepts_and_keeps(make_tacit):
    """Nothing is delivered until the setting is gone, not even what is to be tried by hand."""
    tacit = make_tacit(extra="queue { paused = true }").start()
    tacit.user("add", "alice@example.test")
    assert json.loads(tacit.run("status", "--json").stdout)["paused"] is True
    ids = []
    with tacit.connect() as c:
        c.helo()
        for _ in range(3):
            ids.append(c.message("s@elsewhere.example", "alice@example.test").split()[-1])
    wait_until(lambda: len(tacit.queue()) == 3)
    assert not tacit.mail("alice")
    tacit.run("queue", "retry", ids[1])
    tacit.run("queue", "remove", ids[2])
    assert sorted(row["id"] for row in tacit.queue()) == sorted(ids[:2])
    assert not tacit.mail("alice")
    tacit.write_config(extra="")
    tacit.reload()
    tacit.wait_mail("alice", 2)


def reload_while_sending(t):
    t.reload()
    wait_until(lambda: [role for role, _ in t.roles()].count("carrier") == 2 and "reloaded: " in t.log())


def kill_back_while_sending(t):
    os.kill(dict(t.roles())["back"], signal.SIGKILL)
    wait_until(lambda: "back-0 was killed" in t.log() and "back" in dict(t.roles()))


def reload_and_kill_back(t):
    reload_while_sending(t)
    kill_back_while_sending(t)


def kill_resolver_while_sending(t):
    os.kill(dict(t.roles())["resolver"], signal.SIGKILL)
    wait_until(lambda: "resolver-0 was killed" in t.log() and "resolver" in dict(t.roles()))


def stop_while_sending(t):
    t.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "front" not in dict(t.roles()))


@pytest.mark.parametrize("disturb", [reload_while_sending, kill_back_while_sending, reload_and_kill_back,
                                     kill_resolver_while_sending, stop_while_sending])
def test_what_is_being_sent_is_sent_once(disturb):
    """The carrier that began it ends it, whoever else is replaced meanwhile."""
    answer = threading.Event()
    world = World(extra_global='grace = "20s"')
    host = world.host("slow.example", message=lambda _: answer.wait(30) and "250 2.0.0 Taken")
    try:
        t = world.start().tacit
        world.send("once", "bob@slow.example")
        wait_until(lambda: host.messages)
        disturb(t)
        answer.set()
        wait_until(lambda: "result=delivered" in t.log())
        if disturb is stop_while_sending:
            t.process.wait(10)
            t.start()
        world.gone("once")
        wait_until(lambda: [role for role, _ in t.roles()].count("carrier") == 1)
        assert len(host.messages) == 1 and not world.reports("once")
        assert t.log().count("result=delivered") == 1 and "result=deferred" not in t.log()
    finally:
        answer.set()
        world.stop(failed=sys.exc_info()[0])
