"""Killed between any two steps, a file is in its place or in quarantine: never both, never neither."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.folder import QuarantineFolders
from hashscan.quarantine.items import State
from hashscan.quarantine.repair import verify
from hashscan.state_dir import StateDir
from tests.examples import quick_first
from tests.quarantine.dying import NAMES
from tests.quarantine.rooms import Room, mended, where_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("way", quick_first(["within", "across"]))
@pytest.mark.parametrize("what", ["move", "restore"])
def test_killed_before_any_step(
    what: str, way: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    if way == "across":
        files = request.getfixturevalue("shared")
        monkeypatch.setattr(QuarantineFolders, "_at_mount_point", lambda self, mount: None)
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
        assert mended(room.state) == []
        assert verify(StateDir(room.state), None)[2] == []
        for name in NAMES:
            where = where_of(room, room.files / name, b"accused", 0o640)
            ended[where] += 1
    assert len(runs) > 10
    # The last one was not killed.
    assert where == ("noted" if what == "move" else "there")
    assert set(ended) == {"there", "kept", "noted"}


def broken_off(room: Room, path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Begin to move a file, and have a call of the system fail, the number of those before it given."""
    call, left = getattr(system, name), [number]

    def failing(*arguments: Any) -> Any:
        if not left[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left[0] -= 1
        return call(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(system, name, failing)
        with pytest.raises(OutputError):
            room.take(path)


def test_a_later_file_with_the_number_of_the_first_is_not_taken_for_it(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuarantineFolders, "_at_mount_point", lambda self, mount: None)
    room = Room(shared / "state", tmp_path / "files")
    path = room.file("a")
    inode = path.stat().st_ino
    broken_off(room, path, monkeypatch, "sync_file_system", 1)
    assert not path.exists()
    for number in range(100):
        path.write_bytes(b"a later one")
        if path.stat().st_ino == inode:
            break
        path.rename(room.files / f"other{number}")
    else:
        pytest.skip("this file system gives no number twice")
    assert mended(room.state) == []
    (item,) = room.items()
    assert item.state is State.MOVED
    assert (Path(os.fsdecode(item.place)) / item.id).read_bytes() == b"accused"
    assert path.read_bytes() == b"a later one"
    assert verify(StateDir(room.state), None)[1:] == (1, [])


def test_what_was_changed_on_its_way_goes_back(far_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = far_room.file("a")
    (far_room.files / "link").hardlink_to(path)
    with path.open("r+b") as writer:
        broken_off(far_room, path, monkeypatch, "unlink", 2)
        assert not path.exists()
        writer.write(b"CHANGED")
    assert mended(far_room.state) == []
    (item,) = far_room.items()
    assert item.state is State.LEFT
    assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (b"CHANGED", 0o640)
    assert sorted(os.listdir(far_room.files)) == ["a", "link"]
    assert verify(StateDir(far_room.state), None)[1:] == (0, [])
