"""File locks on hash lists; the kernel releases them when the holding process ends."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hashscan.errors import LockedError
from hashscan.lists.durable import PRIVATE_FILE


@contextmanager
def sole_writer(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on `path` while the body runs, so that no other process writes.

    The lock file is never removed: otherwise a second process could lock a file that has lost its name.

    Args:
        path: the lock file; created if it does not exist.
        what: what is locked, for the error message.

    Raises:
        LockedError: another process holds the lock.
        OSError: the lock file can't be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # POSIX allows either error for a held lock
            raise LockedError(
                f"another process is writing {what}", advice="Wait until it has ended, then try again."
            ) from error
        yield
    finally:
        os.close(descriptor)


class ReadLock:
    """A reader's shared lock on a folder, so that writers don't remove the folder while it is in use.

    The lock ends with `close`, with the object, or with the process, whichever is first. A forked child
    shares it.
    """

    def __init__(self, folder: Path) -> None:
        """Lock `folder`; wait if a writer is removing it at this moment.

        Raises:
            OSError: the folder does not exist.
        """
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._finalizer = weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Release the lock."""
        self._finalizer()


@contextmanager
def claimed_for_removal(folder: Path) -> Iterator[bool]:
    """Yield True if nobody else locks `folder`; then nobody can lock it while the body runs.

    Raises:
        OSError: the folder does not exist.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
