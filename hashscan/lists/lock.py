"""Locks on hash lists that die with the process that holds them."""

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
    """Keep every other process from writing while the body runs.

    The lock file is never removed: a second holder could otherwise lock a name that is gone.

    Args:
        path: the lock file, made when it isn't there.
        what: what is locked, for a person.

    Raises:
        LockedError: another process holds the lock.
        OSError: the lock file can't be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # POSIX allows either for a held lock
            raise LockedError(
                f"another process is writing {what}", advice="Wait until it has ended, then try again."
            ) from error
        yield
    finally:
        os.close(descriptor)


class Hold:
    """A reader's claim on a folder, so that writers don't remove it while it is in use.

    It ends with `close`, with the object, or with the process, whichever is first. A forked child shares it.
    """

    def __init__(self, folder: Path) -> None:
        """Claim `folder`, waiting for a writer who is just removing it.

        Raises:
            OSError: there is no such folder.
        """
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._finalizer = weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Give the claim up."""
        self._finalizer()


@contextmanager
def claimed_for_removal(folder: Path) -> Iterator[bool]:
    """Whether nobody holds `folder`; while the body runs nobody new can.

    Raises:
        OSError: there is no such folder.
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
