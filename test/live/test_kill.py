"""No message that was answered 250 is lost, or delivered twice, when processes are killed; and the server is whole
again within a second. mixed.py has the many rounds; make soak does them for as long as one likes."""
import os
import signal
import subprocess
import time

import pytest

from conftest import LOAD, PATIENCE, parsed, wait_until
from mixed import Load, World


def load(t, *options):
    ledger = t.dir / "ledger"
    return ledger, subprocess.Popen([LOAD, "-R", "-L", str(ledger), "-t", "alice@example.test", *options,
                                     f"127.0.0.1:{t.mx}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def account(t, ledger, timeout=60):
    """Every tag in the ledger is in the mailbox; gives how many are in the ledger. The load sends again what got no
    answer, so it may be there more than once."""
    acknowledged = set(ledger.read_text().split())
    assert acknowledged

    wait_until(lambda: acknowledged <= {parsed(m)["X-Load-Tag"] for m in t.mail("alice")}, timeout, 0.5)
    return len(acknowledged)


def wait_until_whole(t):
    """Until a message is taken again: a second or two, on a machine that is not busy."""
    def works():
        try:
            with t.connect(timeout=2.0) as c:
                c.helo()
                return c.message("s@elsewhere.example", "alice@example.test",
                                 b"X-Load-Tag: probe\r\n\r\nx\r\n").startswith("250")
        except (OSError, EOFError, AssertionError):
            return False
    wait_until(works, 10 * PATIENCE, 0.02)


@pytest.mark.parametrize("role", ["front", "keeper", "back", "resolver", "carrier"])
def test_a_role_is_killed_under_load(tacit, role):
    ledger, process = load(tacit, "-m", "1500", "-s", "20", "-k", "5", "-l", "2000", "-T", "60")
    for _ in range(3):
        time.sleep(0.3)
        victims = [pid for name, pid in tacit.roles() if name == role]
        assert victims, tacit.log()
        os.kill(victims[0], signal.SIGKILL)
        wait_until_whole(tacit)
        wait_until(lambda: [pid for name, pid in tacit.roles() if name == role and pid not in victims[:1]], 3)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 0, out
    count = account(tacit, ledger)
    assert count == 1500
    assert f"{role}" in tacit.log() and "kill" in tacit.log().lower()


def test_everything_is_killed_and_started_again(make_tacit):
    t = make_tacit().start()
    t.user("add", "alice@example.test")
    for _ in range(2):
        ledger, process = load(t, "-m", "100000", "-s", "20", "-k", "5", "-l", "2000", "-T", "1", "-p")
        time.sleep(0.7)
        t.kill_all()
        process.communicate(timeout=30)
        t.start()
    count = account(t, ledger)
    assert count > 100
    wait_until_whole(t)


def test_killing_master_stops_the_rest_and_loses_nothing(make_tacit):
    t = make_tacit().start()
    t.user("add", "alice@example.test")
    ledger, process = load(t, "-m", "100000", "-s", "10", "-k", "5", "-T", "2")
    time.sleep(0.5)
    roles = [pid for _, pid in t.roles()]
    t.process.kill()
    t.process.wait()
    t.log_file.close()
    t.process = None
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in roles), 10)
    process.communicate(timeout=30)
    t.start()
    account(t, ledger)


@pytest.mark.parametrize("seed", [1])
def test_any_process_is_killed_under_mixed_load(make_tacit, seed):
    world = World(make_tacit, seed)
    load = Load(world, 0)
    try:
        world.disturb_for(rounds=20)
        time.sleep(0.3)
    finally:
        load.stop()
    world.settle()
    world.account(load.sent)
    assert sum(s.answer == 250 for s in load.sent) > 20
    world.restart("all")  # what is known must stand on the disk
    world.settle()
    world.account(load.sent)


def test_a_crash_loop_backs_off(tacit):
    for _ in range(8):
        for name, pid in tacit.roles():
            if name == "keeper":
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.15)
    wait_until(lambda: any(name == "keeper" for name, _ in tacit.roles()), 20)
    wait_until_whole(tacit)
    assert "keeper" in tacit.log()
