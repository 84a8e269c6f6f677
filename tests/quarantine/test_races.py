"""A stranger who swaps folders and files while root moves them turns nothing of it against others."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from hashscan.quarantine.captured_file import Identity, Outcome, QuarantineRequest
from hashscan.quarantine.items import State
from hashscan.quarantine.moving import move
from hashscan.quarantine.repair import verify
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir
from tests.quarantine.rooms import TERMS, Room, request

ROOT = Path(__file__).parents[2]
NAMES = [str(number) for number in range(8)]


def seen(folder: Path) -> list[tuple[object, ...]]:
    """All of a folder that only a change to its files, and no name given to them, would change."""
    return [
        (name, status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)
        for name in sorted(os.listdir(folder))
        for status, content in [((folder / name).stat(), (folder / name).read_bytes())]
    ]


def race(room: Room, outside: Path, seconds: float) -> Counter[str]:
    outside.mkdir()
    for name in NAMES:
        (outside / name).write_bytes(f"innocent {name}".encode())
    tree = room.files / "tree"
    (tree / "d").mkdir(parents=True)
    before = seen(outside)
    outcomes: Counter[str] = Counter()
    accused: set[str] = set()
    with ExitStack() as stack:
        leases = [stack.enter_context((outside / name).open("rb")) for name in NAMES]
        racer = subprocess.Popen(
            [sys.executable, "-m", "tests.quarantine.racing", tree, outside], cwd=ROOT, stdout=subprocess.PIPE
        )
        stack.callback(racer.wait)
        stack.callback(racer.kill)
        assert racer.stdout is not None
        stack.callback(racer.stdout.close)
        racer.stdout.readline()
        for lease in leases:
            # It is broken the moment that anybody opens the file for writing.
            fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        until = time.monotonic() + seconds
        with Quarantine(StateDir(room.state)) as quarantine:
            number = 0
            while time.monotonic() < until:
                asked = []
                for name in NAMES:
                    number += 1
                    content = f"accused {number}".encode()
                    accused.add(hashlib.sha256(content).hexdigest())
                    (room.files / "new").write_bytes(content)
                    # Aimed through no link, or this test would change what is outside.
                    with suppress(OSError):
                        folder = os.open(tree / "d", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                        try:
                            os.rename(room.files / "new", name, dst_dir_fd=folder)
                        finally:
                            os.close(folder)
                    asked.append(request(tree / "d" / name, content))
                for answer in move(quarantine, asked, TERMS):
                    outcomes[answer.outcome.value] += 1
        racer.send_signal(signal.SIGKILL)
        racer.wait()
        assert [fcntl.fcntl(lease, fcntl.F_GETLEASE) for lease in leases] == [fcntl.F_RDLCK] * len(leases)
    assert sum(outcomes.values()) == number
    assert seen(outside) == before
    assert verify(StateDir(room.state), None)[2] == []
    for item in room.items():
        if item.state is State.MOVED:
            assert item.sha256 in accused
            outcomes["kept"] += 1
        outcomes[State.DISPLACED] += item.state is State.DISPLACED
    assert outcomes["kept"] == outcomes[Outcome.DONE]
    return outcomes


def test_three_seconds_of_racing(room: Room, tmp_path: Path) -> None:
    race(room, tmp_path / "outside", 3)


@pytest.mark.slow
def test_who_renames_all_the_time_keeps_little(room: Room, tmp_path: Path) -> None:
    """Nothing is destroyed here, so what was found is there."""
    tree, outside = room.files / "tree", tmp_path / "outside"
    (tree / "d").mkdir(parents=True)
    outside.mkdir()
    outcomes: Counter[Outcome] = Counter()
    command = [sys.executable, "-m", "tests.quarantine.racing", tree, outside, "swapped", "moved", "filled"]
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as racer,
        Quarantine(StateDir(room.state)) as quarantine,
    ):
        assert racer.stdout is not None
        racer.stdout.readline()
        until, number = time.monotonic() + 8, 0
        while time.monotonic() < until:
            asked = []
            for name in NAMES:
                number += 1
                new, content = room.files / "new", f"accused {number}".encode()
                new.write_bytes(content)
                status = new.stat()
                found = Identity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                with suppress(OSError):
                    folder = os.open(tree / "d", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                    try:
                        os.rename(new, name, dst_dir_fd=folder)
                    finally:
                        os.close(folder)
                    digest = hashlib.sha256(content).hexdigest()
                    asked.append(QuarantineRequest(os.fsencode(tree / "d" / name), {}, digest, found))
            outcomes.update(answer.outcome for answer in move(quarantine, asked, TERMS))
        racer.kill()
    # Nearly all of them are; without a second try it is a tenth.
    assert outcomes[Outcome.DONE] > outcomes.total() / 2, outcomes
    assert verify(StateDir(room.state), None)[2] == []


@pytest.mark.slow
def test_twenty_seconds_of_racing(room: Room, tmp_path: Path) -> None:
    outcomes = race(room, tmp_path / "outside", 20)
    assert outcomes[Outcome.DONE]
    assert outcomes[Outcome.RACED]
