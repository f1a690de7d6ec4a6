"""Completion of command lines: what the program offers, and that the shells' scripts ask it."""
import os
import shutil
import subprocess

import pytest

from conftest import ROOT, TACIT


def offered(*words):
    r = subprocess.run([TACIT, "complete", "--", *words], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    rows = [line.split("\t") for line in r.stdout.splitlines()]
    assert all(len(row) == 2 and row[1] for row in rows)
    return [row[0] for row in rows]


@pytest.mark.parametrize("words, wanted, unwanted", [
    ([""], ["serve", "explain", "queue", "contacts"], ["complete", "man", "--help"]),
    (["ex"], ["explain"], ["queue"]),
    (["queue", ""], ["list", "show", "retry", "reroute"], ["serve"]),
    (["queue", "list", "--"], ["--json", "--domain", "--help"], ["--version"]),
    (["--"], ["--help", "--version"], []),
    (["explain", "--h"], ["--html", "--help"], ["--json"]),
    (["user", "add", "--config", "x", "--qu"], ["--quota"], []),
])
def test_words(words, wanted, unwanted):
    got = offered(*words)
    assert set(wanted) <= set(got) and not set(unwanted) & set(got), got


@pytest.mark.parametrize("words", [["nonsense", ""], ["explain", "--html", ""], ["explain", ""], ["serve", "-c", ""], ["zz"]])
def test_nothing_is_offered(words):
    assert offered(*words) == []


def test_bash():
    script = f"""source {ROOT}/etc/completion/tacit.bash
COMP_WORDS=({TACIT} queue sh) COMP_CWORD=2
_tacit
printf '%s\\n' "${{COMPREPLY[@]}}" """
    r = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert r.stdout == "show\n" and r.stderr == ""


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_zsh():
    assert subprocess.run(["zsh", "-n", f"{ROOT}/etc/completion/_tacit"]).returncode == 0


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
def test_fish(tmp_path):
    r = subprocess.run(["fish", "-c", f"source {ROOT}/etc/completion/tacit.fish; complete -C 'tacit queue sh'"],
                       capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path),
                                                            "PATH": os.path.dirname(TACIT) + ":" + os.environ["PATH"]})
    assert r.stdout.startswith("show\t") and r.stderr == ""
