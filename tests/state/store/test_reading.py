"""Reading beside a writer that has committed, but not indexed yet."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.errors import OutputError
from hashscan.model import FileStat, Item
from hashscan.state.queries.digest_lookup import DigestQuery, find_contents, load_content
from hashscan.state.queries.known_files import KnownFile, KnownFiles
from hashscan.state.store.contents import LOW, Contents
from hashscan.state.store.database import MARK, OtherStateError, open_database
from hashscan.state.store.folder_rows import FolderRows
from hashscan.state.store.listings import listing_of
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir
from tests.state.profiles import PROFILE
from tests.state.put_finding import put_finding
from tests.state.store.test_contents import kept, reply

Written = tuple[sqlite3.Connection, Path, Contents, FolderRows]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    database, folder, _ = open_database(StateDir(tmp_path))
    contents = Contents(database, folder, PROFILE)
    yield database, folder, contents, FolderRows(database, "")
    contents.close()
    database.close()


def item(name: bytes, inode: int = 1) -> Item:
    return Item(name, FileStat(5, inode, 10, 20, 30, 1, 0))


def put(rows: FolderRows, path: bytes, files: dict[bytes, int], *, piece: bool = False) -> None:
    rows._database.execute("INSERT OR IGNORE INTO filesystems VALUES (1, x'61')")
    listing, _ = listing_of([item(name) for name in files], 10**18)
    listing.contents[:] = list(files.values())
    number = rows.find_or_insert(path, 1)
    (rows.add_piece if piece else rows.write)(number, listing)


def paths(state: Path, contents: list[int]) -> list[tuple[bytes, int]]:
    with StateReader(StateDir(state)) as reader:
        return [(file.path, file.content) for file in KnownFiles(reader).having(contents)]


@pytest.mark.parametrize("indexed", [False, True])
def test_what_was_committed_is_found(tmp_path: Path, written: Written, indexed: bool) -> None:
    database, _, contents, rows = written
    rowa = contents.add(kept(b"a"), 0, 5)
    picture = contents.add(kept(b"p", reply(bytes(32)), 0), 0, 6)
    poor = contents.add(kept(b"q", reply(b"\1" + bytes(31)), 0), LOW, 7)
    put(rows, b"/f", {b"a": rowa, b"p": picture, b"q": poor})
    put(rows, b"/g", {b"\xff": rowa})
    if indexed:
        rows.index_contents()
        contents.sync()
    contents.commit()
    # A transaction is open meanwhile, as in a scan.
    database.execute("BEGIN IMMEDIATE")
    with StateReader(StateDir(tmp_path)) as reader:
        contents.add(kept(b"later"), 0, 5)
        contents.commit()
        for name in ("md5", "sha1", "sha256"):
            (near,) = find_contents(reader, [DigestQuery(name, hashlib.new(name, b"a").digest(), 0)])
            assert (near.content, near.distance) == (rowa, 0)
            assert not find_contents(reader, [DigestQuery(name, hashlib.new(name, b"later").digest(), 0)])
        asked = b"\3" + bytes(31)
        (near,) = find_contents(reader, [DigestQuery("pdq", asked, 2)])
        assert (near.content, near.distance) == (picture, 2)
        assert not find_contents(reader, [DigestQuery("pdq", asked, 1)])
        # Its reply has a turned picture whose digest is all zero.
        found = find_contents(reader, [DigestQuery("pdq", bytes(32), 0)], every_variant=True)
        assert {one.content for one in found} >= {picture, poor}
        assert load_content(reader, rowa) is not None
    assert paths(tmp_path, [rowa]) == [(b"/f/a", rowa), (b"/g/\xff", rowa)]
    database.execute("ROLLBACK")


def test_what_is_not_indexed_yet_is_found_behind_what_is(tmp_path: Path, written: Written) -> None:
    _, _, contents, _ = written
    contents.add(kept(b"a"), 0, 5)
    contents.sync()
    row = contents.add(kept(b"b"), 0, 5)
    contents.commit()
    with StateReader(StateDir(tmp_path)) as reader:
        assert reader.by_sha256(hashlib.sha256(b"b").digest()) == [row]
        assert reader.by_sha256(hashlib.sha256(b"a").digest()) == [row - 1]


def test_of_a_file_that_was_read_again_the_latest_counts(tmp_path: Path, written: Written) -> None:
    _, _, contents, rows = written
    first, second = contents.add(kept(b"a"), 0, 5), contents.add(kept(b"b"), 0, 5)
    put(rows, b"/", {b"x": first, b"y": first})
    put(rows, b"/", {b"x": second}, piece=True)
    contents.commit()
    assert paths(tmp_path, [first]) == [(b"/y", first)]
    assert paths(tmp_path, [second]) == [(b"/x", second)]
    assert paths(tmp_path, [first, second]) == [(b"/x", second), (b"/y", first)]


def test_a_place_that_leads_nowhere_any_more_is_no_file(tmp_path: Path, written: Written) -> None:
    database, _, contents, rows = written
    first, second = contents.add(kept(b"a"), 0, 5), contents.add(kept(b"b"), 0, 5)
    put(rows, b"/f", {b"x": first})
    rows.index_contents()
    put(rows, b"/f", {b"x": second})
    rows.index_contents()
    contents.commit()
    assert paths(tmp_path, [first]) == []
    put_finding(database, b"/f/x", first, because="it is", first=3, last=4, gone=9)
    with StateReader(StateDir(tmp_path)) as reader:
        (file,) = KnownFiles(reader).having([first])
    assert (file.path, file.presence) == (b"/f/x", "gone")
    assert file.finding is not None
    assert (file.finding.verdict, file.finding.gone) == ("match", 9)


def test_presence_is_what_is_there_today(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"x")
    found = os.stat(path)
    identity = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    assert KnownFile(path, 0, identity, None).presence == "there"
    assert KnownFile(path, 0, (*identity[:3], 0), None).presence == "changed"
    assert KnownFile(path + b"/below", 0, identity, None).presence == "gone"
    assert KnownFile(b"s3://bucket/key", 0, identity, None).presence == "unknown"


def test_what_a_power_cut_took_is_no_damage_and_all_else_is(tmp_path: Path, written: Written) -> None:
    _, folder, contents, _ = written
    row = contents.add(kept(b"a"), 0, 5)
    contents.commit()
    (folder / "md5").write_bytes(bytes(16))
    with StateReader(StateDir(tmp_path)) as reader:
        assert load_content(reader, row) is None
    contents.sync()
    with (
        StateReader(StateDir(tmp_path)) as reader,
        pytest.raises(OutputError, match="damaged"),
        reader.reading(),
    ):
        load_content(reader, row)


def test_what_can_not_be_read_is_said(tmp_path: Path, written: Written) -> None:
    database, folder, contents, _ = written
    contents.add(kept(b"a"), 0, 5)
    contents.commit()
    with pytest.raises(OutputError, match="no scan has stored anything"):
        StateReader(StateDir(tmp_path / "none"))
    (folder / "sha1").rename(folder / "elsewhere")
    with pytest.raises(OutputError, match="can't read"):
        StateReader(StateDir(tmp_path))
    (folder / "sha1").write_bytes(b"short")
    with pytest.raises(OutputError, match="damaged: sha1 has 0 rows of 1"):
        StateReader(StateDir(tmp_path))
    database.execute("PRAGMA user_version = 99")
    with pytest.raises(OtherStateError):
        StateReader(StateDir(tmp_path))
    (folder / MARK).touch()
    with pytest.raises(OutputError, match="damaged: the last scan found it so"):
        StateReader(StateDir(tmp_path))


def test_a_database_that_is_none_is_damage(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "state.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(OutputError, match="damaged"):
        StateReader(StateDir(tmp_path))
