"""Other formats than the record, by the real commands."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

from tests.prefork import PREFORK
from tests.reports.documents import finding, written


def hashscan(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PREFORK.program(), *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_convert(tmp_path: Path) -> None:
    written(tmp_path / "r.jsonl", [finding(b"/srv/a")])
    done = hashscan("report", "convert", "r.jsonl", "--format", "csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "/srv/a" in done.stdout
    missing = hashscan("report", "convert", "none.jsonl", "--format", "csv", cwd=tmp_path)
    assert missing.returncode == 2
    assert "none.jsonl" in missing.stderr


def test_a_scan_makes_them_from_its_record(tmp_path: Path) -> None:
    target = tmp_path / "www"
    target.mkdir()
    (target / "a.txt").write_text("a")
    options = ("scan", "www", "--state", "s", "--list", "demo")
    done = hashscan(*options, "--report", "csv=out.csv", "--report", "jsonl=-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["scan", "summary"]
    assert (tmp_path / "out.csv").read_text().startswith("record,verdict,")
    (kept,) = (tmp_path / "s" / "reports").iterdir()
    assert f"report: {Path('s') / 'reports' / kept.name}" in done.stderr
    assert "report: out.csv" in done.stderr


def test_without_a_state_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "www"
    target.mkdir()
    (target / "a.txt").write_text("a")
    done = hashscan("scan", "www", "--no-state", "--list", "demo", "--report", "csv=out.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "www"]


def test_a_document_takes_no_other_thing_s_place(tmp_path: Path) -> None:
    record = written(tmp_path / "r.jsonl", [finding(b"/srv/a")])
    before = record.read_bytes()
    own = hashscan("report", "convert", "r.jsonl", "--format", "csv", "--output", "r.jsonl", cwd=tmp_path)
    assert own.returncode == 2
    assert "overwrite the report" in own.stderr
    os.mkfifo(tmp_path / "pipe")
    for output, code, message in (
        ("pipe", 2, "no regular file"),
        ("none/out.csv", 12, "No such file"),
        (".", 2, ""),
    ):
        done = hashscan("report", "convert", "r.jsonl", "--format", "csv", "--output", output, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
    assert record.read_bytes() == before
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_scan_tells_at_its_beginning_where_no_report_can_go(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for report, code in (("csv=pipe", 2), ("pipe", 2), ("csv=none/out.csv", 12), ("none/out.jsonl", 12)):
        done = hashscan("scan", "www", "--state", "s", "--list", "demo", "--report", report, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert "hashscan: 0 files" not in done.stderr


def test_a_document_that_fails_costs_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "www"
    target.mkdir()
    (target / "a.txt").write_text("a")
    options = ("scan", "www", "--state", "s", "--list", "demo")
    done = hashscan(*options, "--report", f"csv={'n' * 300}", "--report", "junit=out.xml", cwd=tmp_path)
    assert done.returncode == 12
    assert "File name too long" in done.stderr
    assert (tmp_path / "out.xml").exists()
    assert list((tmp_path / "s" / "reports").iterdir()), "the record stays"
    with closing(sqlite3.connect(tmp_path / "s" / "scans" / "state.sqlite")) as database:
        assert database.execute("SELECT exit_code FROM scans").fetchall() == [(0,)]
