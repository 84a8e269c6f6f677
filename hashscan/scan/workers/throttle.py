"""Limit how fast a scan reads: a rate limit for all its workers together, and a hold while the machine's
load is high.

The workers share one small table in memory. It holds the times until which the bytes, and the files, taken so
far use up the allowed rate. A worker that wants to read reserves the next slot, and sleeps until its time.
The lock is one that the system releases when its holder is killed; a killed worker costs the scan only its
slot.

A scan makes load itself: its workers and decoders run all the time or wait for disks, and would hold
themselves. So the value that counts is the load average minus the scan's own part. The own part is computed
as the kernel computes the whole: the number of the scan's threads that run or wait for a disk, sampled every
few seconds, in an average that decays by e in a minute. Since the samples are taken at other moments than the
kernel's, the result is right on average and, at any one time, wrong by a few tenths.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import struct
import threading
import time
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from hashscan.errors import OutputError, UsageError
from hashscan.locking import ClosedOnExit, record_locked

BURST_SECONDS = 0.1
"""The unused time that may be caught up: processes wake late, and that must not make a scan slower than
its limit."""

_HELD_CHECK_SECONDS = 0.1
"""The longest time until held workers notice that they may continue."""

_WAKE_SECONDS = 1.0
"""The longest sleep, so that a worker that waits long for its slot isn't taken for stuck (see `watchdog`)."""

_USED_UNTIL = struct.Struct("<QQ")
"""The times when the bytes and the files taken so far are used up, in nanoseconds of the monotonic clock."""
_HELD_AT = _USED_UNTIL.size
_TABLE_BYTES = _HELD_AT + 1


class RateLimiter(ClosedOnExit):
    """The shared table of the rate limiter; other processes may get it, pickled, when they start."""

    def __init__(
        self, bytes_per_second: float | None, files_per_second: float | None, *, descriptor: int | None = None
    ) -> None:
        """Make a table, or map the one behind a descriptor, which this object closes; a limit of None is
        none."""
        self._rates = bytes_per_second, files_per_second
        self._bytes_ns = 1e9 / bytes_per_second if bytes_per_second else 0.0
        self._files_ns = 1e9 / files_per_second if files_per_second else 0.0
        if descriptor is None:
            try:
                descriptor = os.memfd_create("hashscan-rate-limits")
                os.ftruncate(descriptor, _TABLE_BYTES)
            except OSError as error:
                raise OutputError(f"can't share memory with the workers: {error.strerror}") from error
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _TABLE_BYTES)
        # A record lock excludes other processes, but not other threads of this one.
        self._threads = threading.Lock()

    @classmethod
    def from_file(
        cls, path: Path, bytes_per_second: float | None, files_per_second: float | None
    ) -> RateLimiter:
        """Map the table in a file, which is created if necessary, for processes that share only a path."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            os.ftruncate(descriptor, _TABLE_BYTES)
        except OSError as error:
            raise OutputError(f"can't use {path}: {error.strerror}") from error
        return cls(bytes_per_second, files_per_second, descriptor=descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (*self._rates, DupFd(self._descriptor))

    @property
    def held(self) -> bool:
        return bool(self._memory[_HELD_AT])

    @held.setter
    def held(self, value: bool) -> None:
        self._memory[_HELD_AT] = value

    def acquire(self, files: int, size: int) -> None:
        """Wait until the rate limits allow to open this many files and read this many bytes."""
        while self._memory[_HELD_AT]:
            time.sleep(_HELD_CHECK_SECONDS)
        if not self._bytes_ns and not self._files_ns:
            return
        place = self._take(int(files * self._files_ns), int(size * self._bytes_ns))
        while (left := place - time.monotonic_ns()) > 0:
            time.sleep(min(left / 1e9, _WAKE_SECONDS))

    def _take(self, files_ns: int, bytes_ns: int) -> int:
        with self._threads, record_locked(self._descriptor):
            bytes_until, files_until = _USED_UNTIL.unpack_from(self._memory, 0)
            earliest = time.monotonic_ns() - int(BURST_SECONDS * 1e9)
            bytes_place = max(bytes_until, earliest) if bytes_ns else 0
            files_place = max(files_until, earliest) if files_ns else 0
            _USED_UNTIL.pack_into(
                self._memory,
                0,
                bytes_place + bytes_ns if bytes_ns else bytes_until,
                files_place + files_ns if files_ns else files_until,
            )
        return max(bytes_place, files_place)

    def close(self) -> None:
        self._memory.close()
        os.close(self._descriptor)


def _unpickle(bytes_per_second: float | None, files_per_second: float | None, passed: Any) -> RateLimiter:
    return RateLimiter(bytes_per_second, files_per_second, descriptor=passed.detach())


RESUME_BELOW = 0.75
"""A held scan continues below this fraction of the limit; between the two values the state stays as it is."""

LOADAVG = Path("/proc/loadavg")

_LOAD_CHECK_SECONDS = 2.0
_MINUTE = 60.0


class LoadGate:
    """A check of the load at intervals; it holds the workers through their rate limiter."""

    def __init__(
        self, most: float, rate_limiter: RateLimiter, source: Path = LOADAVG, *, until: float | None = None
    ) -> None:
        """Read the load for the first time. `most` is the load of other processes up to which the scan
        continues; after `until` (monotonic clock) nothing is held."""
        self._most = most
        self._rate_limiter = rate_limiter
        self._source = source
        self._until = until
        self._own = 0.0
        self._looked = time.monotonic() - _LOAD_CHECK_SECONDS
        try:
            self._read()
        except (OSError, ValueError, IndexError) as error:
            raise UsageError(
                f"--max-load can't be heeded: {source} can't be read",
                advice="A systemd unit needs ProcSubset=all for it.",
            ) from error

    def check(self) -> str:
        """Read the load, if the interval has passed; return a message if the scan now waits or continues."""
        now = time.monotonic()
        if self._until is not None and now >= self._until:
            # Otherwise the scan would end only when the load falls, long after its deadline.
            self._rate_limiter.held = False
            return ""
        past = now - self._looked
        if past < _LOAD_CHECK_SECONDS:
            return ""
        self._looked = now
        fade = math.exp(-past / _MINUTE)
        # If much more time has passed, this process was stopped and made no load.
        running = running_threads(os.getpid()) if past < 2 * _LOAD_CHECK_SECONDS else 0
        self._own = self._own * fade + running * (1.0 - fade)
        try:
            load = self._read()
        except (OSError, ValueError, IndexError):
            return ""
        others = max(0.0, load - self._own)
        if not self._rate_limiter.held and others > self._most:
            self._rate_limiter.held = True
            return f"the load of others is {others:.1f}, over {self._most:g}: waiting"
        if self._rate_limiter.held and others <= RESUME_BELOW * self._most:
            self._rate_limiter.held = False
            return f"the load of others is {others:.1f}: going on"
        return ""

    def _read(self) -> float:
        return float(self._source.read_text("ascii").split()[0])


def running_threads(first: int) -> int:
    """Return how many threads of a process and its descendants run or wait for a disk, without the caller's.

    If the kernel doesn't list children (CONFIG_PROC_CHILDREN), only the process itself is counted.
    """
    running = 0
    ours = str(threading.get_native_id())
    waiting = [str(first)]
    while waiting:
        process = waiting.pop()
        # Processes that end meanwhile don't matter.
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with contextlib.suppress(OSError):
                    about = f"/proc/{process}/task/{thread}"
                    if thread != ours:
                        running += _thread_state(about) in b"RD"
                    with open(f"{about}/children", "rb", buffering=0) as children:
                        waiting += children.read().decode("ascii").split()
    return running


def _thread_state(about: str) -> bytes:
    """Return a thread's state letter; it follows the name in brackets, which may contain anything."""
    with open(f"{about}/stat", "rb", buffering=0) as stat:
        return stat.read(512).rpartition(b") ")[2][:1]
