"""The delivery lock: one process at a time delivers alerts, otherwise some would be delivered twice."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hashscan.errors import LockedError
from hashscan.lists.durable import output_errors

_POLL_SECONDS = 0.1


@contextmanager
def delivery_lock(state: Path, seconds: float) -> Iterator[None]:
    """Hold the delivery lock.

    Args:
        state: the state folder whose alerts are delivered.
        seconds: the time to wait for another process.

    Raises:
        LockedError: another process takes longer.
        OutputError: the folder can't be written.
    """
    path = state / "alarms.lock"
    with output_errors(f"{path} can't be locked"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path, time.monotonic() + seconds)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, until: float) -> None:
    while True:
        try:
            # A record lock: processes that are started while it is held don't keep it.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
        if time.monotonic() > until:
            raise LockedError(
                f"another process is delivering alarms and holds {path}",
                advice="What is to be told is kept; the next command that delivers alarms tells it.",
            )
        time.sleep(_POLL_SECONDS)
