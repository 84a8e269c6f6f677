"""A scratch folder that is removed when the program ends, or soon after it was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hashscan.errors import OutputError
from hashscan.locking import try_flock

_PREFIX = "hashscan-worker-"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a folder for this user alone, and remove it at the end.

    A process that is killed can't remove its folder, so later processes remove it. They recognise it by its
    lock, which is released when the process ends, however it ends.

    Raises:
        OutputError: the folder can't be created.
    """
    place = Path(tempfile.gettempdir())
    try:
        _remove_abandoned(place)
        folder, lock = _create(place)
    except OSError as error:
        raise OutputError(f"can't make a folder in {place}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _create(place: Path) -> tuple[Path, int]:
    """Create a new folder and return it with its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        # Until it is locked, other processes may take it for abandoned.
        with suppress(FileNotFoundError):
            # Not inherited, otherwise the lock would last as long as the last process that was started from
            # here.
            lock = os.open(folder, _OPEN)
            if try_flock(lock) and os.fstat(lock).st_nlink:
                return folder, lock
            os.close(lock)


def _remove_abandoned(place: Path) -> None:
    """Remove the folders of this user that no process has locked."""
    for folder in place.glob(f"{_PREFIX}*"):
        # Other users' folders, symlinks, and folders that another process removes meanwhile are ignored.
        with suppress(OSError):
            lock = os.open(folder, _OPEN)
            try:
                if os.fstat(lock).st_uid == os.geteuid() and try_flock(lock):
                    shutil.rmtree(folder)
            finally:
                os.close(lock)
