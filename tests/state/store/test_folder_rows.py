"""Folders that a complete scan has forgotten, by real folders."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.model import FileStat, Item
from hashscan.sources.shards import shard_of
from hashscan.state.store.database import open_database
from hashscan.state.store.folder_rows import FolderRows
from hashscan.state.store.listings import Listing, from_bytes, listing_of
from hashscan.state_dir import StateDir

OWN, OTHER = 1, 2
"""Scopes."""
NEVER = 0
"""In place of the scope that has checked a folder to its end."""
SCAN = 5


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    database, _, _ = open_database(StateDir(tmp_path))
    yield database
    database.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One folder that is there, one that isn't, and one in whose place there is a link."""
    tree = tmp_path / "tree"
    (tree / "there").mkdir(parents=True)
    (tree / "link").symlink_to("there")
    return tree


def kept(rows: FolderRows, tree: Path, scope: int) -> None:
    """Keep three folders of the tree, as a scan before this one left them."""
    device = tree.stat().st_dev
    number = rows.filesystem(os.fsencode(tree), device)
    assert number is not None
    for name in ("there", "gone", "link"):
        row = rows.find_or_insert(os.fsencode(tree / name), number)
        if scope != NEVER:
            rows.store_checked([(row, scope, SCAN - 1, 1, 0)])


def left(database: sqlite3.Connection) -> list[str]:
    found = database.execute("SELECT path FROM folders ORDER BY path")
    return [os.path.basename(os.fsdecode(path)) for (path,) in found]


@pytest.mark.parametrize(
    ("scope", "closed", "expected"),
    [
        (OWN, False, []),
        # What could not be entered may be anywhere.
        (OWN, True, ["there"]),
        (OTHER, False, ["there"]),
        (NEVER, False, ["there"]),
    ],
)
def test_what_is_not_there_is_forgotten_whoever_came_by_it_last(
    database: sqlite3.Connection, tree: Path, scope: int, closed: bool, expected: list[str]
) -> None:
    kept(FolderRows(database, ""), tree, scope)
    # No file was met, and so no filesystem; but this one is there.
    rows = FolderRows(database, "")
    gone = rows.delete_gone(OWN, SCAN, lambda _: True, closed=closed, everywhere=False)
    assert (gone, left(database)) == (3 - len(expected), expected)


def test_what_was_met_or_is_no_part_of_the_target_stays(database: sqlite3.Connection, tree: Path) -> None:
    rows = FolderRows(database, "")
    kept(rows, tree, OWN)
    beneath = os.fsencode(tree / "link")
    assert rows.delete_gone(OWN, SCAN - 1, lambda _: True, closed=False, everywhere=False) == 0
    assert rows.delete_gone(OWN, SCAN, lambda path: path == beneath, closed=False, everywhere=False) == 1
    assert left(database) == ["gone", "there"]


@pytest.mark.parametrize(("everywhere", "expected"), [(False, ["gone", "link", "there"]), (True, [])])
def test_a_filesystem_that_is_not_there_keeps_its_folders(
    database: sqlite3.Connection, tree: Path, everywhere: bool, expected: list[str]
) -> None:
    rows = FolderRows(database, "")
    kept(rows, tree, OWN)
    database.execute("UPDATE filesystems SET name='another disk'")
    rows = FolderRows(database, "")
    rows.delete_gone(OWN, SCAN, lambda _: True, closed=False, everywhere=everywhere)
    assert left(database) == expected


def named(*names: bytes) -> Listing:
    items = [Item(name, FileStat(1, number, 1, 1, 1, 1, 0)) for number, name in enumerate(names)]
    listing, _ = listing_of(items, 10**18)
    listing.contents[:] = 0
    return listing


@pytest.mark.parametrize(
    ("there", "shard", "expected"),
    [
        # Of files that are only left out now.
        (["a", "b"], "", {b"a", b"b"}),
        (["a"], "", {b"a"}),
        ([], "", None),
        ([], "1/2", {b"a", b"b"}),
    ],
)
def test_files_that_are_not_there_are_forgotten_whoever_came_by_them_last(
    database: sqlite3.Connection, tree: Path, there: list[str], shard: str, expected: set[bytes] | None
) -> None:
    before = FolderRows(database, "")
    kept(before, tree, OTHER)
    (filesystem,) = before.filesystems
    row = before.find_or_insert(os.fsencode(tree / "there"), filesystem)
    before.write(row, named(b"a"))
    before.add_piece(row, named(b"b"))
    for name in there:
        (tree / "there" / name).touch()
    FolderRows(database, shard).delete_gone(OWN, SCAN, lambda _: True, closed=False, everywhere=False)
    found, listing, _ = FolderRows(database, "").find(os.fsencode(tree / "there"), filesystem)
    assert (set(listing.names.split(b"/")) if found is not None else None) == expected


def names_by_shard(database: sqlite3.Connection) -> dict[str, set[bytes]]:
    found = database.execute("SELECT shard, listing FROM folders")
    return {shard: set(from_bytes(listing).names.split(b"/")) - {b""} for shard, listing in found}


def test_what_was_divided_otherwise_is_taken_over(database: sqlite3.Connection) -> None:
    names = [b"%d" % number for number in range(40)]
    inner = {name for name in names if shard_of(b"/f/" + name, 2) == 1}
    whole = FolderRows(database, "")
    whole.write(whole.find_or_insert(b"/f", 1), named(*names[:20]))
    whole.add_piece(whole.find_or_insert(b"/f", 1), named(*names[20:]))
    for index in (1, 2):
        rows = FolderRows(database, f"{index}/2")
        rows.write(rows.find_or_insert(b"/f", 1), named(b"new"))
        if index == 1:
            # What is in the other shard nobody has looked for yet.
            assert names_by_shard(database) == {"": set(names) - inner, "1/2": {b"new"}}
    assert names_by_shard(database) == {"": set(), "1/2": {b"new"}, "2/2": {b"new"}}
    whole.write(whole.find_or_insert(b"/f", 1), named(b"newest"))
    assert names_by_shard(database) == {"": {b"newest"}}
