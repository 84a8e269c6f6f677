"""Lock files and folders, and release what a `with` block has open.

The kernel releases a lock when the process that holds it ends, however it ends.

There are two kinds of locks, which don't see each other:

 * A record lock (`lockf`) belongs to a process. Processes that are forked or started while it is held don't
   keep it. It does not exclude other threads of the process, and closing any descriptor of the file ends it.
 * A file lock (`flock`) belongs to the open descriptor. It excludes other threads that open the file
   themselves, and a forked process shares it.

Lock files are empty, are never reached through a symlink, and are never removed: otherwise a process could
lock a file that has lost its name, while another one locks the new file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from hashscan.errors import LockedError, OutputError
from hashscan.state_dir import StateDir

_MODE = 0o600
_POLL_SECONDS = 0.1
_WAIT = "Wait until it has ended, then try again."


def lock_record(descriptor: int, message: str, *, advice: str | None = _WAIT, seconds: float = 0.0) -> None:
    """Take the exclusive record lock of a file, open for writing, for this process; wait at most `seconds`.

    Without advice, the error has that of `LockedError`.

    Raises:
        LockedError: another process holds the lock.
        OSError: the filesystem can't lock.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):  # POSIX allows either for a held lock
                raise
            if time.monotonic() >= until:
                raise LockedError(message, advice=advice) from error
        time.sleep(_POLL_SECONDS)


@contextmanager
def record_locked(descriptor: int, place: int = 0, *, seconds: float = 0.0) -> Iterator[None]:
    """Wait for the record lock of one byte of a file, and hold it while the body runs.

    Args:
        place: offset of the byte.
        seconds: time between tries; 0 to sleep until the lock is free.
    """
    try:
        # Within the block: a signal whose handler raises may come when the lock was just taken.
        while seconds and not _try_record_lock(descriptor, place):
            time.sleep(seconds)
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, place)
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, place)


def _try_record_lock(descriptor: int, place: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):
        return False
    return True


def try_flock(descriptor: int) -> bool:
    """Return True if the exclusive file lock was free; then it is held until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class ClosedOnExit(ABC):
    """An object that is closed at the end of its `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Release what the object has open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LockFile(ClosedOnExit):
    """The exclusive record lock of a lock file, from the construction of this object until `close`.

    Raises:
        LockedError: another process holds the lock.
        OSError: the file can't be opened or locked.
    """

    def __init__(self, path: Path, message: str, *, advice: str | None = _WAIT, seconds: float = 0.0) -> None:
        """Create the file if it does not exist, and lock it; the arguments are those of `lock_record`."""
        self._descriptor = _open_lock_file(path)
        try:
            lock_record(self._descriptor, message, advice=advice, seconds=seconds)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


class ScanLock(LockFile):
    """The lock of a state folder, which a scan holds while it runs; forked workers don't keep it.

    Raises:
        LockedError: another scan holds the lock.
        OutputError: the state folder can't be written.
    """

    def __init__(self, state: StateDir) -> None:
        try:
            state.make()
            super().__init__(
                state.scan_lock,
                f"another scan is running with the state folder {state}",
                advice=LockedError.advice,
            )
        except OSError as error:
            raise OutputError(f"can't use the state folder {state}: {error.strerror}") from error


@contextmanager
def flock_file(path: Path) -> Iterator[None]:
    """Wait for the exclusive file lock of a lock file, and hold it while the body runs.

    Raises:
        OSError: the file can't be opened.
    """
    descriptor = _open_lock_file(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class ReadLock:
    """A reader's shared file lock on a folder, so that writers don't remove the folder while it is in use.

    The lock ends with `close`, with the object, or with the process, whichever is first. A forked child
    shares it.
    """

    def __init__(self, folder: Path) -> None:
        """Lock `folder`; wait if a writer is removing it at this moment.

        Raises:
            OSError: the folder does not exist.
        """
        descriptor = _open_folder(folder)
        self._finalizer = weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Release the lock."""
        self._finalizer()


@contextmanager
def claimed_for_removal(folder: Path) -> Iterator[bool]:
    """Yield True if nothing else has a lock on `folder`; then nothing can lock it while the body runs.

    Raises:
        OSError: the folder does not exist.
    """
    descriptor = _open_folder(folder)
    try:
        yield try_flock(descriptor)
    finally:
        os.close(descriptor)


def _open_lock_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
