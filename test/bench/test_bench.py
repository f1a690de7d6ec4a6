"""make bench in its shortest form, with tacit alone: everything is measured once, briefly, and every table and plot is
made. What the figures are is not judged here, but for one: that each message of a single client was synced."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import report  # noqa: E402


@pytest.fixture(scope="module")
def results():
    if os.geteuid() != 0:
        pytest.skip("make bench needs root")
    place = Path(tempfile.mkdtemp(prefix="tacit-bench-"))  # pytest's own directories are closed to tacit's users
    place.chmod(0o755)
    env = dict(os.environ, BENCH="smoke", BENCH_PEERS="tacit", BENCH_DIR=str(place),
               BENCH_RESULTS=str(place / "results"))
    try:
        run = subprocess.run([ROOT / "script" / "bench"], env=env, capture_output=True, text=True, timeout=240)
        assert run.returncode == 0, run.stdout + run.stderr
        assert [p.name for p in place.iterdir()] == ["results"], "something is left behind"
        yield place / "results", json.loads((place / "results" / "results.json").read_text()), run.stdout
    finally:
        shutil.rmtree(place)


def test_each_message_is_synced(results):
    row = results[1]["syncs"]["tacit"]["accept"]["1"]
    assert row.get("fdatasync", 0) >= 1, row


def test_every_table_has_rows(results):
    for table in report.TABLES.values():
        heading, columns, rows = table(results[1])
        assert rows and all(len(row) == len(columns) for row in rows), heading
        assert heading in results[2]


def test_the_plots_are_whole(results):
    plots = list(results[0].glob("*.svg"))
    assert len(plots) >= 4
    for path in plots:
        assert xml.parse(path).getroot().tag.endswith("svg")
        assert "nan" not in path.read_text()


def test_the_document_takes_every_table(results, tmp_path):
    doc = tmp_path / "performance.md"
    doc.write_text((ROOT / "doc" / "performance.md").read_text())
    assert set(re.findall(r"<!-- bench:(\w+) -->", doc.read_text())) == {*report.TABLES, "plots"}
    report.write_doc(results[1], doc)
    for table in report.TABLES.values():
        assert report.markdown(*table(results[1])) in doc.read_text()
    shown = re.findall(r"!\[.*?\]\((.*?)\)", doc.read_text())
    assert shown and all((tmp_path / name).exists() for name in shown)
