"""`hashscan report show` by the real command."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from hashscan.errors import EXIT_MEANINGS
from hashscan.reports.records import line_of
from tests.cli.conftest import COMMAND, Run, environment
from tests.prefork import PREFORK
from tests.reports.documents import HOSTILE, SCAN, finding, summary, unreadable, written
from tests.shortcomings import shortcoming


def test_what_a_report_says(run: Run, tmp_path: Path) -> None:
    moved = finding(b"/srv/m", customer="ada", quarantine={"outcome": "done"})
    stands = {"type": "standing", "schema": 1, "path": "/srv/s", "was": "match", "because": "b", "first": "x",
              "last": "2026-11-02"}  # fmt: skip
    records = [finding(b"/srv/r", "review"), moved, unreadable(b"/srv/u"), stands]
    ran = run("report", "show", written(tmp_path / "r.jsonl", records))
    assert ran.code == 0
    assert ran.err == ""
    for message in (
        "web1", "target        /srv", "2026-11-26 01:00:00 UTC", "list          national 7, fresh, 3 entries",
        f"exit          1 ({EXIT_MEANINGS[1]})",
        "verdicts      1 match, 1 review, 1 unreadable, 10 clean",
        "unreadable    1 permission denied", "customers     (not known) 2, ada 1", "3 findings",
        "1 earlier finding",
    ):  # fmt: skip
        assert message in ran.out
    rows = [line for line in ran.out.splitlines() if "/srv/" in line and "│" in line]
    assert ["/srv/m" in rows[0], "/srv/s" in rows[1], "/srv/r" in rows[2]] == [True] * 3
    assert "match, moved" in rows[0]
    assert "match, still open" in rows[1]


def test_only_so_many_findings(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/srv/%d" % number) for number in range(5)])
    ran = run("report", "show", path, "--limit", 2)
    assert "5 findings, 2 of them here" in ran.out
    assert "/srv/1" in ran.out
    assert "/srv/2" not in ran.out
    assert "/srv/0" not in run("report", "show", path, "--limit", 0).out


def test_a_killed_scan_and_one_that_was_not_whole_say_so(run: Run, tmp_path: Path) -> None:
    killed = written(tmp_path / "k.jsonl", [finding(b"/srv/a")], whole=False, torn=b'{"type":')
    ran = run("report", "show", killed)
    assert ran.code == 0
    assert "incomplete    the scan was killed" in ran.out
    path = tmp_path / "r.jsonl"
    path.write_bytes(
        line_of(SCAN)
        + line_of(summary([], incomplete=[shortcoming("list l is stale", "list", "l")], exit_code=3))
    )
    assert "incomplete    list l is stale" in run("report", "show", path).out


def test_without_a_name_the_newest_whole_one_is_shown(run: Run, state: Path) -> None:
    ran = run("report", "show")
    assert ran.code == 2
    assert "there is no report in" in ran.err
    reports = state / "reports"
    reports.mkdir(parents=True)
    for name in ("20261125T020000Z-ffffffff", "20261126T020000Z-00000000"):
        written(reports / f"{name}.jsonl", [finding(f"/srv/{name}".encode())])
    written(reports / "20261127T020000Z-00000000.jsonl.partial", [], whole=False)
    ran = run("report", "show")
    assert ran.code == 0
    assert "/srv/20261126T020000Z-00000000" in ran.out
    assert "20261125" not in ran.out


def test_what_is_no_report(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(SCAN | {"schema": 99}) + "\n")
    ran = run("report", "show", path)
    assert (ran.code, ran.out) == (2, "")
    assert "newer hashscan" in ran.err
    assert run("report", "show", tmp_path / "none").code == 2


@pytest.mark.parametrize("terminal", [False, True])
def test_no_name_reaches_the_terminal_as_a_command(tmp_path: Path, terminal: bool) -> None:
    hostile = [
        finding(name, customer=name.decode(errors="replace"), because="[red]\x1b[7m") for name in HOSTILE
    ]
    path = written(tmp_path / "r.jsonl", hostile)
    command = [*COMMAND, "report", "show", path]
    plain = environment(tmp_path / "s", {"NO_COLOR": "1", "TERM": "dumb"})
    if not terminal:
        shown = subprocess.run(command, env=plain, capture_output=True, timeout=60, check=True).stdout
    else:
        ours, theirs = pty.openpty()
        with PREFORK.popen(command, env=plain, stdout=theirs) as running:
            os.close(theirs)
            shown = b""
            while piece := _read(ours):
                shown += piece
        os.close(ours)
        assert running.returncode == 0
    text = shown.decode("utf-8")
    assert not {c for c in text if not c.isprintable()} - {"\n", "\r"}
    assert "[red]" in text
    assert "\\x1b" in text


def test_a_terminal_that_lacks_a_character(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding("/srv/ü \U0001f600.jpg".encode())])
    ran = run("report", "show", path, env={"PYTHONIOENCODING": "ascii"})
    assert ran.code == 0
    assert "/srv/\\xfc \\U0001f600.jpg" in ran.out


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # All that the other side wrote has been read.
        return b""


def test_where_it_cannot_be_written_that_is_said(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/srv/a")])
    with open("/dev/full", "w") as full:
        ran = run("report", "show", path, stdout=full)
    assert (ran.code, "can't write to standard output" in ran.err) == (12, True)


@pytest.mark.parametrize("command", ["manual", "completion bash", "config show"])
def test_a_full_disk_behind_standard_output_is_no_defect(run: Run, command: str) -> None:
    with open("/dev/full", "w") as full:
        ran = run(*command.split(), stdout=full)
    assert (ran.code, "No space left" in ran.err, "Traceback" in ran.err) == (12, True, False)
