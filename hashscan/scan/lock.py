"""The lock of a state folder: one scan at a time uses it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from hashscan.errors import LockedError, OutputError


class ScanLock:
    """A lock that is held while a scan runs, and released when its process ends, however it ends.

    A record lock (fcntl) belongs to one process: workers that are forked from the scan don't keep it.

    Raises:
        LockedError: another scan holds the lock.
        OutputError: the state folder can't be written.
    """

    def __init__(self, state: Path) -> None:
        path = state / "sweep.lock"
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(f"can't use the state folder {state}: {error.strerror}") from error
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise LockedError(f"another sweep is running with the state folder {state}") from error
            raise OutputError(f"can't lock {path}: {error.strerror}") from error

    def release(self) -> None:
        """Release the lock, so that another scan can start."""
        os.close(self._descriptor)

    def __enter__(self) -> ScanLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
