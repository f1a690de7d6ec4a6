"""The pages of tacit explain --html in a real browser: readable for everybody (axe-core), on a phone and a desktop, light
and dark, without anything from elsewhere, with a search that needs no server. TACIT_PICTURES=DIR keeps screenshots."""
import os
import re
import shutil
import subprocess
from pathlib import Path

from conftest import TACIT
from tools import npm_modules


def test_pages(tmp_path):
    site = tmp_path / "site"
    r = subprocess.run([TACIT, "explain", "--html", str(site)], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    names = {f.name for f in site.iterdir()}
    assert {"index.html", "style.css", "search.js", "252.html", "250.html", "502.html", "551.html", "556.html", "x-1-10.html",
            "compare-252-551.html", "cause-greylisting.html"} <= names and len(names) > 200
    text = "".join(f.read_text() for f in site.iterdir())
    assert not re.search(r'(src|href)="(https?:)?//', text)
    modules = npm_modules("playwright-core@1.56.1", "axe-core@4.10.3")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "chromium is missing: script/deps check"
    pictures = [os.environ["TACIT_PICTURES"]] if "TACIT_PICTURES" in os.environ else []
    r = subprocess.run(["node", str(Path(__file__).with_name("pages.js")), str(modules), browser, str(site), *pictures],
                       capture_output=True, text=True, timeout=200)
    assert r.returncode == 0 and r.stdout == "", r.stdout + r.stderr


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    r = subprocess.run([TACIT, "explain", "--html", str(tmp_path / "file")], capture_output=True, text=True)
    assert r.returncode == 1 and str(tmp_path / "file") in r.stderr
    r = subprocess.run([TACIT, "explain", "--html", str(tmp_path / "no" / "where")], capture_output=True, text=True)
    assert r.returncode == 1 and "No such file" in r.stderr
