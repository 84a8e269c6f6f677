"""Tests of sources.filesystem.walk_stack."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import OutputError
from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.filesystem.walk_stack import PendingFolders, Trail
from tests.examples import examples
from tests.sources.children import in_child
from tests.sources.trees import FOLDER, make_chain, temporary_tree

entries = st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=300))


@given(st.integers(2, 9), st.lists(st.one_of(entries, st.none()), max_size=120))
def test_last_in_first_out(limit: int, steps: list[tuple[int, bytes] | None]) -> None:
    plain: list[tuple[int, bytes]] = []
    with PendingFolders(limit) as pending:
        for step in steps:
            if step is None:
                assert pending.pop() == (plain.pop() if plain else None)
            else:
                pending.push(*step)
                plain.append(step)
        while plain:
            assert pending.pop() == plain.pop()
        assert pending.pop() is None


def nameless_files() -> dict[int, int]:
    """Return the size of each file without a name that this process holds open, by descriptor."""
    sizes = {}
    for number in map(int, os.listdir("/proc/self/fd")):
        link = f"/proc/self/fd/{number}"
        if os.path.lexists(link) and "(deleted)" in os.readlink(link):
            sizes[number] = os.stat(link).st_size
    return sizes


def spilled() -> int:
    """Return the number of bytes in files without a name that this process holds open."""
    return sum(nameless_files().values())


def test_memory_is_bounded_and_space_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = spilled()
    with PendingFolders(100) as pending:
        for number in range(100):
            pending.push(number, b"name")
        assert spilled() == before, "nothing is written as long as it fits"
        for number in range(100, 10_000):
            pending.push(number, b"name")
            if number % 50 == 0:
                assert spilled() - before >= (number - 100) * len(b"name"), "at most 100 are in memory"
        assert list(tmp_path.iterdir()) == [], "the file has no name"
        for number in range(9_999, 4_999, -1):
            assert pending.pop() == (number, b"name")
        halfway = spilled()
        for number in range(4_999, -1, -1):
            assert pending.pop() == (number, b"name")
        assert spilled() < halfway
    assert spilled() == before


def test_full_disk_is_our_own_trouble() -> None:
    def fill() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with PendingFolders(100) as pending:
            try:
                for number in range(10_000):
                    pending.push(number, b"n" * 200)
            except OutputError as error:
                return str(error)
        return "no error"

    assert "File too large" in in_child(fill)


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with PendingFolders(2) as pending:
        pending.push(0, b"name")
        pending.push(1, b"name")
        with pytest.raises(OutputError, match="No such file"):
            pending.push(2, b"name")


def test_shortened_file_is_noticed() -> None:
    before = nameless_files().keys()
    with PendingFolders(2) as pending:
        for number in range(3):
            pending.push(number, b"name")
        (descriptor,) = nameless_files().keys() - before
        os.ftruncate(descriptor, 5)
        assert pending.pop() == (2, b"name")
        assert pending.pop() == (1, b"name")
        with pytest.raises(OutputError, match="shorter"):
            pending.pop()


def test_room_for_fewer_than_two_is_a_bug() -> None:
    with pytest.raises(ValueError, match="two"):
        PendingFolders(1)


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


@settings(max_examples=examples(30), deadline=None)
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
