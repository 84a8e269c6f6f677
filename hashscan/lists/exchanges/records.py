"""The records of an exchange as they were sent so far, in a database beside the versions of the list.

A page and the place from which to go on after it are committed together; so a fetch that was killed goes on
after the last whole page. A version is made of these records only when a fetch has reached its end.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from types import TracebackType

import msgspec

from hashscan.errors import OutputError
from hashscan.lists.exchanges.base import Page, Record
from hashscan.lists.formats.base import id_stem
from hashscan.lists.formats.entry_checks import RawColumns
from hashscan.lists.formats.text import RawEntry
from hashscan.lists.storage.columns import EntryBlock
from hashscan.model import ALGORITHMS, CATEGORIES

_TOGETHER = 1 << 13
_CACHE_KIB = 16 << 10
_REVISION_BITS = 61
"""Bits of the first revision, so that it can grow by as much and remains a `schema.Count`."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_Stored = tuple[str, str, dict[str, bytes | str]]
"""Stem of the ids, category, and values by algorithm: bytes where they are valid digests, else as sent."""


class Records:
    """The database of one list; use it as a context manager."""

    def __init__(self, path: Path, origin: str) -> None:
        """Open the database, or create it. `origin` identifies exchange and environment: if the file was made
        from another one, it belongs to another list, and its records are dropped."""
        self._path = path
        self.dropped = False
        """True if the records of another list were dropped."""
        try:
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._database.execute("PRAGMA secure_delete = ON")
            self._database.executescript(_SCHEMA)
            if (known := self._fact("origin")) != origin:
                self.dropped = known is not None
                with self._database:
                    self._database.execute("BEGIN")
                    self._database.execute("DELETE FROM records")
                    self._database.execute("DELETE FROM facts WHERE name = 'checkpoint'")
                    self._set_fact("origin", origin)
                    # Not the number of an earlier database, which a version may have been made of.
                    self._set_fact("revision", str(secrets.randbits(_REVISION_BITS)))
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from error

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        if isinstance(error, sqlite3.Error):
            raise self._unusable(error) from error

    @property
    def checkpoint(self) -> str | None:
        """The place from which to go on; None before the first page."""
        return self._fact("checkpoint")

    @property
    def revision(self) -> int:
        """A number that grows whenever a record changes; a new database begins at a random one."""
        return int(self._fact("revision") or 0)

    def apply(self, page: Page) -> None:
        """Store a page: its records, removals and checkpoint, all or nothing."""
        with self._database:
            self._database.execute("BEGIN")
            changed = 0
            if page.afresh:
                changed += self._database.execute("DELETE FROM records").rowcount
            for record in page.records:
                changed += self._database.execute(
                    "INSERT INTO records VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET content = "
                    "excluded.content WHERE content <> excluded.content",
                    (record.key, _packed(record)),
                ).rowcount
            for key in page.removed:
                changed += self._database.execute("DELETE FROM records WHERE key = ?", (key,)).rowcount
            self._set_fact("checkpoint", page.checkpoint)
            if changed:
                self._set_fact("revision", str(self.revision + 1))

    def digest_of(self, entry_id: str) -> tuple[str, bytes] | None:
        """Return the key of the record that an entry is of, and the entry's value; None if it is gone."""
        stem, _, algorithm = entry_id.rpartition(":")
        # Only keys that can't be a part of an id, or are too long, differ from the stem.
        exact = self._database.execute("SELECT key, content FROM records WHERE key = ?", (stem,)).fetchall()
        decoder = msgspec.msgpack.Decoder()
        with closing(self._database.execute("SELECT key, content FROM records")) as rows:
            for key, content in chain(exact, rows):
                stored: _Stored = decoder.decode(content)
                value = stored[2].get(algorithm)
                if stored[0] == stem and isinstance(value, bytes):
                    return key, value
        return None

    def blocks(self, left_out: Counter[str]) -> Iterator[EntryBlock]:
        """Yield the entries of all records, by key, in bounded memory; `left_out` counts the digests that can
        be no entries, by reason, and is complete at the end."""
        waiting = RawColumns("record")
        raws = self._raw_entries(left_out)
        while waiting.take(raws, _TOGETHER):
            yield from waiting.checked()

    def _raw_entries(self, left_out: Counter[str]) -> Iterator[RawEntry]:
        decoder = msgspec.msgpack.Decoder()
        with closing(self._database.execute("SELECT content FROM records ORDER BY key")) as rows:
            for number, (content,) in enumerate(rows, start=1):
                stored: _Stored = decoder.decode(content)
                stem, category, digests = stored
                for algorithm, value in digests.items():
                    if isinstance(value, bytes):
                        yield number, f"{stem}:{algorithm}", algorithm, value.hex(), category
                    elif algorithm in ALGORITHMS:
                        left_out[f"of {algorithm} that are no such digests"] += 1
                    else:
                        left_out["of algorithms that hashscan doesn't know"] += 1

    def _fact(self, name: str) -> str | None:
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set_fact(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _unusable(self, error: Exception) -> OutputError:
        return OutputError(
            f"{self._path} can't be used: {error}",
            advice="Check free space and permissions. If the file is damaged, delete it: the next pull "
            "fetches everything again.",
        )


def _packed(record: Record) -> bytes:
    category = record.category if record.category in CATEGORIES else "other"
    digests = {name: _value(name, value) for name, value in sorted(record.digests.items())}
    return msgspec.msgpack.encode((id_stem(record.stem), category, digests))


def _value(algorithm: str, value: str) -> bytes | str:
    known = ALGORITHMS.get(algorithm)
    if known is not None and len(value) == 2 * known.size and value.isalnum():
        try:
            return bytes.fromhex(value)
        except ValueError:
            pass
    return value
