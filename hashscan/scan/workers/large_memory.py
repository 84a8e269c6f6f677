"""Decide how much memory the decoder of a large picture may have at this moment.

A picture of 200 megapixels can be a file of some kilobytes and takes up to 2 GB while it is decoded. An
attacker may have thousands of them. They can't use up the memory: the workers of a scan decode one at a time,
as do all scans and services that root runs on a machine; its decoder gets no more than is free, and the
kernel kills this decoder first if others take the memory
meanwhile. They can't delay the files of others: a local file waits until all ordinary files have been checked
(`batch_queues.LargeFileQueue`), then the owners take turns, and an owner's large pictures get no more time
than `SandboxOptions.owner_large_seconds` of each worker. A picture that is not decoded because of that, or
because too little memory was free, is `undecoded` for a reason that makes the scan incomplete, and the next
scan tries it again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hashscan.locking import try_flock
from hashscan.settings.values import control_groups, memory_limit

_MEMINFO = Path("/proc/meminfo")
_SHARE = 0.75
"""Share of the free memory that such a decoder may take; the rest is left to other programs."""
_MIB = 1 << 20

_TURNS = Path("/run/hashscan-large-pictures.lock")
"""The file whose lock is held while a large picture is decoded; no other user may open it."""
_PAUSE_SECONDS = 0.1

_LEAST_BYTES = 384 << 20
"""The memory that each ordinary decoder may have, however many there are."""
_DECODERS_PER_WORKER = 2
"""A decoder of pictures, and one of containers."""


def usable_memory(wanted: int) -> int:
    """Return the bytes of whole MiB that such a decoder may have on this machine: half of its memory at
    most."""
    return min(wanted, memory_limit() // 2) // _MIB * _MIB


def decoder_memory(wanted: int, workers: int) -> int:
    """Return the bytes that each ordinary decoder may have, so that all of a scan leave room for others."""
    share = int(memory_limit() * _SHARE) // (max(1, workers) * _DECODERS_PER_WORKER)
    return min(wanted, max(_LEAST_BYTES, share // _MIB * _MIB))


@contextmanager
def turn_on_machine() -> Iterator[None]:
    """Wait until no other scan or service of root decodes a large picture, and exclude them meanwhile.

    Where there is no place for a lock that other users can't hold, nothing is waited for.
    """
    try:
        descriptor = os.open(_TURNS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        status = os.stat(_TURNS.parent, follow_symlinks=False)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            # Who may replace the file could hold its lock without end.
            yield
            return
        # A worker that sleeps without end would count as stuck.
        while not try_flock(descriptor):
            time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def free_memory() -> int:
    """Return the bytes that programs can allocate now, in this machine and in its control groups.

    Memory that the kernel uses as a cache of files counts as free.
    """
    free = [memory_limit()]
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        free.append(next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) << 10)
    for folder in control_groups():
        with suppress(OSError, ValueError):
            most = int((folder / "memory.max").read_text(encoding="ascii"))
            free.append(most - _used_without_cache(folder))
    return max(0, min(free))


def _used_without_cache(group: Path) -> int:
    """Return the bytes that a control group uses, without those that the kernel can take back at once."""
    used = int((group / "memory.current").read_text(encoding="ascii"))
    lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    counts = dict(line.split() for line in lines)
    return used - int(counts.get("inactive_file", 0)) - int(counts.get("active_file", 0))


def granted_memory(usable: int) -> int:
    """Return the bytes of whole MiB, up to `usable`, that a decoder may have now."""
    return min(usable, int(free_memory() * _SHARE)) // _MIB * _MIB
