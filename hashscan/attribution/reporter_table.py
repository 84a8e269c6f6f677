"""Read from a settings file who sends notices and reports to others."""

from __future__ import annotations

import re

from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.settings.table_rows import InvalidValueError, Reader, printable_line, read_row

_LONGEST = 200
_EMAIL = re.compile(r"[^@\s<>\"(),:;\[\]\\]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)
_DOMAIN = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+", re.ASCII
)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)


def reporter_of(table: object, source: str) -> Reporter:
    """Return the reporter.

    Args:
        table: the value of `reporter`.
        source: the settings file.

    Raises:
        UsageError: it can't be used; names the key and what to do.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{source}: `reporter` is no table", advice="Begin it with a line [reporter].")
    found = read_row(table, _READERS, f"{source}, [reporter]", required=("organisation", "email"))
    return Reporter(**found)


def _organisation(value: object) -> str:
    found = printable_line(value, _LONGEST)
    if not found:
        raise InvalidValueError("it is empty", "Name the organisation.")
    return found


def _email(value: object) -> str:
    if not isinstance(value, str) or not _EMAIL.fullmatch(value):
        raise InvalidValueError(f"{value!r} is no e-mail address", "Write one such as abuse@example.org.")
    return value


def _domain(value: object) -> str:
    if not isinstance(value, str) or len(value) > 253 or not _DOMAIN.fullmatch(value):
        raise InvalidValueError(f"{value!r} is no domain", "Write one such as example.org.")
    return value.lower()


def _country(value: object) -> str:
    if not isinstance(value, str) or not _COUNTRY.fullmatch(value):
        raise InvalidValueError(f"{value!r} is no country", "Write its two letters, such as NL.")
    return value


_READERS: dict[str, Reader] = {
    "organisation": _organisation,
    "email": _email,
    "domain": _domain,
    "name": lambda value: printable_line(value, _LONGEST),
    "phone": lambda value: printable_line(value, _LONGEST),
    "country": _country,
}
