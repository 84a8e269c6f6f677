from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from hashscan.errors import OutputError
from hashscan.state import vacuum as vacuuming
from hashscan.state.queries.digest_lookup import DigestQuery, find_contents, load_content
from hashscan.state.queries.known_files import KnownFiles
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.folder_rows import FolderRows
from hashscan.state.store.reading import StateReader
from hashscan.state.vacuum import vacuum
from hashscan.state.verifying import find_damage
from hashscan.state_dir import StateDir
from tests.state.profiles import PROFILE
from tests.state.put_finding import put_finding
from tests.state.store.test_contents import kept, reply
from tests.state.store.test_reading import put

KEPT = {b"/f/0": b"0", b"/f/3": b"3", b"/g/5": b"5", b"/g/9": b"9"}
"""Files that are there in the end, and what is in them."""
REFERRING = {
    "members",
    "objects",
    "contents",
    "places",
    "hits",
    "lost",
    "findings",
    "folders",
    "pieces",
    "matched",
} | {
    "asked",
    "answers",
}
"""Tables that name contents, or count them."""
OTHERS = {
    "meta",
    "filesystems",
    "profiles",
    "heads",
    "columns",
    "seen",
    "left_over",
    "unplaced",
    "scopes",
    "scans",
}


def picture(number: int) -> bytes:
    return reply(hashlib.sha256(b"%d" % number).digest())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Ten contents, the odd ones pictures, most of which no file has any more."""
    database, folder, _ = open_database(StateDir(tmp_path))
    contents, rows = Contents(database, folder, PROFILE), FolderRows(database, "")
    numbers = [
        contents.add(kept(b"%d" % n, picture(n) if n % 2 else b"", 0 if n % 2 else -1), 0, n)
        for n in range(10)
    ]
    assert numbers == list(range(10))
    put(rows, b"/f", {b"0": 0, b"1": 1, b"2": 2, b"3": 3})
    put(rows, b"/gone", {b"4": 4})
    rows.index_contents()
    put(rows, b"/f", {b"0": 0, b"3": 3})
    put(rows, b"/g", {b"5": 5})
    put(rows, b"/g", {b"9": 9}, piece=True)
    database.execute("DELETE FROM folders WHERE path=x'2f676f6e65'")
    put_finding(database, b"/g", 7, gone=3)
    database.executemany("INSERT INTO hits VALUES (?)", [(1,), (7,), (9,)])
    database.execute("INSERT INTO matched VALUES ('part', 8)")
    contents.sync()
    contents.close()
    database.close()
    return tmp_path


def assert_whole(state: Path) -> None:
    with StateReader(StateDir(state)) as reader:
        assert list(find_damage(reader)) == []
        files = {file.path: file.content for file in KnownFiles(reader).all()}
        assert files.keys() == KEPT.keys()
        for path, text in KEPT.items():
            number = int(text)
            (near,) = find_contents(reader, [DigestQuery("sha256", hashlib.sha256(text).digest(), 0)])
            assert near.content == files[path]
            assert [f.path for f in KnownFiles(reader).having([near.content])] == [path]
            content = load_content(reader, near.content)
            assert content is not None
            assert (content.since, content.reply) == (number, picture(number) if number % 2 else b"")
            if number % 2:
                sought = DigestQuery("pdq", hashlib.sha256(text).digest(), 0)
                assert [one.content for one in find_contents(reader, [sought])] == [near.content]


def test_only_what_is_of_no_use_goes(state: Path) -> None:
    assert_whole(state)
    done = vacuum(StateDir(state))
    assert (done.contents, done.dropped) == (10, 5)
    assert_whole(state)
    with StateReader(StateDir(state)) as reader:
        read = reader.database.execute
        assert reader.contents.rows == 5
        assert sorted(read("SELECT content FROM places")) == [(0,), (1,), (2,), (4,)]
        assert sorted(read("SELECT content FROM hits")) == [(3,), (4,)]
        assert list(read("SELECT contents FROM matched")) == [(4,)]
        assert list(read("SELECT content FROM findings")) == [(3,)]
        assert not find_contents(reader, [DigestQuery("md5", hashlib.md5(b"2").digest(), 0)])
    again = vacuum(StateDir(state))
    assert (again.contents, again.dropped) == (5, 0)
    assert_whole(state)


def test_a_scan_goes_on_with_what_is_left(state: Path) -> None:
    vacuum(StateDir(state))
    database, folder, remark = open_database(StateDir(state))
    contents = Contents(database, folder, PROFILE)
    assert remark == ""
    assert contents.add(kept(b"3", picture(3), 0), 0, 9) == 1
    assert contents.add(kept(b"2"), 0, 9) == 5
    contents.sync()
    contents.close()
    database.close()
    with StateReader(StateDir(state)) as reader:
        assert list(find_damage(reader)) == []


def exit_at_once(*_: object) -> None:
    os._exit(9)


@pytest.mark.parametrize("moment", ["_renumber", "_rebuild_places", "after"])
def test_killed_it_loses_nothing(state: Path, moment: str) -> None:
    child = os.fork()
    if not child:
        try:
            if moment == "after":
                remove, calls = vacuuming._remove_leftovers, iter([False, True])

                def second(*arguments: object) -> None:
                    if next(calls):
                        os._exit(9)
                    remove(*arguments)  # type: ignore[arg-type]

                vacuuming._remove_leftovers = second
            else:
                setattr(vacuuming, moment, exit_at_once)
            vacuum(StateDir(state))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list((state / "scans").glob("columns-*"))) == 1
    assert_whole(state)
    vacuum(StateDir(state))
    assert_whole(state)
    assert len(list((state / "scans").glob("columns-*"))) == 1
    assert not (state / "scans" / "sha256").exists()


def test_where_it_fails_all_is_as_it_was(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vacuuming, "_renumber", full)
    with pytest.raises(OutputError, match="No space left"):
        vacuum(StateDir(state))
    assert list((state / "scans").glob("columns-*")) == []
    assert_whole(state)


def test_a_damaged_content_is_not_written_anew(state: Path) -> None:
    with (state / "scans" / "md5").open("r+b") as file:
        file.seek(3 * 16)
        file.write(bytes(16))
    with pytest.raises(OutputError, match="damaged: content 3"):
        vacuum(StateDir(state))


@pytest.mark.slow
def test_a_reader_from_before_reads_on(state: Path) -> None:
    with StateReader(StateDir(state)) as reader:
        vacuum(StateDir(state))
        assert reader.contents.rows == 10
        (near,) = find_contents(reader, [DigestQuery("sha1", hashlib.sha1(b"9").digest(), 0)])
        assert near.content == 9
        assert [f.path for f in KnownFiles(reader).having([9])] == [b"/g/9"]


def test_every_table_is_thought_of(state: Path) -> None:
    """One that is new, and refers to contents, must be renumbered."""
    database = sqlite3.connect(state / "scans" / "state.sqlite")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    database.close()
    assert tables == REFERRING | OTHERS


def break_column(state: Path) -> None:
    with (state / "scans" / "sha1").open("r+b") as file:
        file.write(b"damage")


def damaged(statement: str) -> Callable[[Path], None]:
    def damage(state: Path) -> None:
        database = sqlite3.connect(state / "scans" / "state.sqlite")
        database.execute(statement)
        database.commit()
        database.close()

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_column, "content 0"),
        (damaged("DELETE FROM contents WHERE content=3"), "1 contents are not found by their sha256"),
        (damaged("INSERT INTO hits VALUES (77)"), "hits names 1 contents that aren't there"),
        (damaged("UPDATE folders SET listing=x'01' WHERE path=x'2f67'"), "folders, b'/g'"),
    ],
)
def test_damage_is_found(state: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(state)
    with StateReader(StateDir(state)) as reader:
        assert [message[: len(said)] for message in find_damage(reader)] == [said]
