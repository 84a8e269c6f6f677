"""Restored files are not moved again where the quarantine has a state of its own, as in `setup`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, runner
from tests.cli.published import BAD, national, signed
from tests.cli.test_scan_quarantine import TERMS, records

__all__ = ["national", "signed"]  # fixtures


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The state folder of the quarantine."""
    return tmp_path / "quarantine state"


@pytest.mark.slow
def test_what_was_restored_is_not_moved_again_and_its_case_is_open(
    run: Run, signed: None, tmp_path: Path, kept: Path
) -> None:
    www, report, old = tmp_path / "www", tmp_path / "found.jsonl", tmp_path / "old.jsonl"
    www.mkdir()
    (www / "bad").write_bytes(BAD)
    for number in range(9):
        (www / f"{number}").write_bytes(b"innocent %d" % number)
    by_root = runner(kept)

    def night() -> dict[str, Any]:
        """Scan and move as the units do; return the outcome, and the state of the only case."""
        scanned = run("scan", www, "--with-digests", "--report", report, "--quarantine-state", kept)
        moved = by_root("quarantine", "add", report, *TERMS)
        checked = run("cases", "check")
        (case,) = run("cases", "list", "--status", "all", "--format", "json").lines
        verdicts = [line["verdict"] for line in records(report) if line["type"] == "finding"]
        return {
            "verdicts": verdicts, "there": (www / "bad").exists(), "case": (case["state"], case.get("how")),
            "codes": (scanned.code, moved.code, checked.code),
        }  # fmt: skip

    first = night()
    assert first == {
        "verdicts": ["match"], "there": False, "case": ("removed", "quarantined"), "codes": (1, 0, 0),
    }  # fmt: skip
    shutil.copy(report, old)
    assert by_root("quarantine", "restore", "--all").code == 0
    for _ in range(2):
        assert night() == {
            "verdicts": ["held"], "there": True, "case": ("found", None), "codes": (0, 0, 0),
        }  # fmt: skip
    # A scan that does not name the quarantine knows of it, and so does an upload's check.
    assert run("scan", www, "--report", report).code == 0
    checked = run("check", "--format", "json", www / "bad")
    assert [line["verdict"] for line in checked.lines] == ["held"]
    # A report from before the restore moves nothing either.
    again = by_root("quarantine", "add", old, *TERMS)
    assert (again.code, (www / "bad").exists()) == (3, True)
