from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.reports import common as module
from hashscan.reports.common import OTHERS, overview
from hashscan.reports.report import Report
from tests.reports.documents import finding, unreadable, written

STANDING = {"type": "standing", "schema": 1, "path": "/srv/s", "was": "match", "because": "b", "first": "x",
            "last": "y", "matches": finding(b"/a")["matches"]}  # fmt: skip


def test_everything_is_counted_once(tmp_path: Path) -> None:
    records = [finding(b"/a", customer="ada"), finding(b"/b", "review"), unreadable(b"/c"), STANDING]
    figures = overview(Report(written(tmp_path / "r.jsonl", records)), 10)
    assert figures.verdicts == {"match": 1, "review": 1, "unreadable": 1, "clean": 10}
    assert figures.found == {"match": 2, "review": 1}
    assert (figures.standing, figures.total) == (1, 3)
    assert figures.reasons == {("unreadable", "permission denied"): 1}
    assert figures.categories == {"A1": 3}
    assert figures.lists == {"national": 3}
    assert figures.customers == {"ada": 1, "": 2}


def test_the_worst_findings_are_kept(tmp_path: Path) -> None:
    records = [*(finding(b"/r%d" % n, "review") for n in range(5)), finding(b"/h", "held"), finding(b"/m")]
    figures = overview(Report(written(tmp_path / "r.jsonl", records)), 3)
    assert [record["path"] for record in figures.findings] == ["/m", "/h", "/r0"]
    assert figures.total == 7


def test_a_killed_scan_has_no_clean_files(tmp_path: Path) -> None:
    figures = overview(Report(written(tmp_path / "r.jsonl", [finding(b"/a")], whole=False)), 3)
    assert figures.verdicts == {"match": 1}


def test_names_are_distinguished_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NAMES", 2)
    records = [finding(b"/a", customer=name) for name in ("x", "y", "z", "w", "x")]
    figures = overview(Report(written(tmp_path / "r.jsonl", records)), 0)
    assert figures.customers == {"x": 2, "y": 1, OTHERS: 2}
    assert figures.findings == []
