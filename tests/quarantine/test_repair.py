"""Killed between any two steps, a file is in its place or in quarantine: never both, never neither."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hashscan.quarantine.place import Places
from tests.quarantine.rooms import Room, in_order

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("way", ["within", "across"])
@pytest.mark.parametrize("what", ["move", "restore"])
def test_killed_before_any_step(
    what: str, way: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    if way == "across":
        files = request.getfixturevalue("shared")
        monkeypatch.setattr(Places, "_at_the_top", lambda self, mount: None)
    subprocess.run(
        [sys.executable, "-m", "tests.quarantine.dying", what, tmp_path / "states", files, way],
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    ended: Counter[str] = Counter()
    runs = sorted((tmp_path / "states").iterdir(), key=lambda path: int(path.name))
    for state in runs:
        room = Room(state, files / state.name)
        where = in_order(room, room.files / "a", b"accused", 0o640)
        ended[where] += 1
    assert len(runs) > 10
    # The last one was not killed.
    assert where == ("noted" if what == "move" else "there")
    assert set(ended) == {"there", "kept", "noted"}
