"""Scans leave out the files that a quarantine's log names, and nothing that only looks like one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from hashscan.model import Batch, Reason
from hashscan.sources.base import ListingOptions, SkippedFile
from hashscan.sources.filesystem.quarantined_files import FOLDER_NAME, TAG, QuarantinedFile, QuarantineFolders
from hashscan.sources.filesystem.source import FilesystemSource

NAME = os.fsdecode(FOLDER_NAME)
CONTENT = b"evidence"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as a quarantine makes it, with an item."""
    folder = tmp_path / NAME
    folder.mkdir(mode=0o700)
    (folder / "item").write_bytes(CONTENT)
    (folder / "CACHEDIR.TAG").write_bytes(TAG)
    return folder


def recorded(place: Path, file: QuarantinedFile) -> QuarantineFolders:
    return QuarantineFolders(lambda: {os.fsencode(place): {b"item": file}})


def listed(target: Path, kept: QuarantineFolders) -> list[bytes]:
    source = FilesystemSource([os.fsencode(target)], ListingOptions(kept=kept))
    found = [listing for listing in source.listings() if isinstance(listing, Batch)]
    return sorted(item.name for batch in found for item in batch.items)


def named(path: Path, kept: QuarantineFolders) -> list[object]:
    source = FilesystemSource([os.fsencode(path.parents[1])], ListingOptions(kept=kept))
    return list(source.listings_by_name(iter([os.fsencode(path)])))


def test_what_the_log_names_is_left_out(place: Path) -> None:
    status = (place / "item").stat()
    by_times = QuarantinedFile("0" * 64, status.st_size, status.st_ino, status.st_ctime_ns)
    for file in (by_times, QuarantinedFile(SHA256, len(CONTENT)), QuarantinedFile(SHA256)):
        kept = recorded(place, file)
        assert listed(place.parent, kept) == []
        assert listed(place, kept) == []
        assert [x.reason for x in named(place / "item", kept) if isinstance(x, SkippedFile)] == [Reason.OWN]


def test_a_name_an_owner_and_a_mode_hide_nothing(place: Path) -> None:
    reported: list[str] = []
    assert listed(place.parent, QuarantineFolders(dict, reported.append)) == [b"CACHEDIR.TAG", b"item"]
    assert ["--quarantine-state" in message for message in reported] == [True]
    assert isinstance(named(place / "item", QuarantineFolders())[0], Batch)


def test_warnings_are_bounded(tmp_path: Path) -> None:
    reported: list[str] = []
    for number in range(20):
        (tmp_path / str(number) / NAME).mkdir(parents=True)
    listed(tmp_path, QuarantineFolders(dict, reported.append))
    assert len(reported) == 6


def test_anything_else_in_the_folder_is_scanned(place: Path) -> None:
    """Whoever is root in a container that has the file system to itself can write into it."""
    kept = recorded(place, QuarantinedFile(SHA256, len(CONTENT)))
    (place / "other").write_bytes(CONTENT)
    (place / "deeper").mkdir()
    (place / "deeper" / "item").write_bytes(CONTENT)
    (place / "CACHEDIR.TAG").write_bytes(TAG[:-1] + b"!")
    assert listed(place.parent, kept) == [b"CACHEDIR.TAG", b"item", b"other"]
    assert isinstance(named(place / "other", kept)[0], Batch)


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 1])
def test_an_item_that_was_written_over_is_scanned(place: Path, size: int) -> None:
    status = (place / "item").stat()
    kept = recorded(place, QuarantinedFile(SHA256, status.st_size, status.st_ino, status.st_ctime_ns - 1))
    assert listed(place.parent, kept) == []
    (place / "item").write_bytes(b"x" * size)
    assert listed(place.parent, kept) == [b"item"]


def test_the_folder_elsewhere_or_another_in_its_place_is_scanned(place: Path) -> None:
    file = QuarantinedFile(SHA256, len(CONTENT))
    moved = place.parent / "moved" / NAME
    moved.parent.mkdir()
    place.rename(moved)
    assert listed(place.parent, recorded(place, file)) == [b"CACHEDIR.TAG", b"item"]
    place.mkdir(mode=0o700)
    (place / "unlisted").write_bytes(CONTENT)
    assert listed(place.parent, recorded(place, file)) == [b"CACHEDIR.TAG", b"item", b"unlisted"]
    place.rename(place.parent / "gone")
    # A link in its path leads to nothing.
    place.symlink_to(moved)
    assert listed(place.parent, recorded(place, file)) == [b"CACHEDIR.TAG", b"item", b"unlisted"]


def test_a_copy_restored_from_a_backup_is_known_by_its_content(place: Path) -> None:
    status = (place / "item").stat()
    (place / "item").rename(place / "aside")
    (place / "item").write_bytes(CONTENT)
    (place / "aside").unlink()
    kept = recorded(place, QuarantinedFile(SHA256, len(CONTENT), status.st_ino, status.st_ctime_ns))
    assert listed(place.parent, kept) == []


def test_what_is_no_file_any_more_is_not_taken_for_one(place: Path) -> None:
    (place / "item").unlink()
    (place / "item").symlink_to("/etc/passwd")
    assert listed(place.parent, recorded(place, QuarantinedFile(SHA256, len(CONTENT)))) == []
    (place / "item").unlink()
    os.mkfifo(place / "item")
    assert listed(place.parent, recorded(place, QuarantinedFile(SHA256, len(CONTENT)))) == []
