"""What every report format must do, driven by the registry."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.conversion import convert
from hashscan.reports.report import Report
from tests.reports.documents import CONTEXT, HOSTILE, SWEEP, finding, unreadable, written

each_format = pytest.mark.parametrize("name", list(REPORT_FORMATS))


def document(name: str, path: Path) -> bytes:
    stream = io.BytesIO()
    REPORT_FORMATS[name]().write(Report(path, CONTEXT), stream)
    return stream.getvalue()


@each_format
def test_a_name_ends_as_its_suffix_says(name: str) -> None:
    assert REPORT_FORMATS[name].suffix.startswith(".")


@each_format
def test_no_control_character_comes_through(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(p) for p in HOSTILE] + [unreadable(p) for p in HOSTILE])
    made = document(name, path)
    assert b"\x1b" not in made
    assert b"\x07" not in made
    made.decode("utf-8")


@each_format
def test_a_killed_sweep(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/srv/a")], whole=False, torn=b'{"type":"find')
    assert b"/srv/a" in document(name, path)


@each_format
def test_nothing_found(name: str, tmp_path: Path) -> None:
    # A format that has a document of its own for each finding has none then.
    assert document(name, written(tmp_path / "r.jsonl", [])) or name == "xarf"


@each_format
def test_a_newer_report_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"type":"sweep","schema":99}\n')
    output = tmp_path / "out"
    output.write_text("before")
    with pytest.raises(UsageError, match="newer hashscan"):
        convert(Report(path, CONTEXT), REPORT_FORMATS[name], output)
    assert output.read_text() == "before"
    assert sorted(tmp_path.iterdir()) == [output, path]


@each_format
def test_the_document_is_private(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    report = Report(written(tmp_path / "r.jsonl", [finding(b"/srv/a")]), CONTEXT)
    convert(report, REPORT_FORMATS[name], output)
    assert output.stat().st_mode & 0o777 == 0o600


def test_the_last_record_is_found_from_the_end(tmp_path: Path) -> None:
    long = finding(b"/srv/" + b"n" * 4000, because="x" * 100_000)
    report = Report(written(tmp_path / "r.jsonl", [long, finding(b"/srv/a")], torn=b'{"type":'))
    assert report.sweep["uuid"] == SWEEP["uuid"]
    assert report.summary is not None
    assert report.summary["verdicts"]["match"] == 2
    assert Report(written(tmp_path / "k.jsonl", [long], whole=False)).summary is None
    assert Report(written(tmp_path / "e.jsonl", [], whole=False)).summary is None
