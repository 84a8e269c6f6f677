from __future__ import annotations

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


def test_a_bar_on_a_terminal(tmp_path: Path, state: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    content = encoded(scene(1, 640, 480))
    for number in range(2000):
        (folder / f"{number}.jpg").write_bytes(content + b"%d" % number)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [*COMMAND, "scan", "--list", "demo", "--no-state", "--report", str(tmp_path / "r"), str(folder)]
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
    assert b" files" in shown
    assert b"0 findings" in shown
    assert b"MB" in shown
    assert b"2000 clean" in shown


def test_a_line_now_and_then_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    shown = ScanProgress()
    shown.tick()
    summary = Summary()
    summary.count(Verdict.MATCH, None)
    summary.bytes_read = 2_500_000
    shown.watch(summary)
    shown.tick()
    shown.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hashscan: 1 files, 2.5 MB, 1 findings, ")


def test_no_line_before_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ScanProgress()
    shown.watch(Summary())
    shown.tick()
    assert capsys.readouterr().err == ""


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
    shown.message("a word")
    shown.close()
    before, _ = capsys.readouterr().err.split("hashscan: a word\n")
    # What stood there was blanked out, from the beginning of the line.
    assert before.endswith("\r")
    assert before.rsplit("\r", 2)[1].strip() == ""
    assert "files" in before
