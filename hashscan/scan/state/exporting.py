"""Writes out every file that a state knows, in forms that other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from hashscan.reports.records import path_fields
from hashscan.scan.state.asking import load
from hashscan.scan.state.known_files import KnownFiles
from hashscan.scan.state.known_record import finding_fields, moment
from hashscan.scan.state.reading import StateReader
from hashscan.scan.state.stored_contents import COLUMN_DIGESTS

_PLAIN = ("path", "path_b64", "size", "mtime_ns", "first_read", "last_seen", "verdict", "because")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def ndjson(reader: StateReader, *, with_digests: bool) -> Iterator[str]:
    """A JSON line for each file; paths as in reports.

    Raises:
        ValueError: the state is damaged.
    """
    for record in _records(reader, with_digests=with_digests):
        yield json.dumps(record, separators=(",", ":")) + "\n"


def comma_separated(reader: StateReader, *, with_digests: bool) -> Iterator[str]:
    """A header line, then a line for each file.

    A value that a spreadsheet could take for a formula has an apostrophe before it; so has one that begins
    with an apostrophe.

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
"""By the names that commands know."""


def _records(reader: StateReader, *, with_digests: bool) -> Iterator[dict[str, Any]]:
    about = reader.columns["about"]
    for file in KnownFiles(reader).all():
        assert file.identity is not None
        record: dict[str, Any] = {
            **path_fields(file.path),
            "size": file.identity[1],
            "mtime_ns": file.identity[2],
        }
        if with_digests:
            content = load(reader, file.content)
            if content is None:
                # A power cut has taken it; the next sweep reads the file again.
                continue
            record |= {name: content.exact[name].hex() for name in COLUMN_DIGESTS}
        record["first_read"] = moment(int(about.read(file.content, 1)[0]["since"]))
        if file.seen is not None:
            record["last_seen"] = moment(file.seen)
        if file.finding is not None:
            record |= finding_fields(file.finding)
        yield record


def _safe(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
