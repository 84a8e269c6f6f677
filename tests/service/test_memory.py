"""Memory that was used for a moment is given back, by a service of several threads, too."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.sandbox.linux_process import release_memory
from tests.service.running import service
from tests.service.serving import memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heaps are those of glibc")

HEAP_BYTES = 64 << 20
"""Addresses that glibc reserves for the heap of a thread, and their alignment, on 64 bits."""


def heaps_of_threads(pid: int) -> Iterator[int]:
    """The addresses of all heaps but the main one."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    anonymous = [line.split()[:2] for line in lines if len(line.split()) == 5]
    for (place, rights), (following, reserved) in itertools.pairwise(anonymous):
        start, end = (int(address, 16) for address in place.split("-"))
        reserve = f"{end:x}-{start + HEAP_BYTES:x}"
        if (rights, following, reserved) == ("rw-p", reserve, "---p") and start % HEAP_BYTES == 0:
            yield start


def test_free_pages_between_used_ones_are_given_back() -> None:
    made = [bytes(2000) for _ in range(40_000)]
    used = made[::1000]
    full = memory()
    del made
    release_memory()
    assert full - memory() > 60_000_000
    assert len(used) == 40


def test_threads_have_no_heaps_of_their_own(prepared_state: Path, listed: bytes) -> None:
    with service(prepared_state) as running:
        assert running.upload(listed) is not None
        threads = len(list(Path(f"/proc/{running.process.pid}/task").iterdir()))
        assert threads > 2
        assert list(heaps_of_threads(running.process.pid)) == []
