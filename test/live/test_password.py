"""A smarthost that wants a password: what happens while it is wrong, and who knows it."""
import os
import re
import subprocess
from pathlib import Path

import pytest

from conftest import PATIENCE, TACIT, wait_until
from sending import World

ROUTE = 'route "{domain}" {{ via = "smtp://{address}:{port}"  user = "tacit"  password = "{password}" }}\n'
SECRET = "s3cret-and-long"


def is_right(argument):
    """Of PLAIN: what a server says that repeats what it did not like, as some do."""
    right = "AHRhY2l0AHMzY3JldC1hbmQtbG9uZw=="
    return "235 2.7.0 Welcome" if argument == f"PLAIN {right}" else f"535 5.7.8 Wrong: AUTH {argument}"


def knows(pid, secret):
    """Whether it stands anywhere in what the process may write."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if "rw" not in line.split()[1] or end - start > 1 << 28:
                continue
            try:
                memory.seek(start)
                if secret.encode() in memory.read(end - start):
                    return True
            except (OSError, OverflowError):
                pass
    return False


@pytest.fixture
def world(request):
    w = World(expire="60s")
    try:
        yield w
    finally:
        w.stop(getattr(request.node, "failed_call", False))


def routes(world, password):
    return "".join(ROUTE.format(domain=f"{h.name}.example", address=h.address, port=world.port, password=password)
                   for h in world.hosts.hosts)


def test_a_wrong_password_loses_no_mail(world):
    wrong = "not-" + SECRET
    host = world.host(name="picky", extensions=["AUTH PLAIN"], auth=is_right)
    none = world.host(name="none")
    world.queue["more"] = routes(world, wrong)
    world.start()
    t = world.tacit
    world.send("wrong", "bob@picky.example")
    world.send("none", "bob@none.example")

    for case in "picky", "none":
        warning = rf'error notice role=carrier-0 text="route \\"{case}.example\\": .*; its mail waits"'
        wait_until(lambda: re.search(warning, t.log()), 20 * PATIENCE)
    for case in "wrong", "none":
        wait_until(lambda: world.row(case)["state"] == "deferred", 20 * PATIENCE)
    assert not host.messages and not none.messages and not world.reports("wrong") and not world.reports("none")
    shown = t.run("trace", world.sender("wrong")).stdout
    assert "the server does not take user and password of the route" in shown, shown
    for secret in wrong, SECRET, "AHRhY2l0":  # nor what the server repeated of it
        assert secret not in t.log() + shown + t.run("queue", "list", "--json").stdout + (t.data / "log/tacit.log").read_text()

    # Only the carrier has it.
    assert {role for role, pid in t.roles() if knows(pid, wrong)} == {"carrier"}

    # The right one, and the mail goes.
    extra = t.settings["extra"].replace(wrong, SECRET)
    assert extra != t.settings["extra"]
    t.write_config(extra=extra)
    t.reload()
    wait_until(lambda: host.messages, 30 * PATIENCE)
    world.gone("wrong")
    assert [m.recipients for m in host.messages] == [["bob@picky.example"]]
    assert world.row("none")


def as_anybody(*words, **kw):
    return subprocess.run([TACIT, *words], user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=60, **kw)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that others may not read")
def test_a_password_in_a_file_of_its_own(world):
    """Every user may read the configuration and sends mail; the password is root's and the carrier's."""
    wrong = "not-" + SECRET
    host = world.host(name="picky", extensions=["AUTH PLAIN"], auth=is_right)
    file = Path(world.dir) / "secret"
    file.write_text(wrong + "\n")
    file.chmod(0o600)
    world.queue["more"] = routes(world, "").replace('password = ""', 'password_file = "secret"')
    world.start()
    t = world.tacit
    t.conf.chmod(0o644)

    # Anybody sends, and anybody checks, but for the password.
    sent = as_anybody("sendmail", "--config", str(t.conf), "-f", world.sender("file"), "bob@picky.example",
                      input="Subject: test\n\nhello\n")
    assert (sent.returncode, sent.stderr) == (0, "")
    checked = as_anybody("check", "--config", str(t.conf))
    assert checked.returncode == 0 and "was not checked, for you may not read it" in checked.stderr, checked
    assert "others may read" not in checked.stderr and t.run("check").stderr == ""
    wait_until(lambda: "its mail waits" in t.log(), 20 * PATIENCE)
    assert {role for role, pid in t.roles() if knows(pid, wrong)} == {"carrier"}

    # What others could read is taken neither by a check nor by a reload: the old one stays.
    file.write_text(SECRET + "\n")
    file.chmod(0o640)
    refused = t.run("check", check=False)
    assert refused.returncode == 1 and "lets others than its owner at the password" in refused.stderr, refused
    t.reload()
    wait_until(lambda: "reload refused, the old configuration stays: " in t.log(), 20 * PATIENCE)
    assert not host.messages

    # The right one is taken by a reload, without a change of the configuration.
    file.chmod(0o600)
    t.reload()
    wait_until(lambda: host.messages, 30 * PATIENCE)
    world.gone("file")
    assert [m.recipients for m in host.messages] == [["bob@picky.example"]]
    assert SECRET not in t.log()
