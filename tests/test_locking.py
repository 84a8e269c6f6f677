from __future__ import annotations

import fcntl
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hashscan.errors import LockedError, OutputError
from hashscan.locking import (
    LockFile,
    ReadLock,
    ScanLock,
    claimed_for_removal,
    flock_file,
    record_locked,
    try_flock,
)
from hashscan.state_dir import StateDir

HOLDER = """
import sys
from pathlib import Path
from hashscan.locking import LockFile
with LockFile(Path(sys.argv[1]), "the list"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(lock: Path) -> subprocess.Popen[str]:
    """Start another process that holds a lock until it is killed or its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_writer_at_a_time_and_the_lock_dies_with_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with holder(lock) as process:
        with pytest.raises(LockedError, match="the list is being written") as caught:
            LockFile(lock, "the list is being written", advice="Wait.")
        assert caught.value.remedy == "Wait."
        assert caught.value.exit_code == 11
        process.kill()
    with LockFile(lock, "the list is being written"):
        assert lock.stat().st_mode & 0o777 == 0o600
        assert lock.stat().st_size == 0


def test_a_lock_can_be_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with holder(lock) as process:
        releasing = threading.Timer(0.2, process.kill)
        releasing.start()
        LockFile(lock, "held", seconds=60).close()
        assert process.wait() != 0
        releasing.join()


def test_a_refused_lock_leaves_no_descriptor_open(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as process:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(LockedError):
                LockFile(tmp_path / "lock", "held")
        assert len(os.listdir("/proc/self/fd")) == before
        process.kill()


def test_a_link_in_place_of_a_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"):
        LockFile(tmp_path / "lock", "held")
    with pytest.raises(OSError, match="lock"), flock_file(tmp_path / "lock"):
        pytest.fail("a link was followed")
    assert not (tmp_path / "elsewhere").exists()


def test_a_forked_process_does_not_keep_a_record_lock(tmp_path: Path) -> None:
    """Otherwise a worker that outlives its scan would refuse the next one."""
    lock = LockFile(tmp_path / "lock", "held")
    waiting, ending = os.pipe()
    child = os.fork()
    if not child:
        os.close(ending)
        os.read(waiting, 1)
        os._exit(0)
    os.close(waiting)
    try:
        lock.close()
        with holder(tmp_path / "lock") as process:
            process.kill()
    finally:
        os.close(ending)
        os.waitpid(child, 0)


def test_a_file_lock_excludes_other_descriptors_of_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with flock_file(path):
        other = os.open(path, os.O_RDWR)
        assert not try_flock(other)
    assert try_flock(other)
    os.close(other)


def test_a_record_lock_of_a_descriptor_ends_with_the_body(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    with pytest.raises(KeyError), record_locked(descriptor):
        raise KeyError
    with holder(path) as process:
        process.kill()
    os.close(descriptor)


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_a_signal_in_the_moment_of_the_lock_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    lock = fcntl.lockf

    def interrupted(*arguments: int) -> None:
        lock(*arguments)
        if not arguments[1] & fcntl.LOCK_UN:
            raise InterruptedError

    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    monkeypatch.setattr(fcntl, "lockf", interrupted)
    with pytest.raises(InterruptedError), record_locked(descriptor, seconds=seconds):
        pass
    program = f"import fcntl, os; fcntl.lockf(os.open({os.fspath(tmp_path / 'lock')!r}, os.O_RDWR), 6, 1)"
    subprocess.run([sys.executable, "-c", program], check=True)
    os.close(descriptor)


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


def test_a_second_scan_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with holder(tmp_path / "scan.lock") as process:
        with pytest.raises(LockedError) as caught:
            ScanLock(StateDir(tmp_path))
        assert caught.value.exit_code == 11
        assert str(tmp_path) in str(caught.value)
        process.kill()
        process.wait()
        ScanLock(StateDir(tmp_path)).close()


def test_the_state_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with ScanLock(StateDir(tmp_path / "a" / "state")):
        assert (tmp_path / "a" / "state").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "state" / "scan.lock").stat().st_mode & 0o777 == 0o600


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(OutputError, match="state"):
        ScanLock(StateDir(tmp_path / "state"))


def test_a_link_in_place_of_the_lock_of_a_state_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError):
        ScanLock(StateDir(tmp_path))
    assert not (tmp_path / "elsewhere").exists()
