"""A queue of thousands: it is the same after every start, whatever became of the indexes of its segments; listed, filtered
and changed as a whole, while mail goes on being delivered."""
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from conftest import PATIENCE, TACIT, wait_until

FILL = os.environ.get("TACIT_FILL", str(Path(TACIT).parent / "bench" / "tacit-fill"))
MESSAGES = 8000
SEGMENT = 1 << 20


def fill(t, messages=MESSAGES, size=1024):
    t.data.mkdir(exist_ok=True)
    subprocess.run([FILL, "--messages", str(messages), "--size", str(size), "--segment", str(SEGMENT), "--users", "100",
                    "--sender-domains", "10", "--recipient-domains", "10", "--deferred", str(t.data / "spool")],
                   check=True, capture_output=True)


def rows(t, *args):
    return {row["id"]: row for row in t.queue(*args)}


def indexes(t):
    return sorted((t.data / "spool" / "lane-00").glob("index-*.idx"))


def segment_of(t, index):
    _, lane, seq = index.stem.split("-")
    return t.data / "spool" / f"lane-{lane}" / f"{seq}.seg"


def flip(path, at):
    octets = bytearray(path.read_bytes())
    octets[at] ^= 1
    path.write_bytes(octets)


def nobody_listens(t):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(t.data / "run" / "control.sock")) != 0


def kill(t):
    """And waits until the kernel has taken all of it away; the threads of a process end one by one."""
    t.kill_all()
    wait_until(lambda: nobody_listens(t), 20 * PATIENCE)


def restart(t):
    kill(t)
    t.start(timeout=20 * PATIENCE)


@pytest.fixture(scope="module")
def big(request):
    """A queue that has its indexes; tests change it one after the other."""
    import shutil
    import tempfile
    from conftest import Tacit
    directory = tempfile.mkdtemp(prefix="tacit-live-")
    os.chmod(directory, 0o755)
    t = Tacit(directory, extra=f'spool {{ segment = {SEGMENT} }}\nroute "*" {{ via = "smtp:127.0.0.1:1" }}\n')  # nobody there
    try:
        fill(t)
        t.start(timeout=20 * PATIENCE)
        t.user("add", "alice@example.test")
        # Each segment but the newest one of lane 1; those of lane 0 are too few to count on.
        wait_until(lambda: len([i for i in indexes(t) if "-01-" in i.name]) >= 8, 60 * PATIENCE)
        yield t
        t.stop()
        t.check_log()
    finally:
        if t.process:
            t.kill_all()
        shutil.rmtree(directory, ignore_errors=True)


def test_the_same_after_a_kill(big):
    before = rows(big)
    assert len(before) == MESSAGES and all(r["state"] == "deferred" for r in before.values())
    restart(big)
    assert rows(big) == before


def test_an_index_that_is_not_right_counts_for_nothing(big):
    before, files = rows(big), [i for i in indexes(big) if "-01-" in i.name]
    cut, flipped, empty, first, second, gone, old = files[:7]
    cut.write_bytes(cut.read_bytes()[:-20])
    flip(flipped, 100)
    empty.write_bytes(b"")
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    gone.unlink()
    segment = segment_of(big, old)
    os.utime(segment, ns=(segment.stat().st_atime_ns, segment.stat().st_mtime_ns + 1))
    stranger = old.with_name("index-01-0000000000ffffff.idx")  # of a segment that is gone
    stranger.write_bytes(one)
    old.with_name("new-index-01-0000000000ffffff.idx").write_bytes(one[:100])
    restart(big)
    assert rows(big) == before
    assert not stranger.exists() and not list(stranger.parent.glob("new-index-*"))


def test_damage_behind_an_index_is_found_when_the_message_is_read(big):
    """And at the start, once the file is known to have been touched."""
    before = rows(big)
    segment = segment_of(big, [i for i in indexes(big) if "-01-" in i.name][-1])  # no test before has touched it
    stat = segment.stat()
    kill(big)
    flip(segment, 4096 + 16 + 700)
    os.utime(segment, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    big.start(timeout=20 * PATIENCE)
    after = rows(big)
    bad = [i for i, r in after.items() if r["state"] == "unreadable"]
    assert after.keys() == before.keys() and len(bad) == 1
    assert "is damaged" not in big.log()
    verify = subprocess.run([TACIT, "spool", "verify", str(segment.parent)], capture_output=True, text=True)
    assert verify.returncode == 1 and segment.stem.lstrip("0") in verify.stdout + verify.stderr
    os.utime(segment)
    restart(big)
    assert "is damaged" in big.log()
    assert rows(big).keys() == before.keys() - set(bad)


def test_filters_and_changes(big):
    before = rows(big)
    some = {i for i, r in before.items() if r["sender"].endswith("@sender3.example")}
    assert len(some) > MESSAGES / 20
    assert rows(big, "--sender", "@Sender3.example").keys() == some and not rows(big, "--domain", "sender3.example")
    for filters in (["--domain", "elsewhere3.example"], ["--recipient", "@elsewhere3.example"]):
        assert rows(big, *filters).keys() == \
            {i for i, r in before.items() if r["recipients"][0]["address"].endswith("@elsewhere3.example")}
    assert rows(big, "--site", "MX.elsewhere3.example", "--reply", "451").keys() == \
        rows(big, "--domain", "elsewhere3.example", "--reply", "4.2.1").keys()
    assert rows(big, "--reply", "Try again").keys() == before.keys() and not rows(big, "--reply", "452")
    assert rows(big, "--recipient", "TO13@elsewhere3.example", "--sender", "from13@sender3.example").keys() == \
        {i for i in some if before[i]["recipients"][0]["address"] == "to13@elsewhere3.example"}
    sizes = [before[next(iter(some))]["size"]]
    assert rows(big, "--larger", str(sizes[0] - 1), "--smaller", str(sizes[0] + 1)).keys() == before.keys()
    assert not rows(big, "--larger", str(sizes[0])) and not rows(big, "--smaller", str(sizes[0]))
    assert rows(big, "--sender", "from3@sender3.example", "--text", "cannot take it").keys() == \
        {i for i in some if before[i]["sender"] == "from3@sender3.example"}
    done = big.run("queue", "hold", "--sender", "@sender3.example", "--json").stdout.splitlines()
    assert len(done) == len(some) and all('"done":true' in line for line in done)
    assert rows(big, "--state", "held").keys() == some
    assert "no such message" in big.run("queue", "remove", "0000000000001", check=False).stderr
    restart(big)
    assert rows(big, "--state", "held").keys() == some
    assert f"{len(some)} messages released" in big.run("queue", "release", "--state", "held").stdout


def test_a_client_that_goes_away(big):
    """In the middle of a listing, of a search, and of a command for all: back goes on."""
    back = dict(big.roles())["back"]
    for args in (["list"], ["list", "--recipient", "nobody@elsewhere1.example"], ["retry", "--domain", "elsewhere1.example"],
                 ["hold", "--all"], ["release", "--all"]):
        for wait in (0.0, 0.02, 0.05):
            p = subprocess.Popen([TACIT, "queue", *args, "--json", "--config", str(big.conf)], stdout=subprocess.PIPE)
            if args[0] != "list" or len(args) == 1:
                p.stdout.readline()
            time.sleep(wait)
            p.kill()
            p.wait()
            p.stdout.close()
    assert big.run("queue", "release", "--all").stdout.endswith("messages released\n")
    assert not rows(big, "--state", "held") and dict(big.roles())["back"] == back


def test_a_change_that_goes_on_by_itself(big):
    assert "at most" in big.run("queue", "hold", "--all", "--background").stdout
    total = len(rows(big))
    wait_until(lambda: len(rows(big, "--state", "held")) == total, 60 * PATIENCE)
    wait_until(lambda: "changes" not in big.run("status", "--json").stdout, 10 * PATIENCE)
    assert f"messages={total}" in [line for line in big.log().splitlines() if "result=done" in line][-1]
    big.run("queue", "release", "--all", "--background")
    stopped = int(big.run("queue", "stop").stdout.split()[0])
    assert "changes" not in big.run("status", "--json").stdout
    assert stopped == ("stopped by hand" in big.log())
    big.run("queue", "release", "--all")
    assert not rows(big, "--state", "held")


def test_mail_is_taken_while_back_is_away_and_delivered_while_all_is_removed(big):
    back = dict(big.roles())["back"]
    os.kill(back, signal.SIGSTOP)
    with big.connect() as c:
        c.helo()
        assert c.message("a@b.example", "alice@example.test").startswith("250")
    assert not big.mail("alice")
    os.kill(back, signal.SIGCONT)
    big.wait_mail("alice", 1)
    total = len(rows(big))
    remove = subprocess.Popen([TACIT, "queue", "remove", "--all", "--config", str(big.conf)], stdout=subprocess.PIPE,
                              text=True)
    with big.connect() as c:
        c.helo()
        assert c.message("a@b.example", "alice@example.test").startswith("250")
    big.wait_mail("alice", 2, 30 * PATIENCE)
    out, _ = remove.communicate(timeout=120 * PATIENCE)
    assert remove.returncode == 0 and int(out.split()[0]) >= total
    assert not rows(big)
    restart(big)
    assert not rows(big)
    # The segments go when nothing needs them, and their indexes with them.
    wait_until(lambda: not [i for i in indexes(big) if "-01-" in i.name and not segment_of(big, i).exists()],
               30 * PATIENCE)
