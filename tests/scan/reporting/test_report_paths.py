from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hashscan.scan.reporting.report_paths import ReportPaths, report_paths
from hashscan.settings.scan import ReportTarget
from hashscan.state_dir import StateDir

NOW = datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)
JSONL, HTML = (ReportTarget(form, Path("out." + form)) for form in ("jsonl", "html"))
SCREEN = ReportTarget("jsonl", None)


def places(*reports: ReportTarget, state: Path | None = None) -> ReportPaths:
    return report_paths(reports, None if state is None else StateDir(state), NOW, "0123456789")


def test_nobody_says(tmp_path: Path) -> None:
    assert places() == ReportPaths(())
    kept = places(state=tmp_path).kept
    assert kept == (tmp_path / "reports" / "20261126T010203Z-01234567.jsonl",)


def test_a_record_that_is_asked_for_is_what_others_are_made_of(tmp_path: Path) -> None:
    found = places(HTML, JSONL, state=tmp_path)
    assert found.source == Path("out.jsonl")
    assert found.kept == (Path("out.jsonl"), Path("out.html"))
    assert places(SCREEN, state=tmp_path) == ReportPaths((None,))


def test_others_alone_are_made_of_the_record_in_the_state(tmp_path: Path) -> None:
    for found in (places(HTML, state=tmp_path), places(SCREEN, HTML, state=tmp_path)):
        assert found.source is not None
        assert found.source.parent == tmp_path / "reports"
        assert found.passing is None
        assert found.kept == (found.source, Path("out.html"))


def test_without_a_state_a_record_lasts_as_long_as_the_scan() -> None:
    found = places(HTML)
    assert found.source == found.passing == Path("out.html.jsonl")
    assert found.kept == (Path("out.html"),)
    screen = places(ReportTarget("html", None))
    assert screen.passing is not None
    assert screen.kept == ()
