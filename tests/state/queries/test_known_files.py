"""Objects and findings among what has a content."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.model import Batch, FileStat, Item
from hashscan.state.queries.export import hit_record
from hashscan.state.queries.known_files import KnownFiles
from hashscan.state.queries.would_hit import Hit
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.object_rows import ObjectRows
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir
from tests.state.profiles import PROFILE
from tests.state.put_finding import put_finding
from tests.state.store.test_contents import kept

URL = b"s3://bucket/key"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two versions of an object, one of them a finding, and findings of which nothing else is left."""
    database, folder, _ = open_database(StateDir(tmp_path))
    contents, objects = Contents(database, folder, PROFILE), ObjectRows(database, None)
    for number, version in enumerate(("one", "two")):
        contents.add(kept(version.encode()), 0, 5)
        item = Item(b"key", FileStat(0, 0, 10, 20, 0, 1, 0), "etag", version)
        objects.put(Batch("s3", b"s3://bucket", b"", 0, 0, (item,)), item, number, 1, 1)
    (tmp_path / "there").touch()
    paths = (URL, "two"), (bytes(tmp_path / "there"), ""), (bytes(tmp_path / "gone"), "")
    for path, version in paths:
        put_finding(database, path, 1, version=version, because="", first=3, last=4)
    database.execute("INSERT INTO scans (id, started, ended, exit_code) VALUES (1, 8, 9, 0)")
    contents.sync()
    contents.close()
    database.close()
    return tmp_path


def test_versions_and_what_only_findings_are_left_of(state: Path) -> None:
    with StateReader(StateDir(state)) as reader:
        (one,) = KnownFiles(reader).having([0])
        assert (one.path, one.version, one.etag, one.seen, one.finding) == (URL, "one", "etag", 9, None)
        two, gone, there = KnownFiles(reader).having([1])
        assert (two.path, two.version, two.presence) == (URL, "two", "unknown")
        assert all(file.finding is not None for file in (two, gone, there))
        # Whether it is the same can't be told of one that no scan has read to its end since.
        assert (gone.presence, there.presence, there.identity) == ("gone", "unknown", None)
        assert [file.version for file in KnownFiles(reader).all()] == ["one", "two"]


def test_the_record_of_an_object_that_would_be_hit(state: Path) -> None:
    with StateReader(StateDir(state)) as reader:
        (one,) = KnownFiles(reader).having([0])
    record = hit_record("ours", Hit(0, "md5", "A1", "e"), one)
    assert (record.path, record.version, record.presence) == (URL.decode(), "one", "unknown")
