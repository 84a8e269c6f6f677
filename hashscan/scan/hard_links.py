"""What a sweep remembers of files with several names, so that each is read once.

A tree may have millions of hard links, so none of this is kept in memory without bound: it stands in a
database in an anonymous temporary file, which the system removes when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

from hashscan.errors import OutputError
from hashscan.model import Batch, FileResult, FileStat, Item

_PAGES_IN_MEMORY = -8192  # SQLite counts negative cache sizes in KiB

_FIELD_BYTES = 16  # inodes of some file systems and times in the year 2400 don't fit into eight


def _key(stat: FileStat) -> bytes:
    identity = (stat.device, stat.inode, stat.size, stat.mtime_ns, stat.ctime_ns)
    return b"".join(number.to_bytes(_FIELD_BYTES, "little", signed=True) for number in identity)


class LinkMemory:
    """The files with more than one link met so far, by identity."""

    def __init__(self) -> None:
        # An empty name makes a database that spills to an unlinked temporary file.
        self._database = sqlite3.connect("", isolation_level=None)
        with _explained():
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

    def meet(self, batch: Batch, item: Item) -> tuple[bool, FileResult | None]:
        """Ask about one name of a file with several.

        Returns:
            Whether to read the file under this name; and, where it was read before, the result for this name.
            (False, None) says that the file is being read under another name: the name is kept, and comes
            back from `settle`.
        """
        key = _key(item.stat)
        with _explained():
            row = self._database.execute("SELECT result FROM met WHERE key=?", (key,)).fetchone()
            if row is None:
                self._database.execute("INSERT INTO met VALUES (?, NULL)", (key,))
                return True, None
            if row[0] is not None:
                kept: FileResult = pickle.loads(row[0])  # noqa: S301 - written by this process
                return False, replace(kept, name=item.name)
            place = pickle.dumps((replace(batch, items=()), item))
            self._database.execute("INSERT INTO waiting VALUES (?, ?)", (key, place))
            return False, None

    def settle(self, listed: FileStat, result: FileResult) -> Iterator[tuple[Batch, Item]]:
        """Keep the result of a file that `meet` said to read.

        Args:
            listed: the file as it was listed, by which `meet` knew it.
            result: what reading it gave.

        Returns:
            The names that waited for it, each with its batch (without the batch's other items).
        """
        key = _key(listed)
        with _explained():
            self._database.execute("UPDATE met SET result=? WHERE key=?", (pickle.dumps(result), key))
            # A few at a time: a file may have more names than fit into memory.
            while places := self._waiting(key, 1000):
                yield from places

    def pass_on(self, listed: FileStat) -> Batch | None:
        """Say that reading under one name failed for a reason that is not the file's.

        Returns:
            A batch of one waiting name under which to read it instead, or None when there is none.
        """
        key = _key(listed)
        with _explained():
            for batch, item in self._waiting(key, 1):
                return replace(batch, items=(item,))
            self._database.execute("DELETE FROM met WHERE key=?", (key,))
        return None

    def _waiting(self, key: bytes, limit: int) -> list[tuple[Batch, Item]]:
        """Take some names that wait out of the database."""
        rows = self._database.execute(
            "SELECT rowid, place FROM waiting WHERE key=? LIMIT ?", (key, limit)
        ).fetchall()
        self._database.executemany("DELETE FROM waiting WHERE rowid=?", [(row[0],) for row in rows])
        return [pickle.loads(place) for _, place in rows]  # noqa: S301 - written by this process

    def close(self) -> None:
        """Forget everything."""
        self._database.close()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn the database's errors into ours: a full temporary folder is our own output failing."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"can't keep track of hard links: {error}",
            advice="Free space in the temporary folder (TMPDIR) and sweep again.",
        ) from error
