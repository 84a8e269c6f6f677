"""A scan that is asked to end before it reads anything still ends with its report."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Run, environment
from tests.examples import quick_first
from tests.prefork import PREFORK
from tests.shortcomings import codes
from tests.waiting import until

PAGE = 4096
STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
OTHER_STOPS = [(number, 143) for number in (signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM, signal.SIGXCPU)]


def accounts(state: Path) -> list[tuple[int | None, str]]:
    """Exit code and reasons of each scan in the state; none while it is being made."""
    path = state / "scans" / "state.sqlite"
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute("SELECT exit_code, incomplete FROM scans ORDER BY id").fetchall()
    return []


@pytest.mark.parametrize(
    ("number", "code", "known"),
    quick_first(
        [
            *((*stop, known) for stop in STOPS for known in (False, True)),
            *((*stop, False) for stop in OTHER_STOPS),
        ],
        3,
    ),
)
def test_between_its_record_in_the_state_and_the_first_file(
    run: Run, uploads: Path, local_list: str, state: Path, number: signal.Signals, code: int, known: bool
) -> None:
    if known:
        assert run("scan", uploads, "--report", "-").code == 1
    before = len(accounts(state))
    # It can't write the first line of its report, which it does before it reads anything.
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE)
    os.write(writing, b"\n" * PAGE)
    command = [*COMMAND, "scan", "--known" if known else str(uploads), "--report", "-"]
    with PREFORK.popen(command, env=environment(state), stdout=writing, stderr=subprocess.PIPE) as scan:
        os.close(writing)
        with open(reading, "rb") as report:
            until(lambda: scan.poll() is not None or len(accounts(state)) > before)
            scan.send_signal(number)
            lines = [json.loads(line) for line in report.read().split(b"\n") if line]
        _, err = scan.communicate(timeout=60)
    assert scan.returncode == code, err
    assert [lines[0]["type"], lines[-1]["type"]] == ["scan", "summary"]
    assert (lines[-1]["exit_code"], lines[-1]["files"] < 3) == (code, True)
    assert "stopped" in codes(lines[-1])
    (reported,) = accounts(state)[before:]
    assert reported[0] == code
    assert run("scan", uploads, "--report", "-").lines[-1]["verdicts"]["match"] == 2
