"""Assign files and objects to customers, by the rules of the settings."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from hashscan.attribution.path_patterns import NamedPath, compile_named, parts_of
from hashscan.errors import UsageError
from hashscan.model import CustomerRule
from hashscan.reports.names import path_bytes
from hashscan.reports.record_lines import Record

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


NOBODY = CustomerDecision("", None)


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
        """Return True if there are any rules."""
        return bool(self._rules)

    def of(self, path: bytes, uid: int | None) -> str:
        """Return the customer of a file; empty where no rule applies, or one assigns it to nobody.

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
            return NOBODY
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
            said = rule.name.replace(f"{{{PART}}}", _text(name)) if by_name else rule.name
            if by_user:
                assert uid is not None
                said = said.replace(f"{{{USER}}}", _user(uid))
            return CustomerDecision(said, rule)
        return NOBODY


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
