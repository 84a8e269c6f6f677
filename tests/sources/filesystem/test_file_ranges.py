"""Tests of sources.filesystem.file_ranges."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from hashscan.model import DIRECT, Batch
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem import file_ranges
from hashscan.sources.filesystem.ctime import FilesystemTypes
from hashscan.sources.filesystem.file_ranges import (
    ALL_RANGES,
    BLOCK_BYTES,
    PAIRS_MAX,
    absent_ranges,
    drop_from_cache,
    holes_exceed,
)
from hashscan.sources.filesystem.regular_files import file_stat
from hashscan.sources.filesystem.source import FilesystemSource, _File

MIB = 1 << 20
PLACES = ["/tmp", "/dev/shm"]


@contextmanager
def temporary(place: str) -> Iterator[int]:
    with tempfile.TemporaryFile(dir=place) as file:
        yield file.fileno()


@pytest.mark.parametrize("place", PLACES)
def test_only_holes(place: str) -> None:
    with temporary(place) as descriptor:
        os.ftruncate(descriptor, 15 << 40)
        assert holes_exceed(descriptor, 15 << 40, (15 << 40) - 1)
        assert not holes_exceed(descriptor, 15 << 40, 15 << 40)


@pytest.mark.parametrize("place", PLACES)
def test_data_between_holes(place: str) -> None:
    with temporary(place) as descriptor:
        for number in range(8):
            os.pwrite(descriptor, b"x" * MIB, 2 * number * MIB)
        os.ftruncate(descriptor, 16 * MIB)
        assert holes_exceed(descriptor, 16 * MIB, 8 * MIB - 1)
        assert not holes_exceed(descriptor, 16 * MIB, 8 * MIB)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("through", ["write", "mapping"])
def test_data_that_has_no_place_on_the_disk_yet_is_none(place: str, through: str) -> None:
    # Of data that waits to be written (delayed allocation), both ways of asking must know.
    with temporary(place) as descriptor:
        os.ftruncate(descriptor, 4 * MIB)
        if through == "write":
            os.pwrite(descriptor, b"x" * 4 * MIB, 0)
        else:
            with mmap.mmap(descriptor, 4 * MIB) as mapped:
                mapped[:] = b"x" * 4 * MIB
        status = os.fstat(descriptor)
        assert status.st_blocks * BLOCK_BYTES >= status.st_size
        assert not holes_exceed(descriptor, 4 * MIB, 0)


def test_no_holes_and_no_file() -> None:
    with temporary("/tmp") as descriptor:
        assert not holes_exceed(descriptor, 0, 0)
        os.pwrite(descriptor, b"x" * MIB, 0)
        assert not holes_exceed(descriptor, MIB, 0)


def test_one_that_is_cut_meanwhile() -> None:
    with temporary("/tmp") as descriptor:
        os.ftruncate(descriptor, MIB)
        # Behind its end there is nothing but a hole.
        assert holes_exceed(descriptor, 15 << 40, 8 * MIB)


def test_answers_that_make_no_sense_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "lseek", lambda descriptor, position, whence: position)
    assert not holes_exceed(0, 15 << 40, 0)
    monkeypatch.setattr(os, "lseek", lambda descriptor, position, whence: 0)
    assert not holes_exceed(0, 15 << 40, 0)
    monkeypatch.setattr(os, "lseek", lambda descriptor, position, whence: 1 << 62)
    assert not holes_exceed(0, 15 << 40, 0)


def test_very_many_holes_are_not_counted_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def seek(descriptor: int, position: int, whence: int) -> int:
        calls.append(whence)
        return position + 4096

    monkeypatch.setattr(os, "lseek", seek)
    assert holes_exceed(0, 15 << 40, 14 << 40)
    assert len(calls) == 2 * PAIRS_MAX


def opened_file(path: Path) -> _File:
    status = os.stat(path)
    return _File(os.open(path, os.O_RDONLY), file_stat(status), status.st_blocks, FilesystemTypes(0))


def test_blocks_that_say_less_than_is_there_do_not_count_alone(tmp_path: Path) -> None:
    # As file systems do that compress.
    (tmp_path / "f").write_bytes(b"x" * MIB)
    opened = opened_file(tmp_path / "f")
    opened.hole_bytes = 1 << 40
    assert not opened.holes_exceed(0)
    opened.close()


def test_without_holes_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It would wait for the lock of the file, which its owner can hold.
    (tmp_path / "f").write_bytes(b"x" * MIB)
    opened = opened_file(tmp_path / "f")
    monkeypatch.setattr(os, "lseek", None)
    assert not opened.holes_exceed(0)
    opened.close()


needs_cachestat = pytest.mark.skipif(
    find_spec("hashscan.sources._kernel_calls") is None, reason="the extension in C is not built"
)

PAGE = mmap.PAGESIZE
SIZE = 3 * 1024 * 1024 + 17


def resident(path: Path) -> list[bool]:
    """Return for each page of a file if it is in memory, by mincore(2), which the code doesn't use."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        pages = -(-len(mapped) // PAGE)
        vector = (ctypes.c_ubyte * pages)()
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(len(mapped)), vector) == 0
        return [bool(state & 1) for state in vector]


def cool(path: Path) -> None:
    """Take a file out of memory."""
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    if any(resident(path)):
        pytest.skip("this file system keeps its files in memory")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    cool(path)
    return path


@pytest.fixture
def descriptor(file: Path) -> Iterator[int]:
    opened = os.open(file, os.O_RDONLY)
    # Else what is brought in to test with is more than what was asked for.
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_RANDOM)
    yield opened
    os.close(opened)


def read_by_a_scan(file: Path) -> None:
    (batch,) = (
        listing
        for listing in FilesystemSource((os.fsencode(file),), ListingOptions()).listings()
        if isinstance(listing, Batch)
    )
    with FilesystemSource.opener(DIRECT).reopen(batch) as folder:
        opened = folder.open(batch.items[0])
        with closing(opened):
            offset = 0
            while piece := os.pread(opened.descriptor, 1 << 18, offset):
                offset += len(piece)
        assert offset == file.stat().st_size


def test_a_file_that_was_not_in_memory_is_let_go(file: Path) -> None:
    read_by_a_scan(file)
    assert not any(resident(file))


def test_a_file_that_was_in_memory_stays(file: Path) -> None:
    file.read_bytes()
    read_by_a_scan(file)
    assert all(resident(file))


@needs_cachestat
def test_what_was_in_memory_of_a_file_stays(file: Path, descriptor: int) -> None:
    os.pread(descriptor, 64 * 1024, 1024 * 1024)
    before = resident(file)
    assert any(before)
    assert not all(before)
    read_by_a_scan(file)
    after = resident(file)
    assert all(now for then, now in zip(before, after, strict=True) if then)
    # Beside it no more is left than the part that was looked at as a whole.
    assert sum(after) * PAGE <= 128 * 1024


def test_an_empty_file_and_one_that_is_all_there(tmp_path: Path, file: Path, descriptor: int) -> None:
    assert absent_ranges(descriptor, 0) == ()
    file.read_bytes()
    assert absent_ranges(descriptor, SIZE) == ()


@needs_cachestat
def test_very_large_files_are_looked_at_in_few_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 1 << 40)
    asked: list[object] = []
    count = file_ranges._cached_pages

    def counted(descriptor: int, start: int, length: int) -> int:
        asked.append((start, length))
        return count(descriptor, start, length)

    monkeypatch.setattr(file_ranges, "_cached_pages", counted)
    with path.open("rb", buffering=0) as stream:
        os.pread(stream.fileno(), 1, 1 << 39)
        ranges = absent_ranges(stream.fileno(), 1 << 40)
    assert len(asked) <= 257
    assert not any(start <= 1 << 39 < start + length for start, length in ranges)
    assert sum(length for _, length in ranges) >= (1 << 40) * 254 // 256


@pytest.fixture
def unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that doesn't answer cachestat: an old one, or one that answers owners only."""

    monkeypatch.setattr(file_ranges, "_cached_pages", lambda *_: -errno.EPERM)


def test_without_cachestat_the_beginning_is_the_judge(unanswered: None, file: Path, descriptor: int) -> None:
    assert absent_ranges(descriptor, SIZE) == ALL_RANGES
    cool(file)
    read_by_a_scan(file)
    assert not any(resident(file))
    file.read_bytes()
    assert absent_ranges(descriptor, SIZE) == ()
    read_by_a_scan(file)
    assert all(resident(file))


def test_a_file_system_that_says_nothing_is_left_alone(unanswered: None) -> None:
    # /proc can't read without waiting.
    with open("/proc/self/status", "rb", buffering=0) as stream:
        assert absent_ranges(stream.fileno(), 1) == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_of_others(file: Path) -> None:
    """Some kernels answer for one's own files only; whatever they do, the file is gone from memory after."""
    os.chmod(file, 0o444)
    for folder in (file.parent, file.parent.parent, file.parent.parent.parent):
        os.chmod(folder, 0o755)
    with file.open("rb", buffering=0) as stream:
        read = f"""
import os, sys
from hashscan.sources.filesystem.file_ranges import absent_ranges, drop_from_cache
os.setgid(65534); os.setuid(65534)
absent = absent_ranges({stream.fileno()}, {SIZE})
os.pread({stream.fileno()}, {SIZE}, 0)
drop_from_cache({stream.fileno()}, absent)
"""
        subprocess.run([sys.executable, "-c", read], check=True, pass_fds=[stream.fileno()], timeout=60)
    assert not any(resident(file))


@pytest.mark.parametrize("ranges", [ALL_RANGES, [(0, PAGE), (4 * PAGE, PAGE)]])
def test_to_let_go_of_what_is_closed_is_no_error(ranges: Sequence[tuple[int, int]]) -> None:
    reader, writer = os.pipe()
    # A pipe has no pages to let go of.
    drop_from_cache(reader, ranges)
    os.close(reader)
    os.close(writer)
