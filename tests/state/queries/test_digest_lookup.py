"""Digests for a record of a report are those of just that file, or none."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import OutputError
from hashscan.model import Digest, FileResult, FileStat, Item, Verdict
from hashscan.reports.records import Record, result_record
from hashscan.state.findings.findings import Findings, Place
from hashscan.state.queries.digest_lookup import FindingDigests
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state_dir import StateDir
from tests.cases.world import coverage
from tests.examples import examples
from tests.state.profiles import PROFILE
from tests.state.store.test_contents import kept

FILE = FileStat(7, 1 << 63, 5, 1 << 64, -3, 1, 1000)
OBJECT = FileStat(0, 0, 5, 20, 0, 1, 0)


def digests_of(content: bytes) -> dict[str, str]:
    return {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "md5", "sha1")}


class Made:
    """A state with the findings that were put into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database, beside, _ = open_database(StateDir(folder))
        self.contents = Contents(self.database, beside, PROFILE)
        self.findings = Findings(self.database, coverage())

    def put(
        self,
        path: bytes,
        content: bytes,
        stat: FileStat,
        version: str = "",
        etag: str = "",
        keep: bool = True,
    ) -> Record:
        """Put in a match, and give the record that a report has of it."""
        number = self.contents.add(kept(content), 0, 5) if keep else None
        sha256 = Digest("sha256", hashlib.sha256(content).digest())
        result = FileResult(b"x", stat, Verdict.MATCH, content=number, digests=(sha256,))
        self.findings.store(Place(path, version), result, 1, etag=etag)
        return result_record(path, result, with_digests=False, item=Item(b"x", stat, etag, version))

    def done(self) -> FindingDigests:
        self.contents.sync()
        self.contents.close()
        self.database.close()
        return FindingDigests(StateDir(self.folder))


def test_files_and_objects(tmp_path: Path) -> None:
    made = Made(tmp_path)
    records = [
        (made.put(b"/srv/\xff\n.jpg", b"one", FILE), b"one"),
        (made.put(b"s3://b/key", b"two", OBJECT, etag="e"), b"two"),
        (made.put(b"s3://b/key", b"three", OBJECT, "v1", "e"), b"three"),
    ]
    lost = made.put(b"/srv/not kept", b"four", FILE, keep=False)
    with made.done() as known:
        for record, content in records:
            assert known.of(record) == digests_of(content)
        assert known.of(lost) == {"sha256": hashlib.sha256(b"four").hexdigest()}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    made = Made(tmp_path_factory.mktemp("state"))
    records = [
        made.put(b"/srv/a", b"one", FILE),
        made.put(b"s3://b/key", b"two", OBJECT, etag="e"),
        made.put(b"s3://b/key", b"three", OBJECT, "v1", "e"),
    ]
    made.done().close()
    return made.folder, records


def as_asked(record: Record) -> list[object]:
    """Return the fields of a record that identify its file; numbers are stored cut to 64 bits."""
    numbers = ["size", "mtime_ns", *(["inode", "ctime_ns"] if "inode" in record else [])]
    cut = [int(record.get(name, 0)) % (1 << 64) for name in numbers]
    return [record["path"], record.get("version", ""), record.get("etag", ""), *cut]


@given(
    place=st.integers(0, 2),
    key=st.sampled_from(["path", "size", "mtime_ns", "ctime_ns", "inode", "etag", "version"]),
    number=st.integers(-(1 << 66), 1 << 66),
    text=st.text(max_size=5),
)
@settings(deadline=None, max_examples=examples(150))
def test_of_what_is_not_as_the_record_has_it_nothing_is_known(
    three: tuple[Path, list[Record]], place: int, key: str, number: int, text: str
) -> None:
    folder, records = three
    record = records[place]
    changed: dict[str, Any] = {**record, key: text if key in {"path", "etag", "version"} else number}
    same = as_asked(changed) in map(as_asked, records)
    with FindingDigests(StateDir(folder)) as known:
        assert bool(known.of(changed)) is same


def test_the_latest_of_several_findings_is_taken(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.put(b"/srv/a", b"one", FILE)
    made.findings.store(Place(b"/srv/a"), FileResult(b"a", FILE, Verdict.CLEAN), 2)
    record = made.put(b"/srv/a", b"two", FILE)
    with made.done() as known:
        assert known.of(record) == digests_of(b"two")


def test_without_a_state_nothing_is_known(tmp_path: Path) -> None:
    with FindingDigests(StateDir(tmp_path)) as known:
        assert known.of({"type": "finding", "path": "/srv/a", "size": 1}) == {}


def test_a_damaged_state_is_reported(tmp_path: Path) -> None:
    made = Made(tmp_path)
    record = made.put(b"/srv/a", b"one", FILE)
    known = made.done()
    (column,) = tmp_path.rglob("md5")
    with column.open("r+b") as stream:
        stream.write(b"\1")
    with closing(known), pytest.raises(OutputError, match="damaged"):
        known.of(record)
