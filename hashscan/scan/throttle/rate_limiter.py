"""The rate limit for all workers of a scan together: bytes and files per second.

The workers share one small table in memory. It holds the times until which the bytes, and the files, taken so
far use up the allowed rate. A worker that wants to read reserves the next slot, and sleeps until its time.
The lock is one that the system releases when its holder is killed; a killed worker costs the scan only its
slot.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import TracebackType
from typing import Any

from hashscan.errors import OutputError
from hashscan.locking import record_locked

BURST_SECONDS = 0.1
"""The unused time that may be caught up: processes wake late, and that must not make a scan slower than
its limit."""

_LOOK_SECONDS = 0.1
"""The longest time until held workers notice that they may continue."""

_WAKE_SECONDS = 1.0
"""The longest sleep, so that a worker that waits long for its slot isn't taken for stuck (see `watchdog`)."""

_UNTIL = struct.Struct("<QQ")
"""The times when the bytes and the files taken so far are used up, in nanoseconds of the monotonic clock."""
_HELD_AT = _UNTIL.size
_SIZE = _HELD_AT + 1


class RateLimiter:
    """The shared table of the rate limiter; other processes may get it, pickled, when they start."""

    def __init__(
        self, bytes_per_second: float | None, files_per_second: float | None, *, descriptor: int | None = None
    ) -> None:
        """Make a table, or map the one behind a descriptor.

        Args:
            bytes_per_second: the limit of bytes; None is no limit.
            files_per_second: the limit of files; None is no limit.
            descriptor: the descriptor of an existing table; this object closes it.

        Raises:
            OutputError: the system has no memory to share.
        """
        self._rates = bytes_per_second, files_per_second
        self._bytes_ns = 1e9 / bytes_per_second if bytes_per_second else 0.0
        self._files_ns = 1e9 / files_per_second if files_per_second else 0.0
        if descriptor is None:
            try:
                descriptor = os.memfd_create("hashscan-pace")
                os.ftruncate(descriptor, _SIZE)
            except OSError as error:
                raise OutputError(f"can't share memory with the workers: {error.strerror}") from error
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SIZE)
        # A record lock excludes other processes, but not other threads of this one.
        self._threads = threading.Lock()

    @classmethod
    def from_file(
        cls, path: Path, bytes_per_second: float | None, files_per_second: float | None
    ) -> RateLimiter:
        """Map the table in a file, which is created if necessary, for processes that share only a path.

        Raises:
            OutputError: the file can't be created.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            os.ftruncate(descriptor, _SIZE)
        except OSError as error:
            raise OutputError(f"can't use {path}: {error.strerror}") from error
        return cls(bytes_per_second, files_per_second, descriptor=descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (*self._rates, DupFd(self._descriptor))

    @property
    def held(self) -> bool:
        """True if no worker may read at present."""
        return bool(self._memory[_HELD_AT])

    @held.setter
    def held(self, value: bool) -> None:
        self._memory[_HELD_AT] = value

    def acquire(self, files: int, size: int) -> None:
        """Wait until the rate limits allow to open this many files and read this many bytes."""
        while self._memory[_HELD_AT]:
            time.sleep(_LOOK_SECONDS)
        if not self._bytes_ns and not self._files_ns:
            return
        place = self._take(int(files * self._files_ns), int(size * self._bytes_ns))
        while (left := place - time.monotonic_ns()) > 0:
            time.sleep(min(left / 1e9, _WAKE_SECONDS))

    def _take(self, files_ns: int, bytes_ns: int) -> int:
        """Reserve the next slot, and return its time."""
        with self._threads, record_locked(self._descriptor):
            bytes_until, files_until = _UNTIL.unpack_from(self._memory, 0)
            earliest = time.monotonic_ns() - int(BURST_SECONDS * 1e9)
            bytes_place = max(bytes_until, earliest) if bytes_ns else 0
            files_place = max(files_until, earliest) if files_ns else 0
            _UNTIL.pack_into(
                self._memory,
                0,
                bytes_place + bytes_ns if bytes_ns else bytes_until,
                files_place + files_ns if files_ns else files_until,
            )
        return max(bytes_place, files_place)

    def close(self) -> None:
        """Unmap the table and close its descriptor."""
        self._memory.close()
        os.close(self._descriptor)

    def __enter__(self) -> RateLimiter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unpickle(bytes_per_second: float | None, files_per_second: float | None, passed: Any) -> RateLimiter:
    return RateLimiter(bytes_per_second, files_per_second, descriptor=passed.detach())
