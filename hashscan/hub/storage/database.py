"""Open a hub's database: SQLite in the state folder, or PostgreSQL for several nodes.

Every change is made in a transaction that is committed before anybody is answered. With SQLite, one thread of
one process writes at a time, and the others wait; with PostgreSQL, transactions that must not run at the same
time lock the rows that they share.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hashscan.errors import OutputError, UsageError
from hashscan.locking import ClosedOnExit
from hashscan.state_dir import StateDir

_BUSY_SECONDS = 60
"""Seconds for which a transaction waits while another thread, and then another process, writes to SQLite."""
_CONNECT_SECONDS = 5
_POOL = 10
"""Connections to PostgreSQL that are kept."""
_AWAY_CLASSES = frozenset({"08", "40", "53", "57"})
_AWAY_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_FOREIGN_KEY = "23503"
"""PostgreSQL's code for a reference to a row that is not there."""
_MIGRATIONS = Path(__file__).with_name("migrations")


class DatabaseError(OutputError):
    """An error for a database that can't be read or written."""

    advice = "Check free space and permissions of the database, then run the command again."


class DatabaseAwayError(DatabaseError):
    """An error for a database that can't be reached, or that is busy; the same may succeed later."""

    advice = "Check that the database server runs and that its address is right, then try again."


class DeletedMeanwhileError(DatabaseError):
    """An error for a change of what was deleted meanwhile: an organisation with all that it has."""

    advice = "See if the organisation is still there: `hashscan hub org list`."


class UnstorableTextError(UsageError):
    """An error for a text or number that no column can hold."""

    advice = "Write it otherwise."


class Database(ClosedOnExit):
    """A hub's database.

    Raises, in all methods:
        DatabaseAwayError: it can't be reached now.
        DatabaseError: it can't be read or written.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._name = engine.url.render_as_string(hide_password=True)
        # A writer that waits for SQLite tries again after pauses, in which other threads may begin.
        self._turn = threading.Lock()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Make all changes in the block or none of them."""
        with self._writing(), self.explained(), self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        if not self._turn.acquire(timeout=_BUSY_SECONDS):
            raise DatabaseAwayError(f"the database {self._name} is busy")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one snapshot of the database in the block."""
        with self.explained(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

    def insert(self, table: Table) -> Any:
        """Return an INSERT with the `on_conflict_...` methods, which both databases have in the same form."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise the database's errors in the block as our own."""
        try:
            yield
        except DataError as error:
            raise UnstorableTextError("a text has a NUL, or a number is too large") from error
        except DBAPIError as error:
            reason = str(error.orig).strip().partition("\n")[0]
            if _is_deleted(error):
                raise DeletedMeanwhileError(f"this was deleted meanwhile: {reason}") from error
            text = f"the database {self._name} can't be used: {reason}"
            raise (DatabaseAwayError if _is_away(error) else DatabaseError)(text) from error
        except PoolTimeoutError as error:
            raise DatabaseAwayError(f"all connections to the database {self._name} are in use") from error
        except UnicodeEncodeError as error:
            raise UnstorableTextError("a text has bytes that are not UTF-8") from error
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database {self._name} can't be used: {error}") from error

    def require_schema(self) -> None:
        """Check that the tables are those of this version.

        Raises:
            UsageError: they are not there, or of another version.
        """
        with self.reading() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found is None:
            raise UsageError(
                f"the database {self._name} has no tables of a hub", advice="Make them: `hashscan hub init`."
            )
        if not self._is_newest(found):
            raise UsageError(
                f"the database {self._name} was written by an older version of hashscan",
                advice="Make a copy of it, then bring it up to date: `hashscan hub init`.",
            )

    def _is_newest(self, revision: str) -> bool:
        """Return True if the tables are those of this version, False if those of an older one."""
        script = ScriptDirectory.from_config(migrations())
        if all(each.revision != revision for each in script.walk_revisions()):
            raise UsageError(
                f"the database {self._name} was written by a newer version of hashscan",
                advice="Use that version.",
            )
        return revision == script.get_current_head()

    def migrate(self, after: Callable[[Connection], None] | None = None) -> bool:
        """Make the tables, or bring them up to date, all or nothing; return True if anything was to do.

        A migration that is interrupted leaves the tables as they were, and can be repeated.

        Args:
            after: what is done in the same transaction, if anything was to do.

        Raises:
            UsageError: they are those of a newer version.
        """
        with self.transaction() as connection:
            if not self.is_sqlite:
                # Two nodes that are set up at the same time.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7263950167)")
            context = MigrationContext.configure(connection)
            before = context.get_current_revision()
            if before is not None and self._is_newest(before):
                return False
            configuration = migrations()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
            if after is not None:
                after(connection)
            return True


def open_database(state: StateDir, address: str = "") -> Database:
    """Open a database; tables are neither made nor checked.

    Args:
        state: the state folder, in which SQLite's file lies.
        address: `postgresql://USER@HOST/NAME`, as PostgreSQL's own programs take it; empty for SQLite.

    Raises:
        UsageError: the address is not valid, or the extra `postgres` is not installed.
        DatabaseError: SQLite's file can't be opened.
    """
    if not address:
        return Database(_sqlite_engine(state))
    try:
        url = make_url(address)
    except ArgumentError:
        raise UsageError(
            "the address of the database is not valid", advice="Write postgresql://USER@HOST/NAME."
        ) from None
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise UsageError(
            f"a hub's database can't be of the kind {url.get_backend_name()!r}",
            advice="Name a PostgreSQL database: postgresql://USER@HOST/NAME; or none, for SQLite.",
        )
    url = url.set(drivername="postgresql+psycopg")
    try:
        return Database(
            create_engine(
                url,
                hide_parameters=True,  # errors are logged, and parameters may be secrets
                pool_pre_ping=True,
                pool_size=_POOL,
                max_overflow=_POOL,
                pool_timeout=_CONNECT_SECONDS,
                connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "hashscan"},
            )
        )
    except (ImportError, NoSuchModuleError):
        raise UsageError(
            "PostgreSQL needs a library that is not installed", advice="Install hashscan[hub,postgres]."
        ) from None


def _sqlite_engine(state: StateDir) -> Engine:
    path = state.hub
    try:
        state.make()
        # Created here and not by SQLite, which would let other users read it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseError(f"the database {path} can't be opened: {error.strerror}") from error
    # With autocommit, its driver begins no transaction by itself; ours begin as `transaction` says.
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        hide_parameters=True,
        connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    for pragma in (
        "page_size = 8192",
        "journal_mode = WAL",
        "wal_autocheckpoint = 10000",
        "synchronous = FULL",
        "foreign_keys = ON",
        "cache_size = -32768",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _is_away(error: DBAPIError) -> bool:
    """Return True if the same transaction may succeed later: no connection, a deadlock, a full disk."""
    if error.connection_invalidated:
        return True
    original = error.orig
    if isinstance(original, sqlite3.OperationalError):
        return original.sqlite_errorcode & 0xFF in _AWAY_CODES
    # psycopg's classes: 08 and 57 are about connections, 40 about transactions at the same time, 53 about
    # resources; None: no answer at all.
    state = getattr(original, "sqlstate", "")
    return state is None or state[:2] in _AWAY_CLASSES


def _is_deleted(error: DBAPIError) -> bool:
    """Return True if a row is to refer to one that is not there."""
    code = getattr(error.orig, "sqlite_errorcode", None) or getattr(error.orig, "sqlstate", None)
    return code in {sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, _FOREIGN_KEY}


def migrations() -> Config:
    """Return the settings of Alembic for the migrations of this package."""
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS))
    configuration.set_main_option("file_template", "m%%(rev)s_%%(slug)s")
    return configuration


class HubAddress(NamedTuple):
    """The address of a hub's database."""

    url: str
    """URL of a PostgreSQL database; empty for SQLite in the state folder."""
    state: StateDir

    def open(self, *, new: bool = False) -> Database:
        """Open the database; its tables must be those of this version, unless it is to be set up."""
        database = open_database(self.state, self.url)
        if not new:
            try:
                database.require_schema()
            except BaseException:
                database.close()
                raise
        return database

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Make all changes in the block or none of them."""
        with self.open() as opened, opened.transaction() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one snapshot of the database in the block."""
        with self.open() as opened, opened.reading() as connection:
            yield connection
