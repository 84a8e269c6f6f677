"""Validate report records and single JSON values, so that document formats can rely on their types."""

from __future__ import annotations

from datetime import datetime
from typing import Any

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
