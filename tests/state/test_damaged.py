"""Whatever is damaged in a state, each command that reads it says so, or is not concerned."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashscan.errors import OutputError
from hashscan.lists.difference import EntryChange
from hashscan.model import Batch, FileStat, Item
from hashscan.reports.summary import Summary
from hashscan.state.queries.digest_lookup import DigestQuery, find_contents, load_content
from hashscan.state.queries.export import FORMATS, hit_record, known_record
from hashscan.state.queries.known_files import KnownFiles
from hashscan.state.queries.overview import overview_of
from hashscan.state.queries.rescan import KnownFiles as Matching
from hashscan.state.queries.would_hit import hits_of
from hashscan.state.scan_state import ScanState
from hashscan.state.scopes import Container, Scopes
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.folder_rows import FolderRows
from hashscan.state.store.object_rows import ObjectRows
from hashscan.state.store.profile import profile_of
from hashscan.state.store.reading import StateReader
from hashscan.state.vacuum import vacuum
from hashscan.state.verifying import find_damage
from hashscan.state_dir import StateDir
from tests.examples import examples
from tests.state.findings.test_findings import BUCKET, SETUP
from tests.state.put_finding import put_finding
from tests.state.store.test_contents import kept, reply
from tests.state.store.test_reading import put

PDQ = bytes(range(32))
COLUMNS = ("sha256", "md5", "sha1", "about", "pdq", "pictures", "further")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state with something in every table."""
    state = tmp_path_factory.mktemp("whole")
    database, folder, _ = open_database(StateDir(state))
    contents, rows = Contents(database, folder, profile_of(SETUP)), FolderRows(database, "")
    for number in range(6):
        value = hashlib.sha256(b"%d" % number).digest() if number else PDQ
        contents.add(
            kept(b"%d" % number, reply(value) if number % 2 == 0 else b"", -1 if number % 2 else 0), 0, 9
        )
    put(rows, b"/f", {b"0": 0, b"1": 1})
    put(rows, b"/f", {b"1": 2}, piece=True)
    rows.index_contents()
    put(rows, b"/g", {b"3": 3})
    rows.store_checked([(1, 1, 1, 1, 9)])
    objects = ObjectRows(database, "http://service")
    for number, name in ((4, b"key"), (0, b"other")):
        item = Item(name, FileStat(0, 0, 10, 1, 0, 1, 0), "etag", "")
        objects.put(Batch("s3", BUCKET, b"", 0, 0, (item,)), item, number, 2, 1)
    put_finding(database, b"/f/0", 0)
    put_finding(database, b"/g", 5, gone=3)
    database.execute("INSERT INTO hits VALUES (0), (4), (5)")
    database.execute("INSERT INTO lost VALUES (1)")
    database.execute("INSERT INTO matched VALUES ('part', 6)")
    database.execute("INSERT INTO scans (id, started, ended, exit_code) VALUES (1, 5, 6, 0)")
    database.execute("INSERT INTO scopes VALUES (1, x'2f', '', '{}', 1, 1, 3)")
    contents.sync()
    contents.close()
    # In one file and one place, so that damage meets what is read.
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    database.close()
    return state


def look_up(state: StateDir) -> None:
    with StateReader(state) as reader, reader.reading():
        sought = [
            DigestQuery("pdq", PDQ, 90),
            DigestQuery("sha256", hashlib.sha256(b"1").digest(), 0),
            DigestQuery("md5", hashlib.md5(b"3").digest(), 0),
            DigestQuery("sha512", bytes(64), 0),
        ]
        for every_variant in (False, True):
            near = {one.content: one for one in find_contents(reader, sought, every_variant=every_variant)}
            loaded = {row: load_content(reader, row) for row in near}
            for file in KnownFiles(reader).having(list(near)):
                content = loaded[file.content]
                if content is not None:
                    known_record("x", near[file.content], content, file, "")


def would_hit(state: StateDir) -> None:
    ids = np.array([b"e"], "S64")
    with StateReader(state) as reader, reader.reading():
        changes = [EntryChange(True, "pdq", "A1", ids, np.frombuffer(PDQ, np.uint8).reshape(1, -1))]
        hits = hits_of(reader, changes)
        for file in KnownFiles(reader).having(list(hits.nearest)):
            hit_record("x", hits.nearest[file.content], file)


def status(state: StateDir) -> None:
    with StateReader(state) as reader, reader.reading():
        overview_of(reader)


def check(state: StateDir) -> None:
    with StateReader(state) as reader, reader.reading():
        list(find_damage(reader))


def export(state: StateDir) -> None:
    for name, form in FORMATS.items():
        with StateReader(state) as reader, reader.reading():
            list(form(reader, with_digests=name == "csv"))


def match_known(state: StateDir) -> None:
    with Matching(state, SETUP, with_digests=False, notify=print) as known:
        list(known.results((), Summary()))
        list(known.standing(()))
        known.finish()


def scan(state: StateDir) -> None:
    scopes = Scopes([b"/f"], "", {}, containers={BUCKET: Container((BUCKET,), all_versions=False)})
    with ScanState(state, SETUP, scopes, notify=print) as scan_state:
        for name in (b"key", b"other"):
            item = Item(name, FileStat(0, 0, 10, 1, 0, 1, 0), "etag", "")
            scan_state.lookup(Batch("s3", BUCKET, b"", 0, 0, (item,)))
        scan_state.finish({b"/f": 1, BUCKET: 2}, listed=True, whole=True, closed=False, accept_shrink=True)


COMMANDS: list[Callable[[StateDir], object]] = [
    look_up, would_hit, status, check, export, match_known, scan, vacuum
]  # fmt: skip


def refusal(command: Callable[[StateDir], object], state: Path) -> OutputError | None:
    try:
        command(StateDir(state))
    except OutputError as error:
        return error
    return None


def all_bear(whole: Path, damage: Callable[[Path], None], at: Path) -> None:
    for command in COMMANDS:
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(whole / "scans", at / "scans")
        damage(at / "scans")
        said = refusal(command, at)
        assert said is None or (str(at) in str(said) and said.remedy)


def test_what_is_whole_concerns_nobody(whole: Path, tmp_path: Path) -> None:
    for command in COMMANDS:
        shutil.copytree(whole / "scans", tmp_path / command.__name__ / "scans")
        command(StateDir(tmp_path / command.__name__))
    with StateReader(StateDir(whole)) as reader:
        assert list(find_damage(reader)) == []


@settings(
    max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from((*COLUMNS, "state.sqlite")),
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=9),
    cut=st.booleans(),
)
def test_bits_that_are_flipped(
    whole: Path, tmp_path: Path, name: str, places: list[tuple[float, int]], cut: bool
) -> None:
    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        for place, bit in places:
            data[int(place * len(data))] ^= 1 << bit
        (folder / name).write_bytes(data[: int(places[0][0] * len(data))] if cut else data)

    all_bear(whole, damage, tmp_path / "damaged")


def columns_of(whole: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(whole / "scans" / "state.sqlite")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return [
            (table, row[1]) for table in tables for row in database.execute(f"PRAGMA table_info({table})")
        ]


VALUES = (
    st.none()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.integers(-2, 9)
    | st.floats()
    | st.text()
    | st.binary()
)


@settings(
    max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_values_that_nobody_has_written(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    table, column = data.draw(st.sampled_from(columns_of(whole)))
    value = data.draw(VALUES)

    def damage(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "state.sqlite")) as database:
            with suppress(sqlite3.IntegrityError):
                database.execute(f"UPDATE {table} SET {column}=?", (value,))
            database.commit()

    all_bear(whole, damage, tmp_path / "damaged")
