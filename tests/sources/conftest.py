"""Fixtures of all tests of sources: a tree, and the check that no descriptor was left open."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from hashscan.sources.filesystem import mounts, safe_open
from tests.sources.trees import make_chain, temporary_tree

DEPTH = 10_000


@pytest.fixture(autouse=True)
def _no_descriptor_leaks() -> Iterator[None]:
    # These stay open as long as their process runs.
    safe_open.own_descriptors()
    mounts._mounts._changed()
    mounts._mounts._users.clear()
    before = set(_open())
    yield
    deadline = time.monotonic() + 60
    # Threads that download end, and libraries close connections, a moment later.
    while (left := _open_since(before)) and time.monotonic() < deadline:
        # Only then: among all that tests import it takes longer than most of them.
        gc.collect()
        time.sleep(0.01)
    assert not left, f"left open: {left}"


def _open() -> dict[str, str]:
    """The descriptors, and what they lead to."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        # The descriptor that listdir used itself is gone again, and threads may just be closing others.
        with suppress(FileNotFoundError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def _open_since(before: set[str]) -> set[str]:
    """Return the targets of the descriptors that were not open before."""
    return {target for number, target in _open().items() if number not in before}


@pytest.fixture
def tree() -> Iterator[bytes]:
    """An empty folder that every user may enter."""
    with temporary_tree() as path:
        yield path


@pytest.fixture
def large_tree() -> Iterator[bytes]:
    """A folder for tens of thousands of names."""
    with temporary_tree(large=True) as path:
        yield path


@pytest.fixture(scope="session")
def deep_tree() -> Iterator[bytes]:
    """Ten thousand folders `d`, each in the one before and with a file `f`; for reading only."""
    with temporary_tree(large=True) as path:
        make_chain(path, [b"d"] * DEPTH, file=b"f")
        yield path
