"""Read and validate the rows of one kind in a settings file (`[[kind]]` tables)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from hashscan.errors import RowError, UsageError
from hashscan.text import closest_match, is_printable_line

ROWS_MAX = 1000

T = TypeVar("T")
Reader = Callable[[object], Any]
"""A function that validates a key's value and returns the parsed value; raises `InvalidValueError`, or a
complete UsageError."""


class InvalidValueError(ValueError):
    """A key's value is not valid; the message says why, and `remedy` what is valid."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


def rows_of(tables: object, kind: str, source: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows as they are in the file.

    Raises:
        UsageError: the value is not a list of tables, or has too many rows.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(
            f"{source}: `{kind}` is no table of rules", advice=f"Begin each rule with a line [[{kind}]]."
        )
    if len(tables) > ROWS_MAX:
        raise UsageError(f"{source}: there are more than {ROWS_MAX} rules of {kind}")
    return tables


def unknown_key(key: str, known: Iterable[str], where: str) -> RowError:
    """Return the error for a key that a row can't have."""
    meant = closest_match(key, known)
    asked = f"Did you mean {meant!r}? " if meant else ""
    return RowError(key, f"{where}: there is no key {key!r}", f"{asked}There is {', '.join(known)}.")


def read_row(
    table: Mapping[str, Any], readers: Mapping[str, Reader], where: str, required: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the parsed values of a row, by key; `where` names the row in error messages.

    Raises:
        UsageError: names the row, the key, the problem and the remedy.
    """
    for key in table:
        if key not in readers:
            raise unknown_key(key, readers, where)
    for key in required:
        if key not in table:
            raise RowError(key, f"{where}: key {key!r} is missing", "Add it.")
    found: dict[str, Any] = {}
    for key, value in table.items():
        try:
            found[key] = readers[key](value)
        except (InvalidValueError, UsageError) as error:
            raise RowError(key, f"{where}, key {key!r}: {error}", error.remedy) from error
    return found


def read_each(value: object, read: Callable[[object], T]) -> tuple[T, ...]:
    """Return the parsed values of one value or of a list of values.

    Raises:
        InvalidValueError: the list is empty, or a value is not valid.
    """
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InvalidValueError("an empty list fits nothing", "Name what it is to be, or leave out the key.")
    return tuple(dict.fromkeys(map(read, values)))


def printable_line(value: object, longest: int) -> str:
    """Return one printable line of at most `longest` characters, without outer white space; it may be empty.

    Raises:
        InvalidValueError: it is not such a line.
    """
    if not isinstance(value, str) or not is_printable_line(value, longest):
        raise InvalidValueError(
            f"{str(value)[:60]!r} is not permitted there",
            f"Write one printable line of at most {longest} characters.",
        )
    return value.strip()
