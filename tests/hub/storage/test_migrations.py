"""Migrations make the tables that the code expects, all or nothing, and other versions are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, inspect, literal, select, text

from hashscan.errors import UsageError
from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.storage import database as storage
from hashscan.hub.storage.database import Database, DatabaseAwayError, DatabaseError, open_database
from hashscan.hub.storage.tables import METADATA
from hashscan.state_dir import StateDir
from tests.hub.databases import PostgresServer


class StoppedError(BaseException):
    pass


def stop(_: object) -> None:
    raise StoppedError


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    database.require_schema()
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    assert not database.migrate()


@pytest.mark.parametrize("last", ["CREATE TABLE cases", "CREATE TRIGGER", "INSERT INTO alembic_version"])
def test_an_interrupted_migration_leaves_nothing(empty_address: str, hub_state: StateDir, last: str) -> None:
    def interrupt(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.strip().startswith(last):
            raise StoppedError

    with open_database(hub_state, empty_address) as database:
        event.listen(database.engine, "before_cursor_execute", interrupt)
        with pytest.raises(StoppedError):
            database.migrate()
        assert inspect(database.engine).get_table_names() == []
        event.remove(database.engine, "before_cursor_execute", interrupt)
        assert database.migrate()
        database.require_schema()


def test_a_database_without_tables_is_refused(empty_address: str, hub_state: StateDir) -> None:
    with open_database(hub_state, empty_address) as database:
        with pytest.raises(UsageError) as refused:
            database.require_schema()
        assert "hashscan hub init" in str(refused.value.remedy)


def test_a_newer_version_is_refused(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refused in (database.require_schema, database.migrate):
        with pytest.raises(UsageError) as raised:
            refused()
        assert "hashscan hub init" not in str(raised.value.remedy)


TOY = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    op.add_column("organisations", sa.Column("toy", sa.Text(), server_default="new", nullable=False))
    op.create_table("toys", sa.Column("id", sa.BigInteger(), primary_key=True))
"""


def test_a_second_migration_keeps_what_is_stored(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as connection:
        add_organisation(connection, "tests", "alpha")
    first = storage._MIGRATIONS
    shutil.copytree(first, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "m0002_toy.py").write_text(TOY)
    monkeypatch.setattr(storage, "_MIGRATIONS", tmp_path / "migrations")
    with pytest.raises(UsageError) as refused:
        database.require_schema()
    assert "hashscan hub init" in str(refused.value.remedy)
    with pytest.raises(StoppedError):
        database.migrate(stop)
    assert not inspect(database.engine).has_table("toys")
    assert database.migrate()
    database.require_schema()
    assert not database.migrate()
    assert inspect(database.engine).has_table("toys")
    with database.reading() as connection:
        assert connection.execute(text("SELECT name, toy FROM organisations")).all() == [("alpha", "new")]
    with pytest.raises(DatabaseError), database.transaction() as connection:
        connection.execute(text("DELETE FROM audit"))
    monkeypatch.setattr(storage, "_MIGRATIONS", first)
    with pytest.raises(UsageError):
        database.migrate()


def test_a_server_that_is_away_is_named_without_its_password(hub_state: StateDir) -> None:
    address = f"postgresql://me:secret@/hub?host={hub_state.path}"
    with open_database(hub_state, address) as database:
        with pytest.raises(DatabaseAwayError) as away, database.reading():
            pass
        assert "secret" not in str(away.value)


def test_connections_that_the_server_closed_are_made_again(
    postgres_server: PostgresServer, hub_state: StateDir
) -> None:
    with open_database(hub_state, postgres_server.address(postgres_server.create())) as database:
        with database.reading() as connection:
            number = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        postgres_server.execute(f"SELECT pg_terminate_backend({number})")
        with database.reading() as connection:
            assert connection.execute(text("SELECT pg_backend_pid()")).scalar() != number
        with pytest.raises(DatabaseAwayError):
            _lose_connection(database, postgres_server)


def _lose_connection(database: Database, server: PostgresServer) -> None:
    with database.transaction() as connection:
        number = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        server.execute(f"SELECT pg_terminate_backend({number})")
        connection.execute(text("SELECT 1"))


def test_a_second_writer_waits_not_for_ever(hub_state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_BUSY_SECONDS", 0.1)
    with open_database(hub_state) as database:
        database.migrate()
        with database.transaction(), pytest.raises(DatabaseAwayError), database.transaction():
            pass
        with database.transaction() as connection:
            assert connection.execute(select(literal(1))).scalar_one() == 1


def test_reading_changes_nothing(database: Database) -> None:
    """A defect that writes while it reads does not go unnoticed on PostgreSQL."""
    if database.is_sqlite:
        pytest.skip("SQLite has no transactions that only read")
    with pytest.raises(DatabaseError), database.reading() as connection:
        connection.execute(text("DELETE FROM keys"))


@pytest.mark.parametrize("address", ["mysql://x/y", "postgresql:/x", "nonsense", "sqlite:///x"])
def test_other_addresses_are_refused(hub_state: StateDir, address: str) -> None:
    with pytest.raises(UsageError), open_database(hub_state, address) as database, database.reading():
        pass
