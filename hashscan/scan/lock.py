"""The lock of a state folder: one scan at a time uses it."""

from __future__ import annotations

from pathlib import Path

from hashscan.errors import LockedError, OutputError
from hashscan.locking import LockFile


class ScanLock(LockFile):
    """The lock that a scan holds while it runs; workers that are forked from it don't keep it.

    Raises:
        LockedError: another scan holds the lock.
        OutputError: the state folder can't be written.
    """

    def __init__(self, state: Path) -> None:
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            super().__init__(
                state / "scan.lock",
                f"another scan is running with the state folder {state}",
                advice=LockedError.advice,
            )
        except OSError as error:
            raise OutputError(f"can't use the state folder {state}: {error.strerror}") from error
