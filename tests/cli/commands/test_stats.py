"""`hashscan stats` as it is run: after scans, in every format, and with what makes no sense."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashscan.cases.statistics.periods import Unit
from hashscan.cli.output.statistics import WIDTH, show_statistics
from hashscan.state.store.database import FILE
from hashscan.state_dir import StateDir
from tests.cases.statistics.made import NOTHING, counted, few, year
from tests.cli.conftest import Run

TODAY = f"{datetime.now(UTC):%Y-%m-%d}"


@pytest.mark.parametrize("command", [("stats", "--format", "json"), ("state", "export")])
def test_what_is_no_file_is_not_replaced(run: Run, scanned: Path, tmp_path: Path, command: list[str]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ran = run(*command, "--output", fifo)
    assert ran.code == 2
    assert "no regular file" in ran.err
    assert fifo.is_fifo()


@pytest.fixture
def scanned(run: Run, uploads: Path, local_list: str) -> Path:
    """A folder in which a scan has found two files."""
    assert run("scan", uploads).code == 1
    return uploads


def test_what_a_scan_has_found_is_counted_until_it_is_gone(
    run: Run, scanned: Path, state: Path, tmp_path: Path
) -> None:
    ran = run("stats", "--format", "json", "--by", "day")
    assert ran.code == 0, ran.err
    figures = json.loads(ran.out)
    (today,) = [period for period in figures["periods"] if sum(period["scans"].values())]
    # Midnight may pass while this runs.
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    assert today["period"] in {TODAY, yesterday, f"{datetime.now(UTC):%Y-%m-%d}"}
    assert today["files"] == 3
    assert today["bytes"] == sum(file.stat().st_size for file in scanned.iterdir())
    assert today["findings"] == {"match": 2, "held": 0, "review": 0}
    assert today["lists"] == {"ours": 2}
    assert today["categories"] == {"A1": 2}
    assert (today["removal"]["open"], today["removal"]["overdue"]) == (2, 0)
    (scanned / "listed.jpg").unlink()
    assert run("scan", scanned).code == 1
    page = tmp_path / "stats.html"
    assert run("stats", "--format", "html", "--output", page).code == 0
    assert stat.S_IMODE(page.stat().st_mode) == 0o644 & ~_umask()
    assert "<h1>" in page.read_text()
    removal = json.loads(run("stats", "--format", "json").out)["totals"]["removal"]
    assert (removal["cases"], removal["removed"], removal["within"], removal["open"]) == (2, 1, 1, 1)
    rows = list(csv.DictReader(io.StringIO(run("stats", "--format", "csv").out)))
    assert sum(int(row["findings_match"]) for row in rows) == 2
    shown = run("stats")
    assert shown.code == 0
    assert "New findings" in shown.out
    assert shown.err == ""
    (StateDir(state).scans / FILE).write_bytes(b"damaged " * 1000)
    damaged = run("stats", "--format", "json")
    assert damaged.code == 12
    assert "not up to date" in damaged.err
    assert json.loads(damaged.out)["totals"]["findings"]["match"] == 2


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_makes_no_sense_is_refused(run: Run, state: Path) -> None:
    assert run("stats").code == 12
    state.mkdir(mode=0o700)
    for options in (
        ("--since", "2026-13"),
        ("--since", "2026-02", "--until", "2026-01"),
        ("--timezone", "Europe/Nowhere"),
        ("--by", "day", "--since", "2000", "--until", "2020"),
    ):
        ran = run("stats", *options)
        assert ran.code == 2, options
        assert ran.out == ""
    assert run("stats", "--output", state / "none" / "stats.html", "--format", "html").code == 12
    figures = json.loads(run("stats", "--format", "json", "--since", "2026-01", "--until", "2026-03").out)
    assert [period["period"] for period in figures["periods"]] == ["2026-01", "2026-02", "2026-03"]


class Stream(io.StringIO):
    """A stream of another encoding, or on a terminal."""

    def __init__(self, encoding: str = "utf-8", *, terminal: bool = False) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("unit", list(Unit))
def test_all_numbers_fit_into_eighty_columns(encoding: str, unit: Unit) -> None:
    stream = Stream(encoding)
    made = counted(year(), unit, days=62)
    show_statistics(made, unit, "UTC", stream)
    text = stream.getvalue()
    assert text.encode(encoding)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    labels = [line.split()[0] for line in lines if line.strip()]
    for period, figures in made.periods:
        assert labels.count(period.label) == 4
        row = next(line for line in lines[lines.index("") :] if line.startswith(period.label))
        assert f"{figures.files:,}".replace(",", " ") in row


def test_bars_are_distinguished_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(few(), Unit.WEEK, days=11)
    stream = Stream()
    show_statistics(made, Unit.WEEK, "UTC", stream)
    (row,) = (
        line for line in stream.getvalue().splitlines() if "█" in line and "▓" in line and "2026" in line
    )
    assert row.count("█") == pytest.approx(2 * row.count("▓"), abs=1)
    monkeypatch.setenv("COLUMNS", "80")
    coloured, colourless = Stream(terminal=True), Stream(terminal=True)
    show_statistics(made, Unit.WEEK, "UTC", coloured)
    assert "\x1b[31m" in coloured.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    show_statistics(made, Unit.WEEK, "UTC", colourless)
    assert "\x1b[3" not in colourless.getvalue()


def test_a_narrow_terminal_has_all_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Stream(terminal=True)
    show_statistics(counted(year()), Unit.MONTH, "UTC", stream)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in stream.getvalue().splitlines()]
    assert sum(line.startswith("2026-07") for line in lines) == 4


@pytest.mark.parametrize("name", ["\x1b]0;title\x07\x1b[31m", "[bold red]x[/]", "\u202elist", "n" * 300])
def test_names_of_lists_can_do_nothing(name: str) -> None:
    stream = Stream()
    show_statistics(counted(few(name)), Unit.MONTH, name, stream)
    text = stream.getvalue()
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "[bold red]x[/]" in text or "[bold" not in name


def test_nothing_is_shown_as_zero() -> None:
    stream = Stream()
    show_statistics(counted(NOTHING), Unit.MONTH, "UTC", stream)
    assert stream.getvalue().count("2026-07") == 2


def test_a_transparency_report_is_a_new_folder_with_notes(run: Run, scanned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    year = str(datetime.now(UTC).year)
    ran = run("stats", "--format", "dsa", "--year", year, "--output", folder, "--service", "S", "--explain")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("part,row,")
    parts = sorted(path.name for path in folder.iterdir())
    assert len(parts) == 12
    assert (folder / "not-filled.txt").read_text().count("\n") > 5
    assert str(folder / "not-filled.txt") in ran.err
    assert ran.err.count("\n") == 1
    assert stat.S_IMODE((folder / "4_notices.csv").stat().st_mode) == 0o644 & ~_umask()
    rows = list(csv.reader(io.StringIO((folder / "1_summary.csv").read_text())))
    assert rows[-1][1:] == ["S", "Ending date of reporting period", f"{year}-12-31"]
    for wrong in (
        ("--format", "dsa", "--output", folder, "--year", year),
        ("--format", "dsa", "--year", year),
        ("--format", "dsa", "--output", tmp_path / "other"),
        ("--format", "dsa", "--output", tmp_path / "other", "--year", "2026", "--since", "2025"),
        ("--year", year),
    ):
        assert run("stats", *wrong).code == 2, wrong
    assert sorted(path.name for path in folder.iterdir()) == parts
    assert run("stats", "--format", "dsa", "--year", year, "--output", tmp_path / "no" / "x").code == 12
