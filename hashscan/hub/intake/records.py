"""Decode the records of a part of a report, and make of each what the hub keeps of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple, Union

import msgspec
from msgspec import Struct, defstruct

from hashscan.hub_api import MATCHES_MAX, RECORD_BYTES_MAX, RECORDS_MAX, Sha256, place_of
from hashscan.model import KNOWN_GOOD_CATEGORY, TEST_CATEGORY
from hashscan.quarantine.captured_file import Outcome
from hashscan.reports.schema import (
    RECORDS,
    SCHEMA,
    FindingRecord,
    PathRecord,
    ScanRecord,
    StandingRecord,
    SummaryRecord,
)
from hashscan.schema import Count, InvalidDocumentError, Text, decode_json, encode_json, validated

_BIGINT_MAX = (1 << 63) - 1
_TEXT_MAX = 8192
"""Longest path and name of a customer that is kept, and half of the longest JSON of matches, in characters: a
part of a report names thousands of files, whose cases are read at a time."""
_CATEGORIES_MAX = 500
"""Characters of a case's categories, as an index of PostgreSQL can hold no long text."""


class _Match(Struct, gc=False):
    """The fields of a match that the hub keeps."""

    list: Text
    entry: Text
    algorithm: Text
    category: Text
    distance: Count


_ADDED: tuple[tuple[str, Any, Any], ...] = (("place", Sha256, ""), ("matches", list[_Match], []))
_SENT: dict[Any, Any] = {
    shape.__struct_config__.tag: defstruct(
        f"Sent{shape.__name__}",
        _ADDED,
        bases=(shape,),
        kw_only=True,
        tag_field="type",
        tag=shape.__struct_config__.tag,
    )
    for shape in RECORDS
    if issubclass(shape, PathRecord)
} | {"scan": ScanRecord, "summary": SummaryRecord}
"""The types of records as they are sent: those of files may have a `place`."""
_Other: Any = defstruct("SentOther", _ADDED, bases=(PathRecord,), kw_only=True)
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[tuple(_SENT.values())])  # noqa: UP007


class NewerSchemaError(Exception):
    """A record of a schema that this version does not know."""


class Place(NamedTuple):
    """A file that a record names, without a finding in it."""

    place: bytes


class Finding(NamedTuple):
    """A file with a finding, as the columns of `cases` hold it."""

    place: bytes
    path: str
    path_b64: str
    customer: str
    verdict: str
    categories: str
    entries: str
    sha256: str
    size: int
    moved: bool
    """True if the scan has moved it into quarantine."""


Kept = ScanRecord | SummaryRecord | Finding | Place | None
"""The content of a record that the hub keeps; None if the record names no file."""


def decode_records(part: bytes, first: int) -> list[Kept]:
    """Return what is kept of each record of a part in JSON Lines; the first has the index `first`."""
    if part and not part.endswith(b"\n"):
        raise InvalidDocumentError("the part does not end with the end of a line")
    lines = part.split(b"\n")[:-1]
    if len(lines) > RECORDS_MAX:
        raise InvalidDocumentError(f"the part has more than {RECORDS_MAX} records")
    if max(map(len, lines), default=0) >= RECORD_BYTES_MAX:
        raise InvalidDocumentError(f"a record has more than {RECORD_BYTES_MAX} bytes")
    try:
        records = [_decoder.decode(line) for line in lines]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Slower, and it also reads types of records that this version does not know.
        records = [_decoded(line, number) for number, line in enumerate(lines, first)]
    return [_kept(record) for record in records]


def _decoded(line: bytes, number: int) -> Struct:
    try:
        record = decode_json(line)
        kind = record.get("type") if isinstance(record, dict) else None
        schema = record.get("schema") if isinstance(record, dict) else None
        if type(schema) is int and schema > SCHEMA:
            raise NewerSchemaError(f"record {number} has the schema {schema}, and {SCHEMA} is known")
        if not isinstance(kind, str):
            raise InvalidDocumentError("it has no type")
        found: Struct = validated(record, _SENT.get(kind, _Other))
    except InvalidDocumentError as error:
        raise InvalidDocumentError(f"record {number}: {error}") from None
    return found


def _kept(record: Struct) -> Kept:
    if not isinstance(record, PathRecord):
        return record if isinstance(record, (ScanRecord, SummaryRecord)) else None
    sent: str = getattr(record, "place", "")
    if not (sent or record.path):
        raise InvalidDocumentError("a record names neither a path nor a place")
    raw = base64.b64decode(record.path_b64) if record.path_b64 else record.path.encode()
    place = bytes.fromhex(sent or place_of(raw, record.version))
    if isinstance(record, FindingRecord):
        verdict: str = record.verdict
    elif isinstance(record, StandingRecord):
        verdict = record.was
    else:
        return Place(place)
    matches = record.matches
    categories = {match.category for match in matches}
    if categories - {KNOWN_GOOD_CATEGORY} == {TEST_CATEGORY}:
        return None  # an exercise, of which no case is made on the server itself either
    quarantine = record.quarantine
    path_b64 = record.path_b64
    if "\0" in record.path and not path_b64:
        path_b64 = base64.b64encode(raw).decode()
    if len(path_b64) > 2 * _TEXT_MAX:
        path_b64 = ""
    return Finding(
        place,
        _text(record.path)[:_TEXT_MAX],
        path_b64,
        _text(record.customer)[:_TEXT_MAX],
        verdict,
        _text(" ".join(sorted(categories)[:MATCHES_MAX]))[:_CATEGORIES_MAX],
        _entries(matches),
        record.digests.get("sha256", ""),
        min(record.size, _BIGINT_MAX),
        not isinstance(quarantine, msgspec.UnsetType) and quarantine.outcome == Outcome.DONE,
    )


def _entries(matches: Sequence[Struct]) -> str:
    kept = matches[:MATCHES_MAX]
    while len(text := encode_json(kept).decode()) > 2 * _TEXT_MAX:
        if len(kept) == 1:
            raise InvalidDocumentError("the names of a match are too long")
        kept = kept[: len(kept) // 2]
    return text


def _text(text: str) -> str:
    """Return a text as both databases can hold it: PostgreSQL has no NUL."""
    return text.replace("\0", "\ufffd") if "\0" in text else text
