"""A folder for what a program keeps on disk while it runs, and not for long after it was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hashscan.errors import OutputError

_PREFIX = "hashscan-worker-"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this user alone, removed in the end.

    A process that is killed can't do that, so those that come after it remove what it left. The lock on a
    folder, which ends with the process however it ends, tells them that it is left.

    Raises:
        OutputError: it can't be made.
    """
    place = Path(tempfile.gettempdir())
    try:
        _remove_left(place)
        folder, lock = _made(place)
    except OSError as error:
        raise OutputError(f"can't make a folder in {place}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _made(place: Path) -> tuple[Path, int]:
    """A new folder and the lock on it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        # Until it is locked, others may take it for left.
        with suppress(FileNotFoundError):
            # Not inherited, or it would last as long as the last process that was started from here.
            lock = os.open(folder, _OPEN)
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_nlink:
                    return folder, lock
            os.close(lock)


def _remove_left(place: Path) -> None:
    """Remove the folders of this user that nobody holds any more."""
    for folder in place.glob(f"{_PREFIX}*"):
        # Others' folders, links, and what another removes at the same time are no matter.
        with suppress(OSError):
            lock = os.open(folder, _OPEN)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(lock)
