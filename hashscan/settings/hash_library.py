"""The table [photodna] of the settings: a licensee's library, and the functions that it has."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hashscan.errors import UsageError
from hashscan.model import LIBRARY_ARGUMENTS, HashLibrary
from hashscan.settings.table_rows import InvalidValueError, Reader, printable_line, read_row

T = TypeVar("T")

_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_PATH_MAX = 4096
_ARGUMENTS = f"{', '.join(LIBRARY_ARGUMENTS)}, or a number"
_LIST_MAX = 12
_SIDE_MAX = 1024


def hash_library_of(table: object, source: str) -> HashLibrary:
    """Return the library from the table of a settings file; its file is not looked at.

    Raises:
        UsageError: the table is not valid; names the key and what to do.
    """
    where = f"{source}, [photodna]"
    if not isinstance(table, dict):
        raise UsageError(f"{source}: `photodna` is no table", advice="Begin it with a line [photodna].")
    found = HashLibrary(**read_row(table, _READERS, where, required=("library", "hash")))
    for needed in ("pixels", "width", "height", "digest"):
        if needed not in found.arguments:
            raise UsageError(
                f"{where}, key 'arguments': {needed!r} is missing",
                advice=f"Name all its arguments in order: {_ARGUMENTS}.",
            )
    if "instance" in found.arguments and not found.init:
        raise UsageError(
            f"{where}, key 'init' is missing: it returns the instance that the arguments name",
            advice="Name the function that returns it.",
        )
    return found


def _path(value: object) -> str:
    path = printable_line(value, _PATH_MAX)
    if not os.path.isabs(path):
        raise InvalidValueError(f"{path!r} is no absolute path", "Write the path from / on.")
    return path


def _symbol(value: object) -> str:
    if not isinstance(value, str) or not _SYMBOL.fullmatch(value):
        raise InvalidValueError(
            f"{str(value)[:60]!r} is no function's name", "Write its name as the library exports it."
        )
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 31) <= value < 1 << 31:
        raise InvalidValueError(f"{str(value)[:60]!r} is no integer of 32 bits", "Write a number.")
    return value


def _side(value: object) -> int:
    side = _integer(value)
    if not 1 <= side <= _SIDE_MAX:
        raise InvalidValueError(f"{side} is not 1 to {_SIDE_MAX}", "Write a number of pixels, such as 50.")
    return side


def _argument(value: object) -> str | int:
    if isinstance(value, str):
        if value not in LIBRARY_ARGUMENTS:
            raise InvalidValueError(f"there is no argument {value[:60]!r}", f"There is {_ARGUMENTS}.")
        return value
    return _integer(value)


def _initial(value: object) -> str | int:
    return printable_line(value, _PATH_MAX) if isinstance(value, str) else _integer(value)


def _each(read: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """Return a reader of lists, whose values may be equal."""

    def read_list(value: object) -> tuple[T, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > _LIST_MAX:
            raise InvalidValueError(
                "it is no list, or too long a one", f"Write at most {_LIST_MAX} values in brackets."
            )
        values: Sequence[Any] = value
        return tuple(map(read, values))

    return read_list


_READERS: dict[str, Reader] = {
    "library": _path,
    "hash": _symbol,
    "arguments": _each(_argument),
    "border": _symbol,
    "flip": _symbol,
    "init": _symbol,
    "init_arguments": _each(_initial),
    "success": _integer,
    "no_digest": _each(_integer),
    "least_side": _side,
    "dependencies": _each(_path),
}
