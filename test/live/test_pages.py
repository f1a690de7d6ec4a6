"""The pages of tacit explain --html in a real browser: readable for everybody (axe-core), on a phone and a desktop, light
and dark, with a search that needs no server. TACIT_PICTURES=DIR keeps screenshots."""
import os
import shutil
import subprocess
from pathlib import Path

from conftest import TACIT
from tools import npm_modules


def test_pages(tmp_path):
    site = tmp_path / "site"
    r = subprocess.run([TACIT, "explain", "--html", str(site)], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    modules = npm_modules("playwright-core@1.56.1", "axe-core@4.10.3")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "chromium is missing: script/deps check"
    pictures = [os.environ["TACIT_PICTURES"]] if "TACIT_PICTURES" in os.environ else []
    r = subprocess.run(["node", str(Path(__file__).with_name("pages.js")), str(modules), browser, str(site), *pictures],
                       capture_output=True, text=True, timeout=200)
    assert r.returncode == 0 and r.stdout == "", r.stdout + r.stderr
