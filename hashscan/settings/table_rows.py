"""Reads the rows that a settings file has of one kind, `[[kind]]` by `[[kind]]`, each key checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from hashscan.errors import UsageError
from hashscan.settings.suggestions import nearest

ROWS_MAX = 1000

T = TypeVar("T")
Reader = Callable[[object], Any]
"""Checks a key's value and gives what it says; raises `WrongKeyError`, or a UsageError that says it all."""


class WrongKeyError(ValueError):
    """A value can't stand where it stands; says why, and what could."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


def rows_of(tables: object, kind: str, source: str) -> Sequence[Mapping[str, Any]]:
    """The rows as they stand there.

    Args:
        tables: what stands under `kind`.
        kind: the name of each.
        source: the file they stand in.

    Raises:
        UsageError: they are none, or too many.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(
            f"{source}: `{kind}` is no table of rules", advice=f"Begin each rule with a line [[{kind}]]."
        )
    if len(tables) > ROWS_MAX:
        raise UsageError(f"{source}: there are more than {ROWS_MAX} rules of {kind}")
    return tables


def unknown_key(key: str, known: Iterable[str], where: str) -> UsageError:
    """What to say of a key that a row can't have."""
    meant = nearest(key, known)
    asked = f"Did you mean {meant!r}? " if meant else ""
    return UsageError(f"{where}: there is no key {key!r}", advice=f"{asked}There is {', '.join(known)}.")


def read_row(
    table: Mapping[str, Any], readers: Mapping[str, Reader], where: str, required: Sequence[str] = ()
) -> dict[str, Any]:
    """What the keys of a row say, by key.

    Args:
        table: the row.
        readers: of each key that it may have.
        where: it stands, in words.
        required: the keys that it must have.

    Raises:
        UsageError: naming the row, the key, what is wrong with it and what to do.
    """
    for key in table:
        if key not in readers:
            raise unknown_key(key, readers, where)
    for key in required:
        if key not in table:
            raise UsageError(f"{where}: key {key!r} is missing", advice="Add it.")
    found: dict[str, Any] = {}
    for key, value in table.items():
        try:
            found[key] = readers[key](value)
        except (WrongKeyError, UsageError) as error:
            raise UsageError(f"{where}, key {key!r}: {error}", advice=error.remedy) from error
    return found


def each(value: object, read: Callable[[object], T]) -> tuple[T, ...]:
    """What one value says, or several in a list.

    Raises:
        WrongKeyError: there is none.
    """
    values = value if isinstance(value, list) else [value]
    if not values:
        raise WrongKeyError("an empty list fits nothing", "Name what it is to be, or leave out the key.")
    return tuple(dict.fromkeys(map(read, values)))


def line(value: object, longest: int) -> str:
    """One printable line; it may be empty.

    Args:
        value: of the key.
        longest: characters.

    Raises:
        WrongKeyError: it is none.
    """
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise WrongKeyError(
            f"{str(value)[:60]!r} can't stand there",
            f"Write one printable line of at most {longest} characters.",
        )
    return value.strip()
