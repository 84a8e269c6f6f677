"""The ledger of a state folder: the database of sweeps, cases and what happened to them, kept for good."""

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
"""A first look at a million findings takes a minute or more, and others wait for it."""


class LedgerError(OutputError):
    """The ledger can't be read or written."""


class NewerLedgerError(LedgerError):
    """The ledger was written by a newer hashscan."""

    advice = "Use that version, or another --state folder."


class DamagedLedgerError(LedgerError):
    """The ledger is not what was written."""

    advice = (
        "Put ledger.sqlite back from a backup. Without one, move it away with its -wal and -shm: findings "
        "become cases again, but notices, and who was told, are lost."
    )


class Ledger:
    """The database, for one process; others may use it at the same time.

    Raises, in all it does:
        LedgerError: it can't be read or written.
        DamagedLedgerError: it is damaged; it is left as it is.
    """

    def __init__(self, state: Path) -> None:
        """Open the ledger of a state folder, and make it where there is none.

        Raises:
            NewerLedgerError: it must be left alone.
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
            # Made by us and not by SQLite, whose files others may read.
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
        # Who was told, and when, must survive a power cut: nothing else knows it.
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
        """Change several things at once, or none of them; nobody else changes anything meanwhile."""
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
        """Read several things as they were at one moment."""
        with self._explained():
            self._database.execute("BEGIN")
            try:
                yield self._database
            finally:
                self._database.execute("ROLLBACK")

    def rows(self, query: str, *parameters: object) -> Iterator[Any]:
        """The rows that a query gives."""
        with self._explained():
            # No `yield from`: it closes the cursor of whoever stops early, when the database may be closed.
            for row in self._database.execute(query, parameters):  # noqa: UP028
                yield row

    def one(self, query: str, *parameters: object) -> Any:
        """The first row that a query gives; None where there is none."""
        with self._explained():
            return self._database.execute(query, parameters).fetchone()

    def add_function(self, name: str, arguments: int, function: Any) -> None:
        """Let queries call a function whose answer follows from its arguments alone."""
        self._database.create_function(name, arguments, function, deterministic=True)

    def close(self) -> None:
        """Let it go."""
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
    """The statements of a script one by one, since together they would end a transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
