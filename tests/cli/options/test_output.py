"""The format that the suffix of a file name stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.cli.options.output import choose_format, infer_format
from hashscan.errors import UsageError
from hashscan.registry import REPORT_FORMATS
from tests.cli.conftest import Run

LISTS = ("csv", "ndjson", "hsb")


@pytest.mark.parametrize("name", list(REPORT_FORMATS))
def test_the_suffix_of_every_report_format_is_known(name: str) -> None:
    assert infer_format(Path(f"found{REPORT_FORMATS[name].suffix}"), REPORT_FORMATS) == name


@pytest.mark.parametrize(
    ("file", "formats", "expected"),
    [
        ("a.HTML", REPORT_FORMATS, "html"),
        ("a.xarf.jsonl", REPORT_FORMATS, "xarf"),
        ("a.jsonl", REPORT_FORMATS, "jsonl"),
        ("a.csv.jsonl", REPORT_FORMATS, "jsonl"),
        ("a.jsonl", LISTS, "ndjson"),
        ("a.html", LISTS, None),
        ("csv", LISTS, None),
        ("a.csv/file", LISTS, None),
        ("-", LISTS, None),
    ],
)
def test_a_suffix_stands_for_a_format_of_the_command(
    file: str, formats: tuple[str, ...], expected: str | None
) -> None:
    assert infer_format(Path(file), formats) == expected


def test_the_option_comes_before_the_suffix_and_the_default_last() -> None:
    assert choose_format("hsb", Path("a.csv"), LISTS, "ndjson") == "hsb"
    assert choose_format(None, Path("a.csv"), LISTS, "ndjson") == "csv"
    assert choose_format(None, Path("a"), LISTS, "ndjson") == "ndjson"
    with pytest.raises(UsageError, match="--format"):
        choose_format(None, Path("-"), LISTS, None)


def test_commands_take_the_format_from_the_file_name(run: Run, uploads: Path, tmp_path: Path) -> None:
    found, page = tmp_path / "found.jsonl", tmp_path / "found.html"
    scanned = run("scan", uploads, "--no-state", "--list", "demo", "--report", found, "--report", page)
    assert scanned.code in {0, 1}, scanned.err
    assert found.read_bytes().startswith(b'{"type"')
    assert page.read_bytes().lower().startswith(b"<!doctype html")
    assert run("report", "convert", found, "--output", tmp_path / "found.xml").code == 0
    assert (tmp_path / "found.xml").read_bytes().startswith(b"<?xml")
    assert run("report", "convert", found).code == 2
    assert run("stats", "--output", tmp_path / "stats.html").code in {0, 12}
