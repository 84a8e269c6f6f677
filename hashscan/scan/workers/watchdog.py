"""Notices workers that are stuck in the kernel, by what the kernel says of them in /proc/PID/status.

A read can wait without end: on a FUSE or a network filesystem whose server doesn't answer, on a dying disk,
or on the lock of a file. A customer can hold that lock: write(2) with a buffer that is mapped from a FUSE of
his own keeps the file locked until his FUSE has answered. XFS then keeps every reader of the file waiting,
and ext4 whoever asks for holes (SEEK_DATA); no signal ends that, not even SIGKILL.

Such a process sleeps (state S or D), and its counts of context switches stand still: a process is counted as
it falls asleep, and again only after it has run. One that works shows otherwise:

- One that computes, or waits for a processor, has the state R.
- One that waits for its decoder looks every half second whether that is over its limits (`sandbox.waiting`).
- One that keeps to a rate wakes every second, or ten times as often while the load is too high (`pace`).
- One that reads from a slow disk wakes with each piece that has come.
- One that was stopped (SIGSTOP as by `pause`, or by a debugger) has the state T or t, and that time doesn't
  count; nor does time in which this process was stopped itself.

Whoever lets a worker go on now and then, for one read, could hold it without end all the same. So the time
that a task was still is added up, in stretches of some seconds, and a tenth of the time in which it moved is
taken off.

Downloads are not watched (`StuckOwners.patience`). A worker that waits for a silent server may sleep for as
long, but each request has a time limit of its own, and no lock of a customer's file is in its way.

Where there is no /proc, nothing is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

_COUNTED = (b"voluntary_ctxt_switches:", b"nonvoluntary_ctxt_switches:")
_STILL = b"SDI"
_STOPPED = b"Tt"
_FORGIVEN = 0.1
"""How much of the time in which a task moved is taken off that in which it was still."""


@dataclass(frozen=True, slots=True)
class StuckLimits:
    """How long workers may be still."""

    seconds: float = 300.0
    """In one task. A hard-mounted NFS waits for its server for minutes, and a bad disk for its tries."""
    again_seconds: float = 30.0
    """In a task with files of an owner whose files have stuck `often` workers already."""
    often: int = 3
    owner_seconds: float = 1800.0
    """In all tasks of one owner that ended so; then no more of this owner's files are read in the scan."""
    look_seconds: float = 5.0
    """How often is looked."""
    stretch_seconds: float = 15.0
    """A shorter stretch in which nothing moved is not counted: a disk that others use may take so long."""


class Progress:
    """How long the present task of one process has been still."""

    def __init__(self, limits: StuckLimits) -> None:
        self._stretch_seconds = limits.stretch_seconds
        self.begin()

    def begin(self) -> None:
        """Begin with another task."""
        self._seen: tuple[bytes, ...] = ()
        self._before = self._now = 0.0

    @property
    def still(self) -> float:
        """Seconds that count."""
        return self._before + self._now

    def look(self, process: int, elapsed: float) -> None:
        """Look at the process.

        Args:
            process: its id.
            elapsed: seconds since it was looked at before.
        """
        state, counts = _status(process)
        if state in _STOPPED:
            return
        if state in _STILL and counts == self._seen:
            self._now += elapsed
        elif self._seen:
            if self._now >= self._stretch_seconds:
                self._before += self._now
            else:
                self._before = max(0.0, self._before - _FORGIVEN * elapsed)
            self._now = 0.0
        self._seen = counts


def _status(process: int) -> tuple[bytes, tuple[bytes, ...]]:
    """State and counts of context switches of a process's main thread; running where they aren't said."""
    try:
        with open(f"/proc/{process}/status", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return b"R", ()
    state = next((line[7:8] for line in lines if line.startswith(b"State:\t")), b"R")
    return state, tuple(line for line in lines if line.startswith(_COUNTED))
