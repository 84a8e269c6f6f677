"""Assign files and objects to customers, by the rules of the settings."""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from hashscan.attribution.path_patterns import NamedPath, compile_named, parts_of, read_path
from hashscan.errors import UsageError
from hashscan.model import CustomerRule
from hashscan.reports.records import Record, path_bytes
from hashscan.settings.table_rows import InvalidValueError, printable_line, read_each, read_row, rows_of

PART = "customer"
"""Name of the path's part that identifies the customer."""
USER = "user"
"""Placeholder in a rule's name for the name of the user who owns the file."""
_FOLDERS_KEPT = 4096


class CustomerDecision(NamedTuple):
    """The decision of the rules on one path."""

    customer: str
    """Name of the customer; empty for none."""
    rule: CustomerRule | None
    """The rule that decides; None where none applies."""


NO_CUSTOMER = CustomerDecision("", None)


class _Compiled(NamedTuple):
    rule: CustomerRule
    paths: tuple[NamedPath, ...]
    by_name: bool
    """True if the customer's name contains the part of the path."""
    by_user: bool


class Customers:
    """The compiled rules; a query succeeds for any path, however hostile."""

    def __init__(self, rules: Iterable[CustomerRule] = ()) -> None:
        """Compile the rules, of which the first that applies decides.

        Raises:
            UsageError: one can't be used.
        """
        self._rules = tuple(map(_compiled, rules))
        self._by_folder = all(path.folders_only for rule in self._rules for path in rule.paths)
        # Files come folder by folder, and most folders have one owner, so the decisions are cached.
        self._answer = lru_cache(_FOLDERS_KEPT)(self._decide)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def of(self, path: bytes, uid: int | None) -> str:
        """Return the customer of a file; empty where no rule applies, or one names no customer.

        Args:
            path: the whole path, or an object's URL.
            uid: number of the user; None for an object, or where it is not known.
        """
        return self.answer(path, uid).customer

    def named(self, record: Record) -> Record:
        """Return a record of a file or object, with its customer where the rules name one."""
        if not self._rules or "path" not in record:
            return record
        uid = record.get("uid")
        path = path_bytes(record)
        if record["type"] == "folder":
            # A folder belongs to the customer of the files in it.
            path += b"/"
        customer = self.of(path, uid if isinstance(uid, int) else None)
        return {**record, "customer": customer} if customer else record

    def answer(self, path: bytes, uid: int | None) -> CustomerDecision:
        """Return the decision on a path, with the rule that decides.

        For the arguments see `of`.
        """
        if not self._rules:
            return NO_CUSTOMER
        if self._by_folder:
            # The name of a file has no influence then, so that all files of a folder have one answer.
            path = path[: path.rfind(b"/") + 1]
        return self._answer(path, uid)

    def _decide(self, path: bytes, uid: int | None) -> CustomerDecision:
        scheme, parts = parts_of(path)
        for rule, paths, by_name, by_user in self._rules:
            if rule.owners and not _within(uid, rule.owners):
                continue
            if by_user and uid is None:
                continue
            name = ""
            if paths:
                found = next(
                    (f for pattern in paths if (f := pattern.match(scheme, parts)) is not None), None
                )
                if found is None:
                    continue
                name = found.get(PART, "")
            customer = rule.name.replace(f"{{{PART}}}", _text(name)) if by_name else rule.name
            if by_user and uid is not None:
                customer = customer.replace(f"{{{USER}}}", _user(uid))
            return CustomerDecision(customer, rule)
        return NO_CUSTOMER


def _compiled(rule: CustomerRule) -> _Compiled:
    try:
        paths = tuple(compile_named(path, (PART,)) for path in rule.paths)
    except UsageError as error:
        raise UsageError(f"{rule.origin}: {error}", advice=error.remedy) from error
    by_name, by_user = f"{{{PART}}}" in rule.name, f"{{{USER}}}" in rule.name
    if not paths and not rule.owners and not by_user:
        raise UsageError(f"{rule.origin} asks for nothing", advice="Give it a path or an owner.")
    for text, path in zip(rule.paths, paths, strict=True):
        if by_name and PART not in path.names:
            raise UsageError(
                f"{rule.origin}: the path {text!r} does not say who the customer is",
                advice="Put {customer} where the path does, or give the rule the customer's name.",
            )
    if by_name and not paths:
        raise UsageError(
            f"{rule.origin} has no path that says who the customer is",
            advice="Give it a path with {customer}, or the customer's name.",
        )
    return _Compiled(rule, paths, by_name, by_user)


def _within(uid: int | None, ranges: Sequence[tuple[int, int]]) -> bool:
    return uid is not None and any(first <= uid <= last for first, last in ranges)


def _text(part: str) -> str:
    """Return a part of a path in a form that every JSON reader can process."""
    try:
        part.encode()
    except UnicodeEncodeError:
        return part.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return part


@lru_cache(_FOLDERS_KEPT)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError, OverflowError):
        return str(uid)


NO_CUSTOMERS = Customers()


NAME_MAX = 200
_USER_MAX = 0xFFFFFFFE
_RANGE = re.compile(r"(\d{1,10})-(\d{1,10})", re.ASCII)
_BRACES = re.compile(r"\{([^{}]*)\}")


def customer_rules(tables: object, source: str) -> tuple[CustomerRule, ...]:
    """Return the rules in their order.

    Raises:
        UsageError: a rule can't be used; names it, the key and what to do.
    """
    rules = []
    for number, row in enumerate(rows_of(tables, "customer", source), start=1):
        found = read_row(row, _READERS, f"{source}, customer rule {number}")
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
    "path": lambda value: read_each(value, partial(read_path, noun="pattern", example="/home/{customer}/")),
    "owner": lambda value: read_each(value, _owner),
    "name": _name,
}
