"""Export every file and object of a state in formats that other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.state.queries.checksums import digests_hold, rows_of
from hashscan.state.queries.content_search import load
from hashscan.state.queries.known_files import KnownFile, KnownFiles
from hashscan.state.queries.known_record import address_fields, identity_fields, seen_fields
from hashscan.state.store.reading import StateReader
from hashscan.state.store.stored_contents import COLUMN_DIGESTS
from hashscan.timefmt import format_time

_PLAIN = (
    *("path", "path_b64", "version", "size", "mtime_ns", "etag"),
    *("first_read", "last_seen", "verdict", "because", "gone"),
)
_BLOCK = 1 << 14
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def ndjson(reader: StateReader, *, with_digests: bool) -> Iterator[str]:
    """Yield a JSON line for each file and object; paths as in reports.

    Raises:
        ValueError: the state is damaged.
    """
    encode = json.JSONEncoder(separators=(",", ":")).encode
    for record in _records(reader, with_digests=with_digests):
        yield encode(record) + "\n"


def comma_separated(reader: StateReader, *, with_digests: bool) -> Iterator[str]:
    """Yield a header line, then a line for each file and object.

    A value that a spreadsheet could interpret as a formula is preceded by an apostrophe; so is one that
    begins with an apostrophe.

    Raises:
        ValueError: the state is damaged.
    """
    fields = (*_PLAIN, *(COLUMN_DIGESTS if with_digests else ()))
    yield ",".join(fields) + "\r\n"
    for record in _records(reader, with_digests=with_digests):
        line = io.StringIO()
        csv.writer(line).writerow(_safe(record.get(name, "")) for name in fields)
        yield line.getvalue()


FORMATS: dict[str, Callable[..., Iterator[str]]] = {"ndjson": ndjson, "csv": comma_separated}
"""Writers by the names that commands use."""


def _records(reader: StateReader, *, with_digests: bool) -> Iterator[dict[str, Any]]:
    for files in _in_blocks(KnownFiles(reader).all()):
        contents = np.array([file.content for file in files], np.int64)
        about = rows_of(reader.columns["about"], contents)
        read = map(format_time, about["since"].tolist())
        digests: Iterable[dict[str, str] | None] = (
            _digests(reader, contents, about) if with_digests else [{}] * len(files)
        )
        for file, first, values in zip(files, read, digests, strict=True):
            # A power cut has destroyed it; the next scan reads the file again.
            if values is None:
                continue
            yield {
                **address_fields(file),
                **identity_fields(file),
                **values,
                "first_read": first,
                **seen_fields(file),
            }


def _digests(
    reader: StateReader, contents: NDArray[np.int64], about: NDArray[Any]
) -> Iterator[dict[str, str] | None]:
    """Yield the digests of each content by name; None for one that a power cut has destroyed."""
    values = {name: rows_of(reader.columns[name], contents) for name in COLUMN_DIGESTS}
    hold = digests_hold(about, values).tolist()
    hexes = [[value.hex() for value in map(bytes, column)] for column in values.values()]
    for content, good, *each in zip(contents.tolist(), hold, *hexes, strict=True):
        if good:
            yield dict(zip(COLUMN_DIGESTS, each, strict=True))
        elif load(reader, content) is None:
            yield None


def _in_blocks(files: Iterator[KnownFile]) -> Iterator[list[KnownFile]]:
    while block := list(islice(files, _BLOCK)):
        yield block


def _safe(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
