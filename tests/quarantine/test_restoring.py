"""Restored files are those that were moved, with all properties."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hashscan.quarantine import restoring
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped
from hashscan.quarantine.items import KEPT, State
from hashscan.quarantine.moving import move
from hashscan.quarantine.repair import verify
from hashscan.quarantine.restoring import restore, restore_all
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir
from tests.quarantine.conftest import needs_root
from tests.quarantine.rooms import TERMS, Room, in_order, request

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""To bind low ports."""


@pytest.fixture(params=["room", "far_room"])
def any_room(request: pytest.FixtureRequest) -> Room:
    room: Room = request.getfixturevalue(request.param)
    return room


def all_back(room: Room) -> list[str]:
    """Return descriptions of the items that stay."""
    with Quarantine(StateDir(room.state)) as quarantine:
        kept = [item for item in quarantine.items().values() if item.state in KEPT]
        results = list(restore_all(quarantine, reversed(kept)))
    assert len(results) == len(kept)
    return [f"{error.outcome.value}: {error}" for _, error in results if error is not None]


def laid_out(folder: Path, number: int) -> None:
    """Files of many owners, modes, attributes, lists of rights and times."""
    chance = random.Random(5)
    for n in range(number):
        path = folder / f"{n % 7}" / f"{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % n * chance.randrange(1, 3000))
        os.chown(path, chance.randrange(60_000), chance.randrange(60_000))
        path.chmod(chance.choice([0o000, 0o400, 0o644, 0o666, 0o755, 0o2755, 0o4711, 0o7777]))
        if n % 3 == 0:
            os.setxattr(path, "user.note", chance.randbytes(chance.randrange(100)))
        if n % 11 == 0:
            os.setxattr(
                path, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
            )
        if n % 5 == 0:
            subprocess.run(["setfacl", "-m", f"u:{n + 1}:rw,g:{n + 2}:r,m::r", path], check=True)
        os.utime(path, ns=(chance.randrange(2**61), chance.randrange(2**61)))
        if n % 13 == 0:
            (path.parent / f"{n}-link").hardlink_to(path)
    for n in range(7):
        os.utime(folder / f"{n}", ns=(10**18 + n, 10**18 + 7 * n))


def round_trip(room: Room, tmp_path: Path, number: int) -> None:
    for program in ("rsync", "setfacl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    laid_out(room.files, number)
    copy = tmp_path / "copy"
    subprocess.run(["rsync", "-aAXHU", f"{room.files}/", f"{copy}/"], check=True)
    paths = sorted(room.files.glob("*/*"))
    with Quarantine(StateDir(room.state)) as quarantine:
        results = list(move(quarantine, [request(path) for path in paths], TERMS))
    assert {answer.outcome for answer in results} == {Outcome.DONE}
    assert len(results) > number
    assert not [path for path in paths if path.exists()]
    assert all_back(room) == []
    compared = subprocess.run(
        ["rsync", "-aAXHnc", "--itemize-changes", "--delete", f"{room.files}/", f"{copy}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert compared.stdout == ""
    for path in paths:
        assert path.stat().st_mtime_ns == (copy / path.relative_to(room.files)).stat().st_mtime_ns
    assert verify(StateDir(room.state), None)[1:] == (0, [])


@needs_root
def test_a_hundred_files_come_back_as_they_were(room: Room, tmp_path: Path) -> None:
    round_trip(room, tmp_path, 100)


@needs_root
@pytest.mark.slow
def test_a_thousand_files_come_back_as_they_were(room: Room, tmp_path: Path) -> None:
    round_trip(room, tmp_path, 1000)


def test_a_file_comes_back(any_room: Room) -> None:
    path = any_room.file("a")
    before = path.stat()
    any_room.take(path)
    assert all_back(any_room) == []
    after = path.stat()
    assert in_order(any_room, path, b"accused", 0o640) == "there"
    assert (after.st_atime_ns, after.st_mtime_ns) == (before.st_atime_ns, before.st_mtime_ns)
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    with (
        Quarantine(StateDir(any_room.state)) as quarantine,
        pytest.raises(QuarantineSkipped, match="not in quarantine"),
    ):
        restore(quarantine, any_room.items()[0])


def test_files_of_one_folder_come_back_together_with_its_time(any_room: Room) -> None:
    paths = [any_room.file(f"d/{number}") for number in range(5)]
    os.utime(paths[0].parent, ns=(10**18, 10**18))
    any_room.take(*paths)
    with Quarantine(StateDir(any_room.state)) as quarantine:
        items = list(reversed(quarantine.items().values()))
        assert [(item.id, error) for item, error in restore_all(quarantine, items)] == [
            (item.id, None) for item in items
        ]
    assert [path.read_bytes() for path in paths] == [b"accused"] * 5
    assert paths[0].parent.stat().st_mtime_ns == 10**18
    assert verify(StateDir(any_room.state), None)[1:] == (0, [])


def test_nothing_is_replaced(any_room: Room) -> None:
    path = any_room.file("a")
    any_room.take(path)
    path.write_bytes(b"a new one")
    assert [outcome.split(":")[0] for outcome in all_back(any_room)] == ["refused"]
    assert path.read_bytes() == b"a new one"
    assert verify(StateDir(any_room.state), None)[1:] == (1, [])
    path.unlink()
    assert in_order(any_room, path, b"accused", 0o640) == "kept"
    assert all_back(any_room) == []
    assert in_order(any_room, path, b"accused", 0o640) == "there"


def test_what_stays_is_never_given_back_for_a_moment(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = any_room.file("a")
    (any_room.files / "other").hardlink_to(path)
    any_room.take(path)
    path.write_bytes(b"another")
    monkeypatch.setattr(restoring, "restore_facts", lambda *_: pytest.fail("its owner could alter it"))
    assert len(all_back(any_room)) == 1
    assert path.read_bytes() == b"another"
    assert verify(StateDir(any_room.state), None)[1:] == (1, [])


def test_a_folder_that_is_gone_or_a_link(any_room: Room) -> None:
    path = any_room.file("d/a")
    any_room.take(path)
    path.parent.rmdir()
    assert [outcome.split(":")[0] for outcome in all_back(any_room)] == ["gone"]
    (any_room.files / "elsewhere").mkdir()
    path.parent.symlink_to("elsewhere")
    assert [outcome.split(":")[0] for outcome in all_back(any_room)] == ["raced"]
    assert os.listdir(any_room.files / "elsewhere") == []
    assert verify(StateDir(any_room.state), None)[1:] == (1, [])


def test_what_is_gone_or_altered_is_said_and_stays(room: Room) -> None:
    paths = [room.file(name, name.encode()) for name in "abc"]
    items = [answer.item for answer in room.take(*paths)]
    place = room.state / "quarantine" / ".hashscan-quarantine"
    (place / items[0]).unlink()
    (place / items[1]).chmod(0o600)
    (place / items[1]).write_bytes(b"x")
    (place / items[1]).chmod(0o400)
    (place / items[2]).chmod(0o604)
    troubles = verify(StateDir(room.state), None)[2]
    assert [t.split(": ", 1)[0] for t in troubles] == [f"item {item}" for item in items]
    assert ["opened" in troubles[0], "altered" in troubles[1], "permissions" in troubles[2]] == [True] * 3
    assert sorted(outcome.split(":")[0] for outcome in all_back(room)) == ["changed", "gone"]
    assert [path.exists() for path in paths] == [False, False, True]


def test_what_was_displaced_can_be_put_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = room.file("a")
    room.take(path)
    with Quarantine(StateDir(room.state)) as quarantine:
        item = room.items()[0]
        quarantine.log_event(State.DISPLACED, item.id, place={"path": os.fsdecode(item.place)}, detail="")
        quarantine.sync()
    assert all_back(room) == []
    assert path.exists()
