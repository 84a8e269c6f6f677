"""Sweeps leave out quarantines, and nothing that only looks like one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.errors import TargetError
from hashscan.model import Batch, Reason
from hashscan.sources.base import Passed, SkippedFile
from hashscan.sources.evidence import FOLDER_NAME, is_evidence
from hashscan.sources.filesystem import FilesystemSource
from hashscan.sources.options import ListingOptions

from .children import needs_root
from .listed import passed, walked

NAME = os.fsdecode(FOLDER_NAME)


def asked(folder: Path, name: bytes = FOLDER_NAME) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return is_evidence(descriptor, name)
    finally:
        os.close(descriptor)


@needs_root
def test_only_roots_own_private_folder_of_that_name(tmp_path: Path) -> None:
    place = tmp_path / NAME
    assert not asked(tmp_path)
    place.write_bytes(b"")
    place.chmod(0o700)
    assert not asked(tmp_path)
    place.unlink()
    place.mkdir(mode=0o700)
    assert asked(tmp_path)
    assert not asked(tmp_path, b"other")
    place.chmod(0o755)
    assert not asked(tmp_path)
    place.chmod(0o700)
    os.chown(place, 12345, 0)
    assert not asked(tmp_path)
    place.rename(tmp_path / "other")
    (tmp_path / "other").chmod(0o700)
    place.symlink_to("other")
    assert not asked(tmp_path)


@needs_root
def test_a_walk_a_list_of_names_and_a_target(tmp_path: Path) -> None:
    place = tmp_path / NAME
    place.mkdir(mode=0o700)
    (place / "item").write_bytes(b"x")
    target = os.fsencode(tmp_path)
    listings = walked(target)
    assert passed(listings) == Passed(folders=1, excluded_folders=1)
    assert not [listing for listing in listings if isinstance(listing, Batch)]
    named = list(FilesystemSource([target], ListingOptions()).named(iter([os.fsencode(place / "item")])))
    assert [listing.reason for listing in named if isinstance(listing, SkippedFile)] == [Reason.OWN]
    for inside in (place, place / "item"):
        with pytest.raises(TargetError, match="lies in a quarantine"):
            FilesystemSource([os.fsencode(inside)], ListingOptions())
    os.chown(place, 12345, 0)
    assert [listing for listing in walked(target) if isinstance(listing, Batch)]
