"""Checks the values of JSON that somebody else wrote."""

from __future__ import annotations

from datetime import datetime
from typing import Any

TEXT_MAX = 4096
"""Characters."""
NUMBER_MAX = 1 << 62


class WrongValueError(ValueError):
    """A value is not what must stand in its place; says so in words without repeating it."""


def text(value: object) -> str:
    """A text that is not too long."""
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise WrongValueError("a text is none, or too long")
    return value


def number(value: object, most: int = NUMBER_MAX) -> int:
    """A whole number from 0 on."""
    if type(value) is not int or not 0 <= value <= most:
        raise WrongValueError("a number is none, or out of range")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise WrongValueError("a flag is neither true nor false")
    return value


def array(value: object) -> list[Any]:
    """A list of whatever."""
    if not isinstance(value, list):
        raise WrongValueError("a list is none")
    return value


def table(value: object) -> dict[str, Any]:
    """An object with whatever members."""
    if not isinstance(value, dict):
        raise WrongValueError("an object is none")
    return value


def moment(value: object) -> datetime:
    """A time that says its zone."""
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise WrongValueError("a time is none, or lacks its zone")
    return found
