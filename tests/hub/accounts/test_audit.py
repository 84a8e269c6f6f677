"""The audit log can't be changed unnoticed."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from hashscan.hub.accounts.audit import BrokenAuditError, read_audit, record
from hashscan.hub.storage.database import Database, DatabaseError

LINES = 5


@pytest.fixture
def log(database: Database) -> Database:
    """Five lines, the first and last of which concern organisation 7."""
    for number in range(LINES):
        with database.transaction() as connection:
            record(
                connection, "cli me", f"do.{number}", 7 if number in {0, 4} else None, {"n\u00e9": ["x", 1]}
            )
    return database


@pytest.fixture
def changeable(log: Database) -> Database:
    """A database whose owner has disabled what refuses changes."""
    with log.transaction() as connection:
        if log.is_sqlite:
            connection.execute(text("DROP TRIGGER audit_no_update"))
            connection.execute(text("DROP TRIGGER audit_no_delete"))
        else:
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
    return log


def test_lines_are_read_as_they_were_recorded(log: Database) -> None:
    found = list(read_audit(log))
    assert [line["action"] for line, _ in found] == [f"do.{number}" for number in range(LINES)]
    assert [head.count for _, head in found] == [1, 2, 3, 4, 5]
    assert found[0][0]["n\u00e9"] == ["x", 1]
    assert [line["action"] for line, _ in read_audit(log, organisation=7)] == ["do.0", "do.4"]


@pytest.mark.parametrize(
    "change",
    ["UPDATE audit SET actor = 'other'", "UPDATE audit SET at = 1 WHERE number = 3", "DELETE FROM audit"],
)
def test_the_database_refuses_changes(log: Database, change: str) -> None:
    with pytest.raises(DatabaseError), log.transaction() as connection:
        connection.execute(text(change))
    assert len(list(read_audit(log))) == LINES


def test_the_database_refuses_to_empty_the_log(log: Database) -> None:
    if log.is_sqlite:
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(DatabaseError), log.transaction() as connection:
        connection.execute(text("TRUNCATE audit"))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET line = replace(line, 'do.2', 'do.9') WHERE number = 3",
        "UPDATE audit SET actor = 'other' WHERE number = 3",
        "UPDATE audit SET organisation = 7 WHERE number = 3",
        "UPDATE audit SET at = at + 1 WHERE number = 3",
        "DELETE FROM audit WHERE number = 3",
    ],
)
def test_a_change_is_found(changeable: Database, change: str) -> None:
    with changeable.transaction() as connection:
        connection.execute(text(change))
    with pytest.raises(BrokenAuditError) as broken:
        list(read_audit(changeable))
    assert broken.value.number == 3


def test_the_head_shows_that_lines_were_cut_off_or_written_again(changeable: Database) -> None:
    heads = [head for _, head in read_audit(changeable)]
    assert [head for _, head in read_audit(changeable, heads[2])] == heads
    with changeable.transaction() as connection:
        connection.execute(text("DELETE FROM audit WHERE number > 3"))
    assert len(list(read_audit(changeable))) == 3
    with pytest.raises(BrokenAuditError) as broken:
        list(read_audit(changeable, heads[-1]))
    assert broken.value.number == 4
    for number in range(2):
        with changeable.transaction() as connection:
            record(connection, "cli me", f"made up {number}")
    assert len(list(read_audit(changeable))) == LINES
    with pytest.raises(BrokenAuditError) as broken:
        list(read_audit(changeable, heads[-1]))
    assert broken.value.number == LINES


def test_writers_at_the_same_time_keep_the_chain(database: Database) -> None:
    begun = threading.Barrier(4)

    def write(name: str) -> None:
        begun.wait()
        for _ in range(10):
            with database.transaction() as connection:
                record(connection, name, "do")

    threads = [threading.Thread(target=write, args=(f"user {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [head.count for _, head in read_audit(database)] == list(range(1, 41))


def test_what_is_undone_leaves_no_line(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as connection:
            record(connection, "cli me", "do")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(read_audit(database)) == []
