from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.errors import LockedError
from hashscan.lists.lock import ReadLock, claimed_for_removal, sole_writer

HOLDER = """
import sys
from pathlib import Path
from hashscan.lists.lock import sole_writer
with sole_writer(Path(sys.argv[1]), "the list"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(lock: Path) -> subprocess.Popen[str]:
    """Another process that holds a lock until it is killed or its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_writer_at_a_time_and_the_lock_dies_with_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with holder(lock) as process:
        with (
            pytest.raises(LockedError, match="another process is writing the list"),
            sole_writer(lock, "the list"),
        ):
            pytest.fail("two writers")
        process.kill()
    with sole_writer(lock, "the list"):
        assert lock.stat().st_mode & 0o777 == 0o600


def test_a_hold_keeps_a_folder_until_it_ends(tmp_path: Path) -> None:
    def removable() -> bool:
        with claimed_for_removal(tmp_path) as unused:
            return unused

    assert removable()
    first, second = ReadLock(tmp_path), ReadLock(tmp_path)
    assert not removable()
    first.close()
    assert not removable()
    del second
    gc.collect()
    assert removable()
