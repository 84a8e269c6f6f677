"""Build the records of known files, and export every file and object of a state (NDJSON, CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from msgspec import UNSET, Struct, UnsetType, structs
from numpy.typing import NDArray

from hashscan.schema import Time, encode_json
from hashscan.state.queries.checksums import digests_hold, rows_of
from hashscan.state.queries.digest_lookup import ContentMatch, load_content
from hashscan.state.queries.known_files import KnownFile, KnownFiles, KnownFinding, Presence
from hashscan.state.queries.would_hit import Hit
from hashscan.state.store.reading import StateReader
from hashscan.state.store.stored_contents import COLUMN_DIGESTS, Content
from hashscan.text import path_fields
from hashscan.timefmt import format_time


class _FileFields(Struct, kw_only=True):
    path: str
    path_b64: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    endpoint: str | UnsetType = UNSET


class _KnownFields(_FileFields, kw_only=True):
    size: int | UnsetType = UNSET
    mtime_ns: int | UnsetType = UNSET
    etag: str | UnsetType = UNSET
    first_read: Time
    last_seen: Time | UnsetType = UNSET
    verdict: str | UnsetType = UNSET
    because: str | UnsetType = UNSET
    first_found: Time | UnsetType = UNSET
    last_found: Time | UnsetType = UNSET
    gone: Time | UnsetType = UNSET


class KnownRecord(_KnownFields, kw_only=True, tag_field="type", tag="known"):
    """A file or an object that has what was asked for."""

    item: str
    algorithm: str
    distance: int
    threshold: int
    variant: str
    of: str
    member: str | UnsetType = UNSET
    """Place of what was asked for within a container."""
    presence: Presence
    sha256: str
    customer: str | UnsetType = UNSET


class HitRecord(_FileFields, kw_only=True, tag_field="type", tag="would-hit"):
    """A file or an object that a new entry of a list matches."""

    list: str
    entry: str
    algorithm: str
    category: str
    distance: int
    member: str | UnsetType = UNSET
    """Place of what it matches within a container."""
    presence: Presence


class ExportRecord(_KnownFields, kw_only=True):
    """A file or an object of the state."""

    sha256: str | UnsetType = UNSET
    md5: str | UnsetType = UNSET
    sha1: str | UnsetType = UNSET


def known_record(
    item: str, near: ContentMatch, content: Content, file: KnownFile, customer: str
) -> KnownRecord:
    """Return the record of a file or an object that has what was asked for."""
    return KnownRecord(
        item=item,
        algorithm=near.sought.algorithm,
        distance=near.distance,
        threshold=near.sought.distance,
        variant=near.sought.variant,
        of=near.variant,
        member=near.member or UNSET,
        presence=file.presence,
        sha256=content.exact["sha256"].hex(),
        customer=customer or UNSET,
        first_read=format_time(content.since),
        **address_fields(file),
        **identity_fields(file),
        **seen_fields(file),
    )


def hit_record(name: str, hit: Hit, file: KnownFile) -> HitRecord:
    """Return the record of a file or an object that a new entry of the list `name` matches."""
    return HitRecord(
        list=name,
        entry=hit.entry_id,
        algorithm=hit.algorithm,
        category=hit.category,
        distance=hit.distance,
        member=hit.member or UNSET,
        presence=file.presence,
        **address_fields(file),
    )


def address_fields(file: KnownFile) -> dict[str, Any]:
    rest = {"version": file.version, "endpoint": file.endpoint}
    return {**path_fields(file.path), **{key: value for key, value in rest.items() if value}}


def identity_fields(file: KnownFile) -> dict[str, Any]:
    if file.identity is None:
        return {}
    etag = {"etag": file.etag} if file.etag else {}
    return {"size": file.identity[1], "mtime_ns": file.identity[2], **etag}


def seen_fields(file: KnownFile) -> dict[str, Any]:
    record = {} if file.seen is None else {"last_seen": format_time(file.seen)}
    return record if file.finding is None else {**record, **_finding_fields(file.finding)}


def _finding_fields(finding: KnownFinding) -> dict[str, Any]:
    record: dict[str, Any] = {
        "verdict": finding.verdict,
        "because": finding.because,
        "first_found": format_time(finding.first),
        "last_found": format_time(finding.last),
    }
    if finding.gone is not None:
        record["gone"] = format_time(finding.gone)
    return record


_PLAIN = (
    *("path", "path_b64", "version", "size", "mtime_ns", "etag"),
    *("first_read", "last_seen", "verdict", "because", "gone", "endpoint"),
)
_BLOCK = 1 << 14
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def ndjson(reader: StateReader, *, with_digests: bool) -> Iterator[str]:
    """Yield a JSON line for each file and object; paths as in reports."""
    for record in _records(reader, with_digests=with_digests):
        yield encode_json(record).decode("ascii") + "\n"


def comma_separated(reader: StateReader, *, with_digests: bool) -> Iterator[str]:
    """Yield a header line, then a line for each file and object.

    A value that a spreadsheet could interpret as a formula is preceded by an apostrophe; so is one that
    begins with an apostrophe.
    """
    fields = (*_PLAIN, *(COLUMN_DIGESTS if with_digests else ()))
    yield ",".join(fields) + "\r\n"
    for record in _records(reader, with_digests=with_digests):
        line = io.StringIO()
        known = structs.asdict(record)
        csv.writer(line).writerow(_safe("" if known[name] is UNSET else known[name]) for name in fields)
        yield line.getvalue()


FORMATS: dict[str, Callable[..., Iterator[str]]] = {"ndjson": ndjson, "csv": comma_separated}
"""Writers by the names that commands use."""


def _records(reader: StateReader, *, with_digests: bool) -> Iterator[ExportRecord]:
    for files in _in_blocks(KnownFiles(reader).all()):
        contents = np.array([file.content for file in files], np.int64)
        about = rows_of(reader.columns["about"], contents)
        read = map(format_time, about["since"].tolist())
        digests: Iterable[dict[str, Any] | None] = (
            _digests(reader, contents, about) if with_digests else [{}] * len(files)
        )
        for file, first, values in zip(files, read, digests, strict=True):
            # A power cut has destroyed it; the next scan reads the file again.
            if values is None:
                continue
            yield ExportRecord(
                first_read=first,
                **address_fields(file),
                **identity_fields(file),
                **values,
                **seen_fields(file),
            )


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
        elif load_content(reader, content) is None:
            yield None


def _in_blocks(files: Iterator[KnownFile]) -> Iterator[list[KnownFile]]:
    while block := list(islice(files, _BLOCK)):
        yield block


def _safe(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
