"""Read a snapshot of the state, while a scan may be writing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np

from hashscan.errors import OutputError
from hashscan.locking import ClosedOnExit
from hashscan.state.store.columns import DamagedColumnError, ReadColumn
from hashscan.state.store.database import FILE, MARK, checked_row, means_damage, open_snapshot
from hashscan.state.store.stored_contents import DTYPES, StoredContents, columns_folder, prefix_of
from hashscan.state_dir import StateDir

_ATTEMPTS = 5


class NoStateError(OutputError):
    """There is no state yet."""

    advice = "Scan first: `hashscan scan TARGET`, with the same --state."


class StateReader(ClosedOnExit):
    """A read-only snapshot of the state, valid while this is open.

    Raises, in all methods within `reading`:
        OutputError: there is no state, or it can't be read, or is damaged.
    """

    def __init__(self, state: StateDir) -> None:
        """Open the state in a folder; no lock is needed.

        Raises:
            OtherStateError: another version has written it.
            NoStateError: there is none.
            OutputError: it can't be read.
        """
        self.folder = state.scans
        with _explained(self.folder):
            if not (self.folder / FILE).exists():
                raise NoStateError(f"no scan has stored anything in {state}")
            if (self.folder / MARK).exists():
                raise _damaged(self.folder, "the last scan found it so")
            self._open()

    def _open(self) -> None:
        for attempt in range(_ATTEMPTS):
            self.database, has_tables = open_snapshot(self.folder)
            try:
                self._begin(has_tables=has_tables)
                return
            except FileNotFoundError:
                # Rewritten between reading the database and opening the folder.
                self.database.close()
                if attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                self.database.close()
                raise

    def _begin(self, *, has_tables: bool) -> None:
        database = self.database
        database.row_factory = checked_row
        if not has_tables:
            raise NoStateError(f"no scan has stored anything in {self.folder.parent}")
        counted = {
            name: (rows, synced)
            for name, rows, synced in database.execute("SELECT name, rows, synced FROM columns")
        }
        self.synced = counted.get("about", (0, 0))[1]
        """Contents that even a power cut can't have destroyed."""
        beside = columns_folder(database, self.folder)
        self.columns: dict[str, ReadColumn] = {}
        try:
            for name, dtype in DTYPES.items():
                self.columns[name] = ReadColumn(beside / name, dtype, counted.get(name, (0, 0))[0])
        except BaseException:
            self._close_columns()
            raise
        self.contents = StoredContents(database, self.columns)
        indexed = database.execute("SELECT value FROM meta WHERE key='indexed'").fetchone()
        self.indexed = 0 if indexed is None else int(indexed[0])
        """Number of contents that the database finds by their SHA-256."""
        # Queries from here on return many rows, and check the types themselves.
        database.row_factory = None

    def mark_damaged(self) -> None:
        """Make the next scan set the state aside."""
        (self.folder / MARK).touch(mode=0o600)

    @contextmanager
    def reading(self) -> Iterator[StateReader]:
        """Turn errors of the state into one that ends the command."""
        with _explained(self.folder):
            yield self

    def rows(self, query: str, kinds: Sequence[type | UnionType], *parameters: object) -> Iterator[Any]:
        """Yield rows of the database, after checking the types of their values.

        Raises:
            ValueError: one has another type; the database itself would accept any.
        """
        for row in self.database.execute(query, parameters):
            if not all(map(isinstance, row, kinds)):
                raise ValueError(f"the database has a value of another kind in {query}")
            yield row

    def by_sha256(self, value: bytes) -> list[int]:
        found = self.rows("SELECT content FROM contents WHERE prefix=?", (int,), prefix_of(value))
        column = self.columns["sha256"]
        rows = [row for (row,) in found if column.read(row, 1).tobytes() == value]
        # The writer indexes several at a time.
        last = column.read(self.indexed, column.rows - self.indexed)
        rows.extend(self.indexed + row for row in np.flatnonzero(last == np.void(value)).tolist())
        return rows

    def may_be_destroyed(self, row: int) -> bool:
        """Return True if a power cut may have destroyed a content, so that its checksum need not be right."""
        found = self.database.execute("SELECT 1 FROM lost WHERE content=?", (row,)).fetchone()
        return row >= self.synced or found is not None

    def _close_columns(self) -> None:
        for column in self.columns.values():
            column.close()

    def close(self) -> None:
        """Close the state."""
        self._close_columns()
        self.database.close()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, DamagedColumnError, ValueError) as error:
        if not isinstance(error, sqlite3.Error) or means_damage(error):
            raise _damaged(folder, str(error)) from error
        raise OutputError(f"can't read the state of scans in {folder}: {error}") from error
    except OSError as error:
        raise OutputError(
            f"can't read the state of scans in {folder}: {error.strerror or error}",
            advice="Run the command as the user who scans.",
        ) from error


def _damaged(folder: Path, why: str) -> OutputError:
    return OutputError(
        f"the state of scans in {folder} is damaged: {why}",
        advice="See `hashscan state check`; then scan again: it is set aside, and everything is read again.",
    )
