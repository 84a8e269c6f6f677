"""Decide how much memory the decoder of a large picture may have at this moment.

A picture of 200 megapixels can be a file of some kilobytes and takes up to 2 GB while it is decoded. An
attacker may have thousands of them. They can't use up the memory: the workers of a scan decode one at a time,
its decoder gets no more than is free, and the kernel kills this decoder first if others take the memory
meanwhile. They can't delay the files of others: a local file waits until all ordinary files have been checked
(`batch_queues.LargeFileQueue`), then the owners take turns, and an owner's large pictures get no more time
than `SandboxOptions.owner_large_seconds` of each worker. A picture that is not decoded because of that, or
because too little memory was free, is `undecoded` for a reason that makes the scan incomplete, and the next
scan tries it again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hashscan.settings.values import control_groups, memory_limit

_MEMINFO = Path("/proc/meminfo")
_SHARE = 0.75
"""Share of the free memory that such a decoder may take; the rest is left to other programs."""
_MIB = 1 << 20


def usable_memory(wanted: int) -> int:
    """Return the bytes of whole MiB that such a decoder may have on this machine: half of its memory at most.

    Args:
        wanted: the limit by the settings.
    """
    return min(wanted, memory_limit() // 2) // _MIB * _MIB


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
