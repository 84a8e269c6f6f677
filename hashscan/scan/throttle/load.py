"""Holds a sweep while the machine has more to do than it was said to bear.

A sweep makes load itself: its workers and decoders run all the time or wait for disks, and would hold
themselves up. So what counts is the load average less the sweep's own part in it. That is reckoned as the
kernel reckons the whole: the number of its threads that run or wait for a disk, looked at every few seconds,
with an average that forgets by e in a minute. Looking at other moments than the kernel makes it right on
average and, at any one time, wrong by a few tenths.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.scan.throttle.rate_limiter import Pace

GO_ON_BELOW = 0.75
"""Of the load that holds a sweep, so much lets it go on; between the two it does what it did."""

LOADAVG = Path("/proc/loadavg")

_LOOK_SECONDS = 2.0
_MINUTE = 60.0


class LoadGate:
    """Looks at the load from time to time, and holds the workers by their pace."""

    def __init__(
        self, most: float, pace: Pace, source: Path = LOADAVG, *, until: float | None = None
    ) -> None:
        """Look for the first time.

        Args:
            most: the load of others up to which the sweep goes on.
            pace: what the workers ask.
            source: the kernel's word for the load.
            until: when the sweep is to end, by the monotonic clock; from then on nothing is held.

        Raises:
            UsageError: there is none.
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

    def look(self) -> str:
        """Look, if it is time.

        Returns:
            What to tell a person: that the sweep now waits, or goes on; mostly nothing.
        """
        now = time.monotonic()
        if self._until is not None and now >= self._until:
            # Or it would end only when others let it, long after its time.
            self._pace.held = False
            return ""
        past = now - self._looked
        if past < _LOOK_SECONDS:
            return ""
        self._looked = now
        fade = math.exp(-past / _MINUTE)
        # Where much more time has passed we were stopped, and made no load.
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
        if self._pace.held and others <= GO_ON_BELOW * self._most:
            self._pace.held = False
            return f"the load of others is {others:.1f}: going on"
        return ""

    def _read(self) -> float:
        """The load average over a minute."""
        return float(self._source.read_text("ascii").split()[0])


def running_threads(first: int) -> int:
    """How many threads of a process and its descendants run or wait for a disk, the caller's not counted.

    Where the kernel doesn't list children (CONFIG_PROC_CHILDREN), only the process itself is looked at.
    """
    running = 0
    ours = str(threading.get_native_id())
    waiting = [str(first)]
    while waiting:
        process = waiting.pop()
        # Whatever ends meanwhile is no matter.
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
    """The letter for what a thread does, after its name in brackets, which may hold anything."""
    with open(f"{about}/stat", "rb", buffering=0) as stat:
        return stat.read(512).rpartition(b") ")[2][:1]
