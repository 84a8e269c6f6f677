"""Hold a scan while the machine's load is above the limit (`--max-load`).

A scan makes load itself: its workers and decoders run all the time or wait for disks, and would hold
themselves. So the value that counts is the load average minus the scan's own part. The own part is computed
as the kernel computes the whole: the number of the scan's threads that run or wait for a disk, sampled every
few seconds, in an average that decays by e in a minute. Since the samples are taken at other moments than the
kernel's, the result is right on average and, at any one time, wrong by a few tenths.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.scan.throttle.rate_limiter import RateLimiter

RESUME_BELOW = 0.75
"""A held scan continues below this fraction of the limit; between the two values the state stays as it is."""

LOADAVG = Path("/proc/loadavg")

_LOOK_SECONDS = 2.0
_MINUTE = 60.0


class LoadGate:
    """A check of the load at intervals; it holds the workers through their rate limiter."""

    def __init__(
        self, most: float, pace: RateLimiter, source: Path = LOADAVG, *, until: float | None = None
    ) -> None:
        """Read the load for the first time.

        Args:
            most: the load of other processes up to which the scan continues.
            pace: the workers' rate limiter.
            source: the kernel's file with the load average.
            until: the scan's deadline (monotonic clock); after it nothing is held.

        Raises:
            UsageError: the load average can't be read.
        """
        self._most = most
        self._pace = pace
        self._source = source
        self._until = until
        self._own = 0.0
        self._looked = time.monotonic() - _LOOK_SECONDS
        try:
            self._read()
        except (OSError, ValueError, IndexError) as error:
            raise UsageError(
                f"--max-load can't be heeded: {source} can't be read",
                advice="A systemd unit needs ProcSubset=all for it.",
            ) from error

    def check(self) -> str:
        """Read the load, if the interval has passed.

        Returns:
            A message for the operator that the scan now waits or continues; mostly empty.
        """
        now = time.monotonic()
        if self._until is not None and now >= self._until:
            # Otherwise the scan would end only when the load falls, long after its deadline.
            self._pace.held = False
            return ""
        past = now - self._looked
        if past < _LOOK_SECONDS:
            return ""
        self._looked = now
        fade = math.exp(-past / _MINUTE)
        # If much more time has passed, this process was stopped and made no load.
        running = running_threads(os.getpid()) if past < 2 * _LOOK_SECONDS else 0
        self._own = self._own * fade + running * (1.0 - fade)
        try:
            load = self._read()
        except (OSError, ValueError, IndexError):
            return ""
        others = max(0.0, load - self._own)
        if not self._pace.held and others > self._most:
            self._pace.held = True
            return f"the load of others is {others:.1f}, over {self._most:g}: waiting"
        if self._pace.held and others <= RESUME_BELOW * self._most:
            self._pace.held = False
            return f"the load of others is {others:.1f}: going on"
        return ""

    def _read(self) -> float:
        """Return the load average over a minute."""
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
                        running += _state(about) in b"RD"
                    with open(f"{about}/children", "rb", buffering=0) as children:
                        waiting += children.read().decode("ascii").split()
    return running


def _state(about: str) -> bytes:
    """Return a thread's state letter; it follows the name in brackets, which may contain anything."""
    with open(f"{about}/stat", "rb", buffering=0) as stat:
        return stat.read(512).rpartition(b") ")[2][:1]
