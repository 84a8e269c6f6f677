"""Deduplicate hard links: a file with several names is read once, and each name gets its result.

A verdict may depend on a name that claims a kind that viewers open, or to be a part of a larger file. So
names that differ in their claims count as those of different files.

A tree may have millions of hard links, so they are not kept in memory without a bound. They are stored in a
database in an anonymous temporary file, which the system removes when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
from collections.abc import Iterator

from msgspec import structs

from hashscan.errors import OutputError
from hashscan.hashing.containers import is_later_part
from hashscan.hashing.recognition.names import claims_to_be_shown
from hashscan.model import Batch, FileResult, Item

_PAGES_IN_MEMORY = -8192  # SQLite counts negative cache sizes in KiB

_FIELD_BYTES = 16  # inodes of some file systems, and times in the year 2400, don't fit into eight


def _key(item: Item) -> bytes:
    stat = item.stat
    identity = (stat.device, stat.inode, stat.size, stat.mtime_ns, stat.ctime_ns)
    numbers = b"".join(number.to_bytes(_FIELD_BYTES, "little", signed=True) for number in identity)
    return numbers + _claim(item.name)


def _claim(name: bytes) -> bytes:
    """Return all of a name that a verdict may depend on; empty for most names."""
    ending = name.rstrip().rpartition(b".")[2].lower() if claims_to_be_shown(name) else b""
    return (b"part " if is_later_part(name, None) else b"") + ending


class HardLinkTable:
    """The files with more than one hard link that the scan has seen so far, by identity."""

    def __init__(self) -> None:
        # An empty name makes a database that spills to an unlinked temporary file.
        self._database = sqlite3.connect("", isolation_level=None)
        with _database_errors():
            self._database.executescript(
                f"""
                PRAGMA cache_size = {_PAGES_IN_MEMORY};
                PRAGMA journal_mode = OFF;
                PRAGMA synchronous = OFF;
                CREATE TABLE met (key BLOB PRIMARY KEY, result BLOB) WITHOUT ROWID;
                CREATE TABLE waiting (key BLOB, place BLOB);
                CREATE INDEX waiting_key ON waiting (key);
                """
            )

    def lookup_or_claim(self, batch: Batch, item: Item) -> tuple[bool, FileResult | None]:
        """Decide if a file with several hard links must be read under this name; if it was read before,
        return the result for this name, too. (False, None) means that it is being read under another name:
        this name is stored, and `store_result` returns it later."""
        key = _key(item)
        with _database_errors():
            row = self._database.execute("SELECT result FROM met WHERE key=?", (key,)).fetchone()
            if row is None:
                self._database.execute("INSERT INTO met VALUES (?, NULL)", (key,))
                return True, None
            if row[0] is not None:
                kept: FileResult = pickle.loads(row[0])  # noqa: S301 - written by this process
                return False, structs.replace(kept, name=item.name)
            place = pickle.dumps((structs.replace(batch, items=()), item))
            self._database.execute("INSERT INTO waiting VALUES (?, ?)", (key, place))
            return False, None

    def store_result(self, listed: Item, result: FileResult) -> Iterator[tuple[Batch, Item]]:
        """Store the result of a file that `lookup_or_claim` said to read; yield the names that waited for it,
        each with its batch (without the batch's other items)."""
        key = _key(listed)
        with _database_errors():
            self._database.execute("UPDATE met SET result=? WHERE key=?", (pickle.dumps(result), key))
            # A few at a time, because a file may have more names than fit into memory.
            while places := self._waiting(key, 1000):
                yield from places

    def retry_other_name(self, listed: Item) -> Batch | None:
        """Return a waiting name as a batch, after a failure that the other name caused; None without one."""
        key = _key(listed)
        with _database_errors():
            for batch, item in self._waiting(key, 1):
                return structs.replace(batch, items=(item,))
            self._database.execute("DELETE FROM met WHERE key=?", (key,))
        return None

    def _waiting(self, key: bytes, limit: int) -> list[tuple[Batch, Item]]:
        """Remove up to `limit` waiting names from the database and return them."""
        rows = self._database.execute(
            "SELECT rowid, place FROM waiting WHERE key=? LIMIT ?", (key, limit)
        ).fetchall()
        self._database.executemany("DELETE FROM waiting WHERE rowid=?", [(row[0],) for row in rows])
        return [pickle.loads(place) for _, place in rows]  # noqa: S301 - written by this process

    def close(self) -> None:
        """Close the database, which deletes it."""
        self._database.close()


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
    """Convert the database's errors to ours: if the temporary folder is full, our own output fails."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"can't keep track of hard links: {error}",
            advice="Free space in the temporary folder (TMPDIR) and scan again.",
        ) from error
