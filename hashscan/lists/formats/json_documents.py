"""The formats in one JSON document, parsed in bounded memory: VICS, and StopNCII's hash records.

VICS is the exchange format of Project VIC and CAID, versions 1.3 and 2.0.
Source: https://github.com/ICMEC/ProjectVic . A category is a number whose meaning depends on the country:

| VICS | hashscan | |
| --- | --- | --- |
| 0 | left out | not yet reviewed |
| 1 | `baseline` | child-abuse material |
| 2, 3 and all others | `other` | exploitive, drawn or the country's own |
| 4 | left out | not pertinent, or for comparison |

StopNCII: every entry has the category `other`, since intimate pictures of adults are for review, whatever
category a supplier gives. Records whose `hashStatus` is Withdrawn or Deleted are not entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import ijson
import numpy as np

from hashscan.lists.formats.base import ListFormat, id_stem
from hashscan.lists.formats.text import BOM, LineError, RawEntry, read_photodna, refuse_not_utf8, shown

_CHUNK = 1 << 16
_DEPTH_MAX = 64
"""Largest depth. ijson keeps the path of every level: for nested brackets, memory would grow with the square
of their number.
"""
_RECORD_MAX = 4 << 20
"""Largest number of bytes without a complete object; as objects they can take thirty times as much memory."""
_PLAIN = bytes(set(range(256)) - set(b'"[]{}'))
"""All bytes that neither change the depth nor begin or end a string."""
_MEND = "Get the whole file anew from its supplier"


class JsonItems:
    """The objects of one array, counted from 1."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the beginning of `stream`; a byte order mark is skipped."""
        head = stream.read(_CHUNK)
        refuse_not_utf8(head)
        self.head = head.removeprefix(BOM)
        self._source = stream
        self._reader = _LimitedStream(self.head, stream)

    def before(self, array: str) -> dict[str, Any]:
        """Return the scalar values before the key `array`, within the first 64 KiB."""
        found: dict[str, Any] = {}
        depth, key = 0, ""
        try:
            for kind, value in ijson.basic_parse(_LimitedStream(self.head, None), use_float=True):
                if kind == "map_key" and depth == 1:
                    key = value
                    if key == array:
                        break
                elif kind in ("start_map", "start_array"):
                    depth += 1
                elif kind in ("end_map", "end_array"):
                    depth -= 1
                elif depth == 1:
                    found[key] = value
        except (_UnreadableError, ijson.JSONError, ValueError, OverflowError):
            # The same bytes are read again for the objects; the error is then reported with its position.
            pass
        return found

    def objects(self, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number and value of each object at `path`, in ijson's notation."""
        number = 0
        reader = self._reader
        items = ijson.items(reader, path, use_float=True, buf_size=_CHUNK)
        try:
            for item in items:
                number += 1
                reader.passed = 0
                if not isinstance(item, dict):
                    raise LineError(number, "not an object", _MEND)
                yield number, item
        except _UnreadableError as error:
            raise LineError(number + 1, error.args[0], _MEND) from error
        except (ijson.JSONError, ValueError, OverflowError) as error:
            # The parser's message quotes the document, and so values.
            problem = "not JSON from here on, cut short, or with a number too large"
            raise LineError(number + 1, problem, _MEND) from error


class _UnreadableError(Exception):
    """The rest of the document can't be read; the message says why."""


class _LimitedStream:
    """A stream that refuses deep nesting and endless records before the parser sees them."""

    def __init__(self, head: bytes, rest: BinaryIO | None) -> None:
        self._head = head
        self._rest = rest
        self._depth = 0
        self._in_string = False
        self._half_escape = b""
        self.passed = 0

    def read(self, size: int = _CHUNK) -> bytes:
        if size == 0:
            return b""
        data, self._head = self._head, b""
        if not data and self._rest is not None:
            data = self._rest.read(_CHUNK)
        self.passed += len(data)
        if self.passed > _RECORD_MAX:
            raise _UnreadableError(f"a record of more than {_RECORD_MAX >> 20} MiB")
        self._look_at(data)
        return data

    def _look_at(self, data: bytes) -> None:
        """Follow the depth of brackets outside of strings."""
        text = self._half_escape + data
        backslashes = len(text) - len(text.rstrip(b"\\"))
        self._half_escape = b"\\" if backslashes % 2 else b""
        if b"\\" in text:
            text = text[: len(text) - backslashes].replace(b"\\\\", b"").replace(b'\\"', b"")
        marks = text.translate(None, _PLAIN)
        # Two adjacent quotes can be dropped: what follows them is inside or outside of a string as before.
        pieces = marks.replace(b'""', b"").split(b'"')
        outside = np.frombuffer(b"".join(pieces[self._in_string :: 2]), dtype=np.uint8)
        self._in_string ^= len(pieces) % 2 == 0
        # The characters of both kinds of brackets differ in the same bit, 0x20.
        folded = outside | 0x20
        steps = (folded == 0x7B).astype(np.int64) - (folded == 0x7D)
        levels = self._depth + np.cumsum(steps)
        if levels.size:
            self._depth = int(levels[-1])
            if int(levels.max()) > _DEPTH_MAX:
                raise _UnreadableError(f"nested more than {_DEPTH_MAX} deep")


_VICS_NO_HITS = frozenset({0, 4})
_VICS_BASELINE = 1
_VICS_KEYS = (("MD5", "md5"), ("SHA1", "sha1"), ("PhotoDNA", "photodna"))
_VICS_ALGORITHMS = {name: name for name in ("md5", "sha1", "sha256", "sha512", "pdq", "photodna")}


class VicsFormat(ListFormat):
    """Media of a VICS document, or of its cases; ids are `MediaID:algorithm`, or derived for cases."""

    name = "vics"
    unit = "record"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        items = JsonItems(stream)
        before = items.before("value")
        context = before.get("@odata.context", before.get("odata.metadata"))
        in_cases = isinstance(context, str) and context.endswith("#Cases")
        for number, media in items.objects("value.item.Media.item" if in_cases else "value.item"):
            if number == 1 and not isinstance(context, str):
                raise LineError(
                    1,
                    "neither @odata.context nor odata.metadata comes before value",
                    "Export it as VICS JSON",
                )
            category = _vics_category(number, media.get("Category"))
            if category is None:
                self.left_out["of category 0 or 4"] += 1
                continue
            # Each case numbers its media from the beginning again.
            given = None if in_cases else media.get("MediaID")
            values = self._values(number, media)
            if given is None or given == "":
                for algorithm, value in values:
                    yield self._without_id(number, algorithm, value, category)
                continue
            if isinstance(given, bool) or not isinstance(given, (int, str)):
                raise LineError(number, "MediaID is neither a number nor text", "Export the file again")
            stem = id_stem(str(given))
            for algorithm, value in values:
                yield number, f"{stem}:{algorithm}", algorithm, value, category

    def _values(self, number: int, media: dict[str, Any]) -> list[tuple[str, str]]:
        found = []
        for key, algorithm in _VICS_KEYS:
            value = media.get(key)
            if value is None or value == "":
                continue
            found.append(_hexadecimal(number, algorithm, value))
        others = media.get("AlternativeHashes")
        if others is not None:
            found += self._others(number, others)
        if not found:
            self.left_out["without a hash"] += 1
        return found

    def _others(self, number: int, others: object) -> Iterator[tuple[str, str]]:
        """Yield the algorithms and hexadecimal values of the alternative hashes."""
        if not isinstance(others, list):
            raise LineError(number, "AlternativeHashes is no array", "Export the file again")
        for other in others:
            if not isinstance(other, dict) or not isinstance(other.get("HashName"), str):
                raise LineError(number, "an alternative hash without a name", "Export the file again")
            algorithm = _VICS_ALGORITHMS.get(other["HashName"].lower().replace("-", ""), "")
            if algorithm:
                yield _hexadecimal(number, algorithm, other.get("HashValue"))
            else:
                self.left_out["of an algorithm that hashscan doesn't know"] += 1


def _vics_category(number: int, given: object) -> str | None:
    """Return the category in hashscan's terms, or None for media that are not entries."""
    if isinstance(given, str) and len(given) <= 3 and given.isascii() and given.isdigit():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int):
        raise LineError(number, "Category is no number", "Give every medium its category")
    if given in _VICS_NO_HITS:
        return None
    return "baseline" if given == _VICS_BASELINE else "other"


def _hexadecimal(number: int, algorithm: str, value: object) -> tuple[str, str]:
    """Return the algorithm, which is that of its form for PhotoDNA, and the value in hexadecimal."""
    if not isinstance(value, str):
        raise LineError(number, f"the {algorithm} is no text", "Export the file again")
    if algorithm != "photodna":
        return algorithm, value
    try:
        return read_photodna(value)
    except ValueError as error:
        raise LineError(number, "the photodna can't be read", "Export the file again") from error


_STOPNCII_SIGNALS = {
    f"{kind}{name}": algorithm
    for kind in ("image", "video")
    for name, algorithm in (("md5", "md5"), ("sha1", "sha1"), ("sha256", "sha256"), ("pdq", "pdq"))
    if (kind, name) != ("video", "pdq")
}
_STOPNCII_STATES = {"active": True, "withdrawn": False, "deleted": False}


class StopNciiFormat(ListFormat):
    """`hashRecords` with `signalType`, `hashValue` and `hashStatus`; ids are derived."""

    name = "stopncii"
    unit = "record"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, record in JsonItems(stream).objects("hashRecords.item"):
            kind, value, status = (record.get(name) for name in ("signalType", "hashValue", "hashStatus"))
            if not (isinstance(kind, str) and isinstance(value, str) and isinstance(status, str)):
                raise LineError(number, "signalType, hashValue or hashStatus is no text", "Get the file anew")
            active = _STOPNCII_STATES.get(status.lower())
            if active is None:
                raise LineError(number, f"unknown hashStatus {shown(status)}", "Ask for a newer hashscan")
            algorithm = _STOPNCII_SIGNALS.get(kind.lower())
            if not active:
                self.left_out["withdrawn or deleted"] += 1
            elif algorithm is None:
                self.left_out["of an algorithm that hashscan doesn't know"] += 1
            else:
                yield self._without_id(number, algorithm, value, "ncii")
