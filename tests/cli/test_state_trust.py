"""Trust of a scan in unchanged files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, Run
from tests.shortcomings import codes

Scan = Callable[..., tuple[Ran, dict[str, Any]]]


@pytest.fixture
def scan(run: Run, local_list: str, uploads: Path, tmp_path: Path, age: Callable[[], None]) -> Scan:
    (uploads / "text").write_bytes(b"words")
    age()

    def scan(*options: object) -> tuple[Ran, dict[str, Any]]:
        report = tmp_path / "report.jsonl"
        ran = run("scan", uploads, "--list", local_list, "--report", report, *options)
        return ran, json.loads(report.read_text().splitlines()[-1])

    return scan


def exchange(path: Path, content: bytes) -> None:
    """Write other content of the same size, and set the times back that can be."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_files_are_read_again_and_found_to_be_the_same(scan: Scan) -> None:
    _, first = scan()
    ran, again = scan("--reread", "100%")
    assert (ran.code, again["unchanged"], again["bytes"]) == (1, 0, first["bytes"])
    assert again["verdicts"] == first["verdicts"]
    assert again["incomplete"] == []
    assert scan("--reread", "0.000000001%")[1]["unchanged"] == scan()[1]["unchanged"] == 4


def test_what_has_changed_in_silence_is_reported(scan: Scan, uploads: Path) -> None:
    scan()
    exchange(uploads / "text", b"WORDS")
    assert scan("--weak-change-check")[1]["unchanged"] == 4
    ran, summary = scan("--weak-change-check", "--reread", "100%")
    assert (ran.code, codes(summary)) == (4, ["changed"])
    assert "text' has other content than when it was read before" in ran.err
    lines = map(json.loads, (uploads.parent / "report.jsonl").read_text().splitlines())
    (reported,) = (line for line in lines if line["type"] == "silent-change")
    assert (reported["path"], reported["size"], "before" in reported) == (str(uploads / "text"), 5, False)
    # What it is now is known from now on.
    assert scan("--weak-change-check", "--reread", "100%")[1]["incomplete"] == []


def test_ctime_counts_otherwise(scan: Scan, uploads: Path) -> None:
    scan()
    exchange(uploads / "text", b"WORDS")
    ran, summary = scan()
    assert (summary["unchanged"], summary["incomplete"]) == (3, [])
    assert "has other content" not in ran.err


def test_what_a_weak_scan_did_not_see_a_later_one_does(scan: Scan, uploads: Path) -> None:
    scan()
    exchange(uploads / "other.jpg", b"other words".ljust((uploads / "other.jpg").stat().st_size))
    (uploads / "new").write_bytes(b"new words")
    assert scan("--weak-change-check")[1]["unchanged"] == 4
    assert scan("--weak-change-check")[1]["unchanged"] == 5
    shutil.copy(uploads / "listed.jpg", uploads / "new")
    _, summary = scan()
    assert (summary["unchanged"], summary["verdicts"]["match"]) == (0, 3)
    assert scan("--weak-change-check")[1]["verdicts"] == summary["verdicts"]


@pytest.mark.parametrize("share", ["1", "101%", "-1%", "all"])
def test_a_share_is_a_percentage(run: Run, share: str) -> None:
    ran = run("scan", "/nowhere", "--reread", share)
    assert ran.code == 2
    assert "Write a percentage" in ran.err
