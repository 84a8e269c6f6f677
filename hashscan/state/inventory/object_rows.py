"""The objects of the database: what is kept of each, by its store's own word for its state."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from hashscan.model import Batch, FileStat, Item

NONE = -1
"""In place of a content where there is none."""


class KnownObject(NamedTuple):
    """One of them."""

    container: bytes
    """Its URL."""
    item: Item
    content: int


class ObjectRows:
    """All of them.

    An object is unchanged where etag, version, size and modification time are what they were. Where its store
    tells neither etag nor version, it can't be known.
    """

    def __init__(self, database: sqlite3.Connection, endpoint: str | None) -> None:
        self._database = database
        self._endpoint = (endpoint or "").encode()
        self._stores: dict[bytes, int] = {}
        self._seen: list[tuple[int, int, int, bytes, str]] = []

    def _store(self, container: bytes) -> int:
        """The number of a container at a service."""
        if container not in self._stores:
            name = container + b"\n" + self._endpoint
            self._database.execute("INSERT OR IGNORE INTO filesystems (name) VALUES (?)", (name,))
            found = self._database.execute("SELECT id FROM filesystems WHERE name=?", (name,)).fetchone()
            self._stores[container] = found[0]
        return self._stores[container]

    def find(self, batch: Batch) -> list[int]:
        """The content of each object of a batch; NONE where it isn't known or has changed."""
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

    def only_elsewhere(self, container: bytes, path: bytes) -> bool:
        """Whether an object is known only of containers of the same name at other services."""
        stores = self._database.execute(
            "SELECT store FROM objects JOIN filesystems ON id=store "
            "WHERE key=? AND substr(name, 1, ?)=? GROUP BY store",
            (_key(container, path), len(container) + 1, container + b"\n"),
        ).fetchall()
        return bool(stores) and (self._store(container),) not in stores

    def put(self, batch: Batch, item: Item, content: int, scope: int, sweep: int) -> None:
        """Keep an object that was read as it was listed."""
        if item.etag or item.version:
            stat = item.stat
            self._database.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self._store(batch.target), item.name, item.version, item.etag),
                    *(stat.size, stat.mtime_ns, content, scope, sweep),
                ),
            )

    def see(self, batch: Batch, item: Item, scope: int, sweep: int) -> None:
        """Say that an object is there, and unchanged; `commit` puts it down."""
        self._seen.append((scope, sweep, self._store(batch.target), item.name, item.version))

    def commit(self) -> None:
        """Put down in the open transaction what was seen."""
        self._database.executemany(
            "UPDATE objects SET scope=?, sweep=? WHERE store=? AND key=? AND version=?", self._seen
        )
        self._seen.clear()

    def forget(self, scope: int, sweep: int) -> int:
        """Forget the objects that a complete sweep of their scope did not meet; how many."""
        self.commit()
        return self._database.execute(
            "DELETE FROM objects WHERE scope=? AND sweep<?", (scope, sweep)
        ).rowcount

    def lose(self, container: bytes, path: bytes, version: str) -> None:
        """Forget one that is gone, whatever sweep met it last."""
        self._database.execute(
            "DELETE FROM objects WHERE store=? AND key=? AND version=?",
            (self._store(container), _key(container, path), version),
        )

    def all(self) -> Iterator[KnownObject]:
        """All that are kept, at whatever service."""
        rows = self._database.execute(
            "SELECT name, key, version, etag, size, mtime, content FROM objects "
            "JOIN filesystems ON id=store ORDER BY store, key, version"
        )
        for name, key, version, etag, size, mtime, content in rows:
            item = Item(key, FileStat(0, 0, size, mtime, 0, 1, 0), etag, version)
            yield KnownObject(name.partition(b"\n")[0], item, content)


def _key(container: bytes, path: bytes) -> bytes:
    return path.removeprefix(container).removeprefix(b"/")
