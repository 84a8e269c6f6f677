"""Validate report records and single JSON values, so that document formats can rely on their types."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any

from hashscan.model import Verdict
from hashscan.reports.records import Record

TEXT_MAX = 4096
"""Maximum length in characters."""
NUMBER_MAX = 1 << 62


class InvalidValueError(ValueError):
    """An error for an invalid value; its message does not repeat the value."""


def text(value: object) -> str:
    """Return the value if it is a text of at most `TEXT_MAX` characters."""
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise InvalidValueError("a text is none, or too long")
    return value


def number(value: object, most: int = NUMBER_MAX) -> int:
    """Return the value if it is an integer from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidValueError("a number is none, or out of range")
    return value


def flag(value: object) -> bool:
    """Return the value if it is true or false."""
    if not isinstance(value, bool):
        raise InvalidValueError("a flag is neither true nor false")
    return value


def array(value: object) -> list[Any]:
    """Return the value if it is a list; its elements are not checked."""
    if not isinstance(value, list):
        raise InvalidValueError("a list is none")
    return value


def table(value: object) -> dict[str, Any]:
    """Return the value if it is an object; its members are not checked."""
    if not isinstance(value, dict):
        raise InvalidValueError("an object is none")
    return value


def moment(value: object) -> datetime:
    """Return the value as a time if it is ISO 8601 with a time zone."""
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidValueError("a time is none, or lacks its zone")
    return found


_FIELDS: dict[str, type] = {
    **dict.fromkeys(
        (
            *("path", "path_b64", "verdict", "was", "because", "action", "reason", "detail", "customer"),
            *("version", "etag", "first", "last", "host", "uuid", "started", "ended", "fail_on"),
        ),
        str,
    ),
    **dict.fromkeys(
        (
            "size",
            "mtime_ns",
            "ctime_ns",
            "uid",
            "links",
            "device",
            "inode",
            "bytes",
            "files",
            "exit_code",
            "test_findings",
        ),
        int,
    ),
    **dict.fromkeys(("matches", "targets", "lists", "incomplete"), list),
    **dict.fromkeys(
        ("digests", "quarantine", "picture", "verdicts", "reasons", "folders_not_entered", "accepted"), dict
    ),
    **dict.fromkeys(("strict", "only_test_entries"), bool),
}
_MATCH: dict[str, type] = {
    **dict.fromkeys(("list", "entry", "algorithm", "variant", "category", "doubt", "withheld"), str),
    **dict.fromkeys(("distance", "threshold"), int),
    "excepted": dict,
}
_LISTED: dict[str, type] = {
    "name": str,
    "state": str,
    "version": int,
    "entries": int,
    "problem": str,
    "expires": str,
}
_ACCEPTED: dict[str, type] = {"reason": str, "until": str}
_PICTURE: dict[str, type] = {"format": str, "width": int, "height": int}

_MOVED: dict[str, type] = dict.fromkeys(("outcome", "item", "detail"), str)
_LARGEST = 1 << 96
"""Limit for counts, sizes and times: none of ours is larger, and a much larger one does not fit a float."""

_WITHOUT_PATH = frozenset({"sweep", "summary"})
_VERDICTS = frozenset(verdict.value for verdict in Verdict)
_WITH_VERDICT = frozenset({"finding", *_VERDICTS})


def require_shape(record: Record) -> None:
    """Check one record.

    Raises:
        ValueError: the record is not as scans write it.
    """
    kind = record["type"]
    _require(record, _FIELDS)
    if kind not in _WITHOUT_PATH and "path" not in record:
        raise ValueError("it has no path")
    if kind == "sweep":
        # Scans write these values; none comes from a file name.
        for words in (record.get(key, "") for key in ("uuid", "host", "fail_on")):
            if not words.isprintable():
                raise ValueError("a text can't be printed")
    for key in ("started", "ended"):
        if key in record and datetime.fromisoformat(record[key]).tzinfo is None:
            raise ValueError("a time lacks its zone")
    if "path_b64" in record:
        try:
            base64.b64decode(record["path_b64"], validate=True)
        except binascii.Error:
            raise ValueError("a path is none") from None
    if kind in _WITH_VERDICT and record.get("verdict") not in _VERDICTS:
        raise ValueError("it has no verdict that a file can have")
    if kind == "standing" and record.get("was") not in _VERDICTS:
        raise ValueError("it has no verdict that a file can have")
    for match in record.get("matches", ()):
        _require(match, _MATCH)
    if "lists" in record:
        _require_each(record["lists"], _LISTED)
    if "targets" in record:
        _require_each(record["targets"], _FIELDS)
    if "picture" in record:
        _require_all(record["picture"], _PICTURE)
    if "quarantine" in record:
        _require(record["quarantine"], _MOVED)
    seconds = record.get("seconds", 0)
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or abs(seconds) > _LARGEST:
        raise ValueError("its seconds are none")
    if "digests" in record:
        _require_values(record["digests"], str)
    if "verdicts" in record:
        _require_values(record["verdicts"], int)
        _require_values(record.get("folders_not_entered", {}), int)
        for reasons in record.get("reasons", {}).values():
            _require_values(reasons, int)
    if "accepted" in record:
        if kind == "summary":
            _require_values(record["accepted"], int)
        else:
            _require_all(record["accepted"], _ACCEPTED)
    for words in record.get("incomplete", ()):
        if type(words) is not str:
            raise ValueError("a text is none")


def _require(fields: Any, shapes: dict[str, type]) -> None:
    """Check the types of the known fields that are present."""
    if type(fields) is not dict:
        raise ValueError("an object is none")
    for key, value in fields.items():
        shape = shapes.get(key)
        if shape is not None:
            _require_value(value, shape, f"its {key} is none")


def _require_each(rows: Any, shapes: dict[str, type]) -> None:
    for row in rows:
        _require(row, shapes)


def _require_all(fields: Any, shapes: dict[str, type]) -> None:
    _require(fields, shapes)
    for key in shapes:
        if key not in fields:
            raise ValueError(f"it has no {key}")


def _require_values(fields: Any, shape: type) -> None:
    if type(fields) is not dict:
        raise ValueError("an object is none")
    for value in fields.values():
        _require_value(value, shape, "a value is none")


def _require_value(value: Any, shape: type, words: str) -> None:
    if (isinstance(value, int) and abs(value) > _LARGEST) or type(value) is not shape:
        raise ValueError(words)
