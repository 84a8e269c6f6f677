"""Check a whole state for damage."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hashscan.state.queries.checksums import sound
from hashscan.state.queries.digest_lookup import load_content
from hashscan.state.store.database import TABLES
from hashscan.state.store.listings import from_bytes
from hashscan.state.store.reading import StateReader

_BLOCK = 1 << 16


def find_damage(reader: StateReader) -> Iterator[str]:
    """Yield a message for each damage in a state; nothing where it is in order.

    Checks the database's own structure, the checksum of every content, and all references to contents.
    Contents that a power cut has destroyed are no damage: they are read again.
    """
    for (line,) in reader.database.execute("PRAGMA quick_check(20)"):
        if line != "ok":
            yield f"database: {line}"
    yield from _contents(reader)
    for part in (_members, _pictures, _tables, _folders, _index):
        try:
            yield from part(reader)
        except ValueError as error:
            yield str(error)


def _contents(reader: StateReader) -> Iterator[str]:
    count = reader.contents.rows
    for name in ("sha256", "md5", "sha1"):
        if reader.columns[name].rows != count:
            yield f"{name} has {reader.columns[name].rows} rows for {count} contents"
    if reader.columns["pictures"].rows != reader.columns["pdq"].rows:
        yield "pdq and pictures have different numbers of rows"
    for start in range(0, count, _BLOCK):
        for row in (start + np.flatnonzero(~sound(reader.contents, start, _BLOCK))).tolist():
            try:
                load_content(reader, row)
            except ValueError as error:
                yield str(error)


def _members(reader: StateReader) -> Iterator[str]:
    for row in reader.contents.opened_rows():
        content = load_content(reader, row)
        try:
            if content is not None:
                reader.contents.members(content)
        except ValueError as error:
            yield f"content {row}: {error}"


def _pictures(reader: StateReader) -> Iterator[str]:
    pictures = reader.columns["pictures"]
    for start in range(0, pictures.rows, _BLOCK):
        if (pictures.read(start, _BLOCK) >= reader.contents.rows).any():
            yield f"a picture from {start} on is of a content that isn't there"


def _tables(reader: StateReader) -> Iterator[str]:
    for table, columns in TABLES.items():
        if table in {"folders", "pieces", "contents"}:
            continue
        query = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - our own names
        place = list(columns).index("content") if "content" in columns else None
        wrong = 0
        for row in reader.rows(query, tuple(columns.values())):
            content = None if place is None else row[place]
            wrong += content is not None and not 0 <= content < reader.contents.rows
        if wrong:
            yield f"{table} names {wrong} contents that aren't there"
    (lost,) = reader.database.execute(
        "SELECT count(*) FROM objects WHERE store NOT IN (SELECT id FROM filesystems)"
    ).fetchone()
    if lost:
        yield f"{lost} objects are of a store that isn't there"


def _folders(reader: StateReader) -> Iterator[str]:
    for table, query in (
        ("folders", "SELECT path, listing FROM folders"),
        ("pieces", "SELECT path, pieces.listing FROM pieces JOIN folders ON folder=folders.id"),
    ):
        for path, blob in reader.rows(query, (bytes, bytes)):
            try:
                contents = from_bytes(blob).contents
            except ValueError as error:
                yield f"{table}, {path!r}: {error}"
                continue
            if contents.size and contents.max() >= reader.contents.rows:
                yield f"{table}, {path!r}: it has a content that isn't there"


def _index(reader: StateReader) -> Iterator[str]:
    """Check that each content is found by its SHA-256."""
    sha256 = reader.columns["sha256"]
    found = np.zeros(min(reader.indexed, sha256.rows), bool)
    rows = reader.rows("SELECT content, prefix FROM contents ORDER BY prefix", (int, int))
    beginnings = _beginnings(reader)
    while some := list(islice(rows, _BLOCK)):
        pairs = np.array(some, np.int64)
        inside = pairs[(pairs[:, 0] >= 0) & (pairs[:, 0] < len(found))]
        found[inside[beginnings[inside[:, 0]] == inside[:, 1], 0]] = True
    if not found.all():
        yield f"{np.count_nonzero(~found)} contents are not found by their sha256"


def _beginnings(reader: StateReader) -> NDArray[np.int64]:
    """Return the first eight bytes of every SHA-256, as the database stores them."""
    blocks = [
        np.ascontiguousarray(block[:, :8]).view(">i8").ravel().astype(np.int64)
        for _, block in reader.columns["sha256"].blocks()
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int64)
