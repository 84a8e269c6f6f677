"""The ledger of a state folder: a SQLite database of scans, cases and their events, kept permanently."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hashscan.cases.schema import FORMAT, SCHEMA
from hashscan.errors import OutputError
from hashscan.state.inventory.filesystems import NETWORK_TYPES, type_of
from hashscan.state.store.database import means_damage

FILE = "ledger.sqlite"
_BUSY_MS = 600_000
"""Timeout in ms: the first import of a million findings takes a minute or more, and others wait for it."""


class LedgerError(OutputError):
    """An error for a ledger that can't be read or written."""


class NewerLedgerError(LedgerError):
    """An error for a ledger that was written by a newer hashscan."""

    advice = "Use that version, or another --state folder."


class DamagedLedgerError(LedgerError):
    """An error for a damaged ledger."""

    advice = (
        "Put ledger.sqlite back from a backup. Without one, move it away with its -wal and -shm: findings "
        "become cases again, but notices, and records of notifications, are lost."
    )


class Ledger:
    """The database, for one process; other processes may use it at the same time.

    Raises, in all methods:
        LedgerError: the ledger can't be read or written.
        DamagedLedgerError: the ledger is damaged; it is not changed.
    """

    def __init__(self, state: Path) -> None:
        """Open the ledger of a state folder, and create it if it doesn't exist.

        Raises:
            NewerLedgerError: a newer version wrote the ledger, so it is not changed.
        """
        self.path = state / FILE
        with self._explained():
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            kind = type_of(os.fsencode(state))
            if kind in NETWORK_TYPES:
                raise LedgerError(
                    f"the state folder {state} lies on a network filesystem ({kind}), where the ledger "
                    "would be damaged sooner or later",
                    advice="Name a --state folder on a disk of this machine.",
                )
            # Created here and not by SQLite, which would let other users read it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(self.path, isolation_level=None)
            try:
                self._begin()
            except BaseException:
                self._database.close()
                raise

    def _begin(self) -> None:
        database = self._database
        database.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        database.execute("PRAGMA journal_mode = WAL")
        # The times of notifications must survive a power cut: they are stored nowhere else.
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA cache_size = -32768")
        if self._version() == 0:
            database.execute("BEGIN IMMEDIATE")
            if self._version() == 0:
                for statement in _statements(SCHEMA):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            database.execute("COMMIT")
        if self._version() > FORMAT:
            raise NewerLedgerError(f"{self.path} was written by a newer version of hashscan")

    def _version(self) -> int:
        return int(self._database.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make all changes in the block or none of them; other processes can't write meanwhile."""
        with self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read one snapshot of the database in the block."""
        with self._explained():
            self._database.execute("BEGIN")
            try:
                yield self._database
            finally:
                self._database.execute("ROLLBACK")

    def rows(self, query: str, *parameters: object) -> Iterator[Any]:
        """Yield the rows of a query."""
        with self._explained():
            # No `yield from`: if the caller stops early, it closes the cursor when the database may be closed
            # already.
            for row in self._database.execute(query, parameters):  # noqa: UP028
                yield row

    def one(self, query: str, *parameters: object) -> Any:
        """Return the first row of a query; None if there is none."""
        with self._explained():
            return self._database.execute(query, parameters).fetchone()

    def add_function(self, name: str, arguments: int, function: Any) -> None:
        """Add a deterministic function for use in queries."""
        self._database.create_function(name, arguments, function, deterministic=True)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if means_damage(error):
                raise DamagedLedgerError(f"the ledger {self.path} is damaged: {error}") from error
            raise LedgerError(f"can't use the ledger {self.path}: {error}") from error
        except OSError as error:
            raise LedgerError(f"can't use the ledger {self.path}: {error.strerror or error}") from error


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one; executed together they would end a transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
