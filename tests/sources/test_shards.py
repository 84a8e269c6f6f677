"""Every file is in exactly one shard, and always in the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import Batch, FileStat, FolderReason, Item, Reason, Shard
from hashscan.sources.base import (
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    UnlistedFolder,
    UnreadableName,
    full_path,
)
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.shards import ShardFilter, shard_of

PINNED = {
    b"": 3,
    b"/srv/uploads/a.jpg": 14,
    b"/srv/uploads/b.jpg": 2,
    b"/srv/\xff\xfe/new\nline": 1,
    b"s3://bucket/a//b": 4,
    b"s3://bucket//lead.jpg": 14,
    b"x" * 1024: 11,
}
"""Shards of 16, which must be the same in every version to come."""

names = st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name)
keys = st.binary(min_size=1, max_size=40)
NOTHING = FileStat(0, 0, 10, 0, 0, 1, 0)


@pytest.mark.parametrize(("path", "shard"), PINNED.items(), ids=lambda value: repr(value)[:30])
def test_the_shard_of_a_path_never_changes(path: bytes, shard: int) -> None:
    assert shard_of(path, 16) == shard


def reported(listings: Iterable[Listing]) -> Counter[tuple[str, bytes]]:
    """Everything that was listed, by its path."""
    found = Counter[tuple[str, bytes]]()
    for listing in listings:
        match listing:
            case Batch():
                assert listing.items
                found.update(
                    ("file", full_path(listing.target, listing.folder, item.name)) for item in listing.items
                )
            case SkippedFile(target, folder, item):
                found["skipped", full_path(target, folder, item.name)] += 1
            case UnreadableName(target, folder, name):
                found["lost", full_path(target, folder, name)] += 1
            case UnlistedFolder(target, folder):
                found["closed", full_path(target, folder)] += 1
            case NonFileCounts():
                for what in NonFileCounts.__slots__:
                    found[what, b""] += getattr(listing, what)
    return +found


def listing_of(kind: int, target: bytes, folder: bytes, some: list[bytes]) -> Listing:
    items = tuple(Item(name, NOTHING) for name in some)
    if kind == 0:
        return SkippedFile(target, folder, items[0], Reason.EXCLUDED)
    if kind == 1:
        return UnreadableName(target, folder, some[0], Reason.VANISHED, "")
    if kind == 2:
        return UnlistedFolder(target, folder, FolderReason.PERMISSION, "")
    if kind == 3:
        return NonFileCounts(1, 2, 3, 4)
    return Batch("file", target, folder, 1, 2, items)


listings = st.lists(
    st.builds(
        listing_of,
        st.integers(0, 7),
        st.sampled_from([b"/", b"/srv", b"s3://bucket"]),
        st.sampled_from([b"", b"a", b"a/b"]),
        st.lists(keys, min_size=1, max_size=20),
    ),
    max_size=12,
)


@given(listings, st.integers(1, 9), st.integers(1, 6), st.integers(5, 60))
def test_all_shards_together_are_the_whole(
    whole: list[Listing], count: int, batch_files: int, batch_bytes: int
) -> None:
    options = ListingOptions(batch_files=batch_files, batch_bytes=batch_bytes)
    together = Counter[tuple[str, bytes]]()
    for index in range(1, count + 1):
        kept = ShardFilter(Shard(index, count), options)
        mine = list(kept.keep(whole))
        for listing in mine:
            if isinstance(listing, Batch):
                assert len(listing.items) <= batch_files
                assert len(listing.items) == 1 or 10 * len(listing.items) <= batch_bytes
        part = reported(mine)
        assert all(shard_of(path, count) == index for kind, path in part if path)
        together += part
        assert kept.targets_with_files == {
            listing.target for listing in whole if not isinstance(listing, UnlistedFolder | NonFileCounts)
        }
        assert kept.listed == sum(
            number for (kind, path), number in reported(whole).items() if kind in {"file", "skipped", "lost"}
        )
    assert together == reported(whole)


@given(st.sets(names, min_size=1, max_size=30), st.integers(2, 5))
def test_a_turn_for_every_listing(some: set[bytes], count: int) -> None:
    """Or a scan could neither show progress nor be stopped while it comes by others' files."""
    whole: list[Listing] = [Batch("file", b"/", b"", 1, 2, (Item(name, NOTHING),)) for name in some]
    given = iter(whole)
    kept = ShardFilter(Shard(1, count), ListingOptions()).keep(given)
    for _ in whole:
        next(kept)
    assert len(list(given)) <= len(some)


def test_what_is_left_of_a_folder_is_gathered(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / str(number)).write_bytes(b"x")
    options = ListingOptions(batch_files=50)
    source = FilesystemSource([os.fsencode(tmp_path)], options)
    sizes = [
        len(listing.items)
        for listing in ShardFilter(Shard(2, 4), options).keep(source.listings())
        if isinstance(listing, Batch)
    ]
    assert all(size == 50 for size in sizes[:-1])
    assert 100 < sum(sizes) < 200
