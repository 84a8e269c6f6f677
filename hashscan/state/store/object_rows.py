"""Store the objects of buckets in the state, with the validators (etag, version) of their store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from hashscan.model import Batch, FileStat, Item

NONE = -1
"""Content number of objects without a content."""


class KnownObject(NamedTuple):
    """One stored object."""

    container: bytes
    item: Item
    content: int
    endpoint: str = ""
    """URL of the service that holds it; empty for the provider's own."""


class ObjectRows:
    """The rows of all objects.

    An object is unchanged if etag, version, size and modification time are equal. If its store returns
    neither etag nor version, it can't be recognized.
    """

    def __init__(self, database: sqlite3.Connection, endpoint: str | None) -> None:
        self._database = database
        self._endpoint = (endpoint or "").encode()
        self._stores: dict[bytes, int] = {}
        self._seen: list[tuple[int, int, int, bytes, str]] = []

    def _store(self, container: bytes) -> int:
        if container not in self._stores:
            name = container + b"\n" + self._endpoint
            self._database.execute("INSERT OR IGNORE INTO filesystems (name) VALUES (?)", (name,))
            found = self._database.execute("SELECT id FROM filesystems WHERE name=?", (name,)).fetchone()
            self._stores[container] = found[0]
        return self._stores[container]

    def find(self, batch: Batch) -> list[int]:
        """Return the content of each object of a batch; NONE where it isn't known or has changed."""
        store, found = self._store(batch.target), []
        for item in batch.items:
            row = None
            if item.etag or item.version:
                row = self._database.execute(
                    "SELECT content FROM objects WHERE store=? AND key=? AND version=? "
                    "AND etag=? AND size=? AND mtime=?",
                    (store, item.name, item.version, item.etag, item.stat.size, item.stat.mtime_ns),
                ).fetchone()
            found.append(NONE if row is None else int(row[0]))
        return found

    def put(self, batch: Batch, item: Item, content: int, scope: int, scan: int) -> None:
        """Store an object that was read, with its listed attributes."""
        if item.etag or item.version:
            stat = item.stat
            self._database.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self._store(batch.target), item.name, item.version, item.etag),
                    *(stat.size, stat.mtime_ns, content, scope, scan),
                ),
            )

    def see(self, batch: Batch, item: Item, scope: int, scan: int) -> None:
        """Note that an object exists unchanged; `commit` stores it."""
        self._seen.append((scope, scan, self._store(batch.target), item.name, item.version))

    def commit(self) -> None:
        """Store in the open transaction which objects were seen."""
        self._database.executemany(
            "UPDATE objects SET scope=?, scan=? WHERE store=? AND key=? AND version=?", self._seen
        )
        self._seen.clear()

    def forget(self, scope: int, scan: int) -> int:
        """Delete the objects that a complete scan of their scope did not meet; return their number."""
        self.commit()
        return self._database.execute("DELETE FROM objects WHERE scope=? AND scan<?", (scope, scan)).rowcount

    def lose(self, container: bytes, path: bytes, version: str) -> None:
        """Delete an object that is gone, whichever scan met it last."""
        self._database.execute(
            "DELETE FROM objects WHERE store=? AND key=? AND version=?",
            (self._store(container), _key(container, path), version),
        )

    def all(self) -> Iterator[KnownObject]:
        rows = self._database.execute(
            "SELECT name, key, version, etag, size, mtime, content FROM objects "
            "JOIN filesystems ON id=store ORDER BY store, key, version"
        )
        for name, key, version, etag, size, mtime, content in rows:
            item = Item(key, FileStat(0, 0, size, mtime, 0, 1, 0), etag, version)
            container, _, endpoint = name.partition(b"\n")
            yield KnownObject(container, item, content, endpoint.decode())


def _key(container: bytes, path: bytes) -> bytes:
    return path.removeprefix(container).removeprefix(b"/")
