from __future__ import annotations

import logging
import os
import pty
import termios
from pathlib import Path

import pytest

from hashscan.cli.output import progress
from hashscan.cli.output.progress import ScanProgress
from hashscan.model import Verdict
from hashscan.reports.summary import Summary
from hashscan.text import human_bytes, printable
from tests.cli.conftest import COMMAND, environment
from tests.pictures import encoded, scene
from tests.prefork import PREFORK


def on_terminal(state: Path, *arguments: object) -> bytes:
    """Run a command, and return what it writes on a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [*COMMAND, *map(str, arguments)]
    process = PREFORK.popen(command, env=environment(state), stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.wait(30) == 0
    return shown


def test_a_bar_on_a_terminal(tmp_path: Path, state: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    content = encoded(scene(1, 640, 480))
    for number in range(1000):
        (folder / f"{number}.jpg").write_bytes(content + b"%d" % number)
    scan = ("scan", "--list", "demo", "--report", tmp_path / "r", folder)
    first = on_terminal(state, *scan)
    assert b" files" in first
    assert b"0 findings" in first
    assert b"MB" in first
    assert b"1000 clean" in first
    assert b"%|" not in first
    again = on_terminal(state, *scan, "--reread", "100%")
    assert b"%|" in again
    assert b"/1000 [" in again
    assert b"many" in again
    # Messages have lines of their own, from the first one on.
    for shown in (first, again):
        lines = [line.rpartition(b"\r")[2] for line in shown.split(b"\r\n")]
        assert all(line.startswith(b"hashscan: ") for line in lines if line)
    quiet = on_terminal(state, *scan, "--quiet")
    assert quiet == b""


class _Run:
    """A scan that has found something."""

    def __init__(self, expected: int | None = None) -> None:
        self.summary = Summary()
        self.summary.count(Verdict.MATCH, None)
        self.summary.bytes_read = 2_500_000
        self.expected = expected
        self.folder = b"/www/\x1b[2J\n" + b"x" * 100

    def stop(self) -> None: ...

    def processes(self) -> list[int]:
        return []


def test_nothing_elsewhere_and_a_record_now_and_then_for_verbose(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    shown = ScanProgress()
    shown.tick()
    shown.watch(_Run())
    shown.tick()
    assert capsys.readouterr().err == ""
    with caplog.at_level(logging.INFO, "hashscan"):
        shown.tick()
    shown.close()
    (record,) = caplog.records
    assert record.getMessage().startswith("1 file, 2.5 MB, 1 finding, ")


def test_the_folder_is_escaped_and_a_total_that_is_too_low_is_dropped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(progress, "_BAR_SECONDS", 0.0)
    shown, run = ScanProgress(), _Run(expected=4)
    shown.watch(run)
    shown.tick()
    first = capsys.readouterr().err
    assert "1/4 [" in first
    assert "25%" in first
    for _ in range(4):
        run.summary.count(Verdict.CLEAN, None)
    shown.tick()
    shown.close()
    text = first + capsys.readouterr().err
    assert "\\x1b[2J\\x0ax" in text
    assert "\x1b[2J" not in text
    assert "5/4" not in text


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e15, "2.0 PB")])
def test_human_bytes(number: float, text: str) -> None:
    assert human_bytes(number) == text


def test_printable() -> None:
    assert printable("a\x1b[2J\n\u202eb") == "a\\x1b[2J\\x0a\\u202eb"
    assert printable("Grüße 漢字") == "Grüße 漢字"


def test_a_line_is_written_in_place_of_the_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shown = ScanProgress()
    shown.message("before the bar")
    assert capsys.readouterr().err == "hashscan: before the bar\n"
    shown.watch(_Run())
    shown.message("a word")
    shown.close()
    before, _ = capsys.readouterr().err.split("hashscan: a word\n")
    # What stood there was blanked out, from the beginning of the line.
    assert before.endswith("\r")
    assert before.rsplit("\r", 2)[1].strip() == ""
    assert "files" in before
