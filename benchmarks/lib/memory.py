"""Measure the memory of a running scan with all its processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

SAMPLE_SECONDS = 0.05


def descendants(pid: int) -> Iterator[int]:
    """Yield the ids of a process's descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from descendants(child)


def memory(pid: int) -> int:
    """Bytes that a process takes, with its share of what it has in common with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


class Watch:
    """Notes the most memory that the running scan's processes take together."""

    def __init__(self) -> None:
        self.most = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            for child in descendants(os.getpid()):
                try:
                    command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"hashscan" in command and b"scan" in command:
                    self.most = max(self.most, sum(map(memory, {child, *descendants(child)})))
            threading.Event().wait(SAMPLE_SECONDS)
