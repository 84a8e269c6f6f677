from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.trail import Trail

from .trees import FOLDER, make_chain, temporary_tree


def start(root: bytes) -> Trail:
    descriptor = os.open(root, FOLDER)
    status = os.fstat(descriptor)
    return Trail(descriptor, status.st_dev, status.st_ino, ())


def down(trail: Trail, name: bytes) -> None:
    descriptor = os.open(name, FOLDER, dir_fd=trail.descriptor())
    status = os.fstat(descriptor)
    trail.push(name, descriptor, status.st_dev, status.st_ino, (trail.depth,))


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def here(trail: Trail) -> tuple[int, int]:
    status = os.fstat(trail.descriptor())
    return status.st_dev, status.st_ino


@pytest.fixture
def chain(tree: bytes) -> bytes:
    """A folder beneath the tree that holds a chain of 100, to be pulled about."""
    os.mkdir(tree + b"/target")
    make_chain(tree + b"/target", [b"d%d" % level for level in range(1, 101)])
    return tree + b"/target"


@pytest.fixture(scope="module")
def long_chain() -> Iterator[bytes]:
    """A chain of 3,000, for reading only."""
    with temporary_tree(large=True) as path:
        make_chain(path, [b"d%d" % level for level in range(1, 3001)])
        yield path


def path_to(depth: int) -> bytes:
    return b"/".join(b"d%d" % level for level in range(1, depth + 1))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=12))
def test_up_and_down(long_chain: bytes, depths: list[int]) -> None:
    before = opened()
    identities = [(os.stat(long_chain).st_dev, os.stat(long_chain).st_ino)]
    with start(long_chain) as trail:
        for depth in depths:
            if depth < trail.depth:
                trail.cut(depth)
                del identities[depth + 1 :]
            while trail.depth < depth:
                down(trail, b"d%d" % (trail.depth + 1))
                identities.append(here(trail))
            assert here(trail) == identities[-1]
            assert trail.folder == path_to(depth)
            assert trail.child(b"x") == (trail.folder + b"/x").lstrip(b"/")
            assert trail.device == identities[-1][0]
            assert trail.place == ((depth - 1,) if depth else ())
            assert all(identity in trail for identity in identities)
            assert opened() - before <= 40
    assert opened() == before


def test_leaving_forgets_identities(chain: bytes) -> None:
    with start(chain) as trail:
        for level in range(1, 6):
            down(trail, b"d%d" % level)
        left = here(trail)
        trail.cut(4)
        assert left not in trail
        assert here(trail) in trail


def test_climbing_far(long_chain: bytes) -> None:
    with start(long_chain) as trail:
        noted = here(trail)
        for level in range(1, 3001):
            down(trail, b"d%d" % level)
            if level == 3:
                noted = here(trail)
        trail.cut(3)
        assert here(trail) == noted
        down(trail, b"d4")
        assert trail.folder == path_to(4)


def deep(trail: Trail, depth: int) -> None:
    for level in range(trail.depth + 1, depth + 1):
        down(trail, b"d%d" % level)


def test_finds_back_when_moved_away(chain: bytes) -> None:
    # The folder we are in is moved out of the target. Going up from it would lead to where it is now.
    os.mkdir(chain + b"/../elsewhere")
    with start(chain) as trail:
        deep(trail, 10)
        noted = here(trail)
        deep(trail, 100)
        os.rename(chain + b"/" + path_to(50), chain + b"/../elsewhere/moved")
        trail.cut(10)
        assert here(trail) == noted


def test_will_not_take_another_folder_for_it(chain: bytes) -> None:
    os.mkdir(chain + b"/../elsewhere")
    with start(chain) as trail:
        deep(trail, 100)
        os.rename(chain + b"/" + path_to(10), chain + b"/../elsewhere/moved")
        os.mkdir(chain + b"/" + path_to(10))
        os.rename(chain + b"/../elsewhere/moved/" + path_to(50)[len(path_to(10)) + 1 :], chain + b"/../d50")
        trail.cut(10)
        with pytest.raises(FileError) as caught:
            trail.descriptor()
        assert caught.value.reason is Reason.REPLACED
        trail.cut(9)
        assert trail.folder == path_to(9)
        here(trail)


def test_says_so_when_it_is_gone(chain: bytes) -> None:
    with start(chain) as trail:
        deep(trail, 100)
        os.rename(chain + b"/" + path_to(60), chain + b"/../d60")
        os.rename(chain + b"/" + path_to(10), chain + b"/../d10")
        trail.cut(20)
        for _ in range(2):
            with pytest.raises(FileError) as caught:
                trail.descriptor()
            assert caught.value.reason is Reason.VANISHED
