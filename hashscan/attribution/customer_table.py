"""Read the rules that assign files to customers from a settings file."""

from __future__ import annotations

import pwd
import re
from typing import Any

from hashscan.attribution.customers import PART, USER, Customers
from hashscan.errors import UsageError
from hashscan.model import CustomerRule
from hashscan.registry import SOURCES
from hashscan.settings.table_rows import InvalidValueError, printable_line, read_each, read_row, rows_of

NAME_MAX = 200
_USER_MAX = 0xFFFFFFFE
_RANGE = re.compile(r"(\d{1,10})-(\d{1,10})", re.ASCII)
_BRACES = re.compile(r"\{([^{}]*)\}")


def customer_rules(tables: object, source: str) -> tuple[CustomerRule, ...]:
    """Return the rules in their order.

    Args:
        tables: the value of `customer`.
        source: the settings file.

    Raises:
        UsageError: a rule can't be used; names it, the key and what to do.
    """
    rows = rows_of(tables, "customer", source)
    rules = []
    for number, row in enumerate(rows, start=1):
        where = f"{source}, customer rule {number}"
        found = read_row(row, _READERS, where)
        usual = PART if "path" in row else USER if "owner" in row else ""
        rule = CustomerRule(
            f"customer rule {number}",
            found.get("name", usual and f"{{{usual}}}"),
            found.get("path", ()),
            found.get("owner", ()),
        )
        try:
            Customers([rule])
        except UsageError as error:
            raise UsageError(f"{source}, {error}", advice=error.remedy) from error
        rules.append(rule)
    return tuple(rules)


def _path(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValueError(f"{value!r} is no pattern", "Write one such as '/home/{customer}/'.")
    scheme, separator, _ = value.partition("://")
    if separator and "/" not in scheme and scheme not in SOURCES:
        schemes = ", ".join(name for name in SOURCES if name != "file")
        raise InvalidValueError(f"{value!r} names no objects", f"There is {schemes}.")
    return value


def _owner(value: object) -> tuple[int, int]:
    """Return the first and last number of one user, or of a range of users."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _USER_MAX:
        return value, value
    if isinstance(value, str):
        found = _RANGE.fullmatch(value)
        if found is not None and int(found[1]) <= int(found[2]) <= _USER_MAX:
            return int(found[1]), int(found[2])
        try:
            uid = pwd.getpwnam(value).pw_uid
        except (KeyError, ValueError):
            pass  # The name is wrong, or exists only on another machine.
        else:
            return uid, uid
        remedy = "Mend the name, or write the user's number without quotes, or a range such as '1000-59999'."
        raise InvalidValueError(f"there is no user {value!r} here", remedy)
    raise InvalidValueError(
        f"{value!r} is no user", "Write a user's name, or the number without quotes, or '1000-59999'."
    )


def _name(value: object) -> str:
    name = printable_line(value, NAME_MAX)
    for found in _BRACES.finditer(name):
        if found[1] not in {PART, USER}:
            raise InvalidValueError(
                f"nothing is called {found[0]} there", f"Braces can contain {PART} and {USER}."
            )
    return name


_READERS: dict[str, Any] = {
    "path": lambda value: read_each(value, _path),
    "owner": lambda value: read_each(value, _owner),
    "name": _name,
}
