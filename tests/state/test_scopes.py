"""Files that are in quarantine are distinguished from those that are gone."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from hashscan.quarantine.captured_file import QuarantineRequest
from hashscan.quarantine.moving import move
from hashscan.quarantine.restoring import restore
from hashscan.quarantine.retention import Retention
from hashscan.quarantine.store import Quarantine
from hashscan.state.scopes import QuarantinedFiles
from hashscan.state_dir import StateDir

TERMS = Retention(timedelta(1), timedelta(2))


def moved(state: Path, *paths: Path) -> None:
    with Quarantine(StateDir(state)) as quarantine:
        requests = [QuarantineRequest(os.fsencode(path), {"reason": "r"}) for path in paths]
        assert {answer.outcome for answer in move(quarantine, requests, TERMS)} == {"done"}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "files" / f"{number}" for number in range(4)]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(bytes(path))
    return paths


def test_what_was_moved_and_not_put_back(tmp_path: Path, files: list[Path]) -> None:
    state, began = tmp_path / "state", int(time.time())
    moved(state, *files[:3])
    with Quarantine(StateDir(state)) as quarantine:
        restore(quarantine, next(iter(quarantine.items().values())))
    taken = QuarantinedFiles(StateDir(state), lambda message: pytest.fail(message))
    assert [taken.has(os.fsencode(path)) for path in files] == [False, True, True, False]
    assert taken.number(lambda path: True, began) == 2
    assert taken.number(lambda path: path.endswith(b"1"), began) == 1
    assert taken.number(lambda path: True, began + 3600) == 0


def test_without_a_quarantine(tmp_path: Path) -> None:
    taken = QuarantinedFiles(StateDir(tmp_path), lambda message: pytest.fail(message))
    assert not taken.has(b"/a")
    assert os.listdir(tmp_path) == []


def test_a_damaged_log_is_reported(tmp_path: Path, files: list[Path]) -> None:
    state = tmp_path / "state"
    moved(state, files[0])
    log = state / "quarantine" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"files", b"filed"))
    said: list[str] = []
    taken = QuarantinedFiles(StateDir(state), said.append)
    assert not taken.has(os.fsencode(files[0]))
    assert taken.number(lambda path: True, 0) == 0
    assert len(said) == 1
    assert "counts as gone" in said[0]
