"""`hashscan state`: what is done with the state beside scans."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.prefork import PREFORK


@pytest.fixture
def scanned(run: Run, local_list: str, uploads: Path) -> Path:
    (uploads / "=cmd|' C calc'!A0").write_bytes(b"words")
    (uploads / os.fsdecode(b"caf\xe9,\n.txt")).write_bytes(b"more words")
    assert run("scan", uploads, "--list", local_list, "--report", uploads.parent / "r.jsonl").code == 1
    return uploads


def test_status_and_check(run: Run, scanned: Path, state: Path) -> None:
    ran = run("state", "status")
    assert ran.code == 0
    assert "5 files, 5 contents, 3 pictures" in ran.out
    assert "2 open findings, 0 ended" in ran.out
    assert str(scanned)[:40] in ran.out
    ran = run("state", "check")
    assert (ran.code, "5 contents, no damage" in ran.err) == (0, True)
    with (state / "scans" / "md5").open("r+b") as file:
        file.write(bytes(20))
    ran = run("state", "check")
    assert (ran.code, "content 0" in ran.err, "2 errors" in ran.err) == (12, True, True)
    assert run("lookup", "0" * 64).code == 12
    again = run("scan", scanned, "--list", "ours", "--report", scanned.parent / "r2.jsonl")
    assert (again.code, "is kept as" in again.err) == (1, True)
    assert run("state", "check").code == 0


def test_vacuum_drops_what_is_forgotten(run: Run, scanned: Path) -> None:
    digest = hashlib.sha256(b"more words").hexdigest()
    (scanned / os.fsdecode(b"caf\xe9,\n.txt")).unlink()
    assert run("scan", scanned, "--list", "ours", "--report", scanned.parent / "r2.jsonl").code == 1
    assert run("lookup", digest).code == 0
    ran = run("state", "vacuum")
    assert (ran.code, "1 of 5 contents deleted" in ran.err) == (0, True)
    assert run("state", "check").code == 0
    assert run("lookup", hashlib.sha256(b"words").hexdigest()).code == 1
    again = run("scan", scanned, "--list", "ours", "--report", scanned.parent / "r3.jsonl")
    assert again.code == 1


def test_vacuum_waits_for_no_scan(run: Run, scanned: Path, state: Path) -> None:
    with (state / "scan.lock").open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert run("state", "vacuum").code == 11
        assert run("state", "check").code == 0


def test_export(run: Run, scanned: Path, tmp_path: Path) -> None:
    ran = run("state", "export")
    assert (ran.code, len(ran.lines)) == (0, 5)
    assert {line["verdict"] for line in ran.lines if "verdict" in line} == {"match"}
    assert not any("sha256" in line for line in ran.lines)
    output = tmp_path / "known.csv"
    assert run("state", "export", "--format", "csv", "--output", output, "--with-digests").code == 0
    assert output.stat().st_mode & 0o777 == 0o600
    with output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_digest = {row["sha256"]: row for row in rows}
    assert len(rows) == 5
    row = by_digest[hashlib.sha256(b"words").hexdigest()]
    assert row["path"] == f"{scanned}/=cmd|' C calc'!A0"
    assert row["size"] == "5"
    assert by_digest[hashlib.sha256(b"more words").hexdigest()]["path_b64"]
    assert run("state", "export", "--output", tmp_path / "no" / "where").code == 12


def test_without_a_state_all_say_so(run: Run, tmp_path: Path) -> None:
    for command in ("status", "check", "vacuum", "export"):
        ran = run("state", command, "--state", tmp_path / "none")
        assert (ran.code, "no scan has stored anything" in ran.err) == (12, True), command


def test_a_reader_that_goes_away_is_our_output_failing(scanned: Path, state: Path) -> None:
    with PREFORK.popen(
        [sys.executable, "-m", "hashscan", "state", "export", "--state", state],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 12
