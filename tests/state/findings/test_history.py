from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.state.findings.history import History
from hashscan.state.store.database import open_database
from hashscan.state_dir import StateDir
from tests.state.put_finding import put_finding

HOLD = """
import sys
from pathlib import Path
from hashscan.locking import ScanLock
from hashscan.state_dir import StateDir
with ScanLock(StateDir(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_where_no_scan_was_there_is_nothing(tmp_path: Path) -> None:
    with History(StateDir(tmp_path)) as history:
        assert (history.identity, history.last, history.last_final) == ("", 0, 0)
        assert list(history.scans(0)) == list(history.findings(0)) == []


@pytest.mark.integration
def test_what_a_scan_finds_is_reported_once_it_has_ended_or_was_killed(tmp_path: Path) -> None:
    database = open_database(StateDir(tmp_path))[0]
    database.execute("INSERT INTO scans (id, started) VALUES (1, 5)")
    put_finding(database, b"/f", None)
    database.close()
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    with History(StateDir(tmp_path)) as history:
        assert (history.last, list(history.findings(1))) == (0, [])
    held.kill()
    held.communicate()
    with History(StateDir(tmp_path)) as history:
        assert [found.path for found in history.findings(1)] == [b"/f"]
        assert (history.last, history.last_final) == (1, 0), "it may have ended just now"


def test_two_states_are_distinguished(tmp_path: Path) -> None:
    names = set()
    for name in ("one", "two", "one"):
        state = tmp_path / name
        state.mkdir(exist_ok=True)
        open_database(StateDir(state))[0].close()
        with History(StateDir(state)) as history:
            names.add(history.identity)
    assert len(names) == 2
