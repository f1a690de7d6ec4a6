"""What a newcomer meets before the first mail: make run, make install, the users, the manual."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import TACIT, free_port

SOURCE = Path(__file__).resolve().parents[2]


def demo(directory, port, **kw):
    script = directory / "script" / "run-demo"
    script.parent.mkdir(exist_ok=True)
    shutil.copy(SOURCE / "script" / "run-demo", script)
    return subprocess.run([script, "--once"], env={**os.environ, "TACIT": TACIT, "PORT": str(port)}, text=True,
                          capture_output=True, timeout=120, **kw)


def test_the_story_leaves_a_running_server_alone(tacit, tmp_path):
    (tmp_path / "run").symlink_to(tacit.dir)
    r = demo(tmp_path, free_port())
    assert r.returncode == 1 and str(tacit.process.pid) in r.stderr and "Stop it first" in r.stderr, r.stderr
    assert tacit.conf.exists() and (tacit.data / "run" / "pid").exists()


def test_the_story_says_how_to_take_another_port(tacit, tmp_path):
    r = demo(tmp_path, tacit.mx)
    assert r.returncode == 1 and "in use" in r.stdout and f"make run PORT={tacit.mx + 1}" in r.stderr, r.stdout + r.stderr


def test_install_goes_where_it_is_told(tmp_path):
    clean = {k: v for k, v in os.environ.items() if k not in ("PREFIX", "SYSCONFDIR", "MAKEFLAGS")}

    def says(*words):
        return subprocess.run(["make", "-n", "-C", SOURCE, "install", *words], capture_output=True, text=True,
                              check=True, env=clean).stdout
    assert f"meson configure build --prefix={tmp_path} --sysconfdir=/etc && ninja" in says(f"PREFIX={tmp_path}")
    assert f"meson configure build --sysconfdir={tmp_path} && ninja" in says(f"SYSCONFDIR={tmp_path}")
    assert "meson configure" not in says()


def test_the_users_of_the_processes_can_be_made(tmp_path):
    lines = (SOURCE / "etc/sysusers.d/tacit.conf").read_text().splitlines()
    defaults = re.findall(r'^SETTING\(users, \w+, STRING, "([\w-]+)"', (SOURCE / "src/config/config.def").read_text(), re.M)
    assert [line.split()[1] for line in lines] == defaults
    for line in lines:
        assert re.fullmatch(r'u tacit-\w+ +- "[^":\n]+" +-', line), line
    tool = shutil.which("systemd-sysusers")
    if not tool:
        pytest.skip("no systemd-sysusers here")
    r = subprocess.run([tool, "--dry-run", SOURCE / "etc/sysusers.d/tacit.conf"], capture_output=True, text=True)
    assert r.returncode == 0 and "not a valid" not in r.stderr, r.stderr
