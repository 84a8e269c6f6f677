"""Looks through a whole state for damage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hashscan.scan.state.asking import load
from hashscan.scan.state.known_files import KnownFiles
from hashscan.scan.state.reading import StateReader

_BLOCK = 1 << 16


def damages(reader: StateReader) -> Iterator[str]:
    """What is wrong with a state, in words; nothing where it is in order.

    Looks at the database's own structure, at the checksum of every content, and at all that refers to
    contents. Contents that a power cut has taken are no damage: they are read again.
    """
    for (line,) in reader.database.execute("PRAGMA quick_check(20)"):
        if line != "ok":
            yield f"database: {line}"
    count = reader.contents.rows
    for name in ("sha256", "md5", "sha1"):
        if reader.columns[name].rows != count:
            yield f"{name} has {reader.columns[name].rows} rows for {count} contents"
    if reader.columns["pictures"].rows != reader.columns["pdq"].rows:
        yield "pdq and pictures have different numbers of rows"
    for row in range(count):
        try:
            load(reader, row)
        except ValueError as error:
            yield str(error)
    yield from _references(reader, count)
    yield from _index(reader)


def _references(reader: StateReader, count: int) -> Iterator[str]:
    pictures = reader.columns["pictures"]
    for start in range(0, pictures.rows, _BLOCK):
        if (pictures.read(start, _BLOCK) >= count).any():
            yield f"a picture from {start} on is of a content that isn't there"
    for table in ("places", "hits", "lost", "findings"):
        (most,) = reader.database.execute(f"SELECT max(content) FROM {table}").fetchone()  # noqa: S608
        if most is not None and most >= count:
            yield f"{table} names content {most} of {count}"
    files = KnownFiles(reader)
    for number, path in reader.database.execute("SELECT id, path FROM folders"):
        try:
            contents = files.listing(number).contents
        except ValueError as error:
            yield f"folder {bytes(path)!r}: {error}"
            continue
        if contents.size and contents.max() >= count:
            yield f"folder {bytes(path)!r} has a content that isn't there"


def _index(reader: StateReader) -> Iterator[str]:
    """Whether each content is found by its SHA-256."""
    sha256 = reader.columns["sha256"]
    found = np.zeros(min(reader.indexed, sha256.rows), bool)
    cursor = reader.database.execute("SELECT content, prefix FROM contents ORDER BY prefix")
    beginnings = _beginnings(reader)
    while rows := cursor.fetchmany(_BLOCK):
        pairs = np.array(rows, np.int64)
        inside = pairs[pairs[:, 0] < len(found)]
        found[inside[beginnings[inside[:, 0]] == inside[:, 1], 0]] = True
    if not found.all():
        yield f"{np.count_nonzero(~found)} contents are not found by their sha256"


def _beginnings(reader: StateReader) -> NDArray[np.int64]:
    """The first eight bytes of every SHA-256, as the database has them."""
    blocks = [
        np.ascontiguousarray(block[:, :8]).view(">i8").ravel().astype(np.int64)
        for _, block in reader.columns["sha256"].blocks()
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int64)
