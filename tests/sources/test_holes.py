"""How much of a file is holes, on ext4 (or what /tmp is) and tmpfs."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hashscan.sources.ctime import FilesystemTypes
from hashscan.sources.filesystem import _File
from hashscan.sources.holes import BLOCK_BYTES, PAIRS_MAX, holes_exceed

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


def test_blocks_that_say_less_than_is_there_do_not_count_alone(tmp_path: Path) -> None:
    # As file systems do that compress.
    (tmp_path / "f").write_bytes(b"x" * MIB)
    opened = _File(os.open(tmp_path / "f", os.O_RDONLY), os.stat(tmp_path / "f"), FilesystemTypes(0))
    opened.hole_bytes = 1 << 40
    assert not opened.holes_exceed(0)
    opened.close()


def test_without_holes_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It would wait for the lock of the file, which its owner can hold.
    (tmp_path / "f").write_bytes(b"x" * MIB)
    opened = _File(os.open(tmp_path / "f", os.O_RDONLY), os.stat(tmp_path / "f"), FilesystemTypes(0))
    monkeypatch.setattr(os, "lseek", None)
    assert not opened.holes_exceed(0)
    opened.close()
