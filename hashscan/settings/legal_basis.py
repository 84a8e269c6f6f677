"""Read until when lists and doors have a legal basis (`[[basis]]` tables), as the operator says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

from hashscan.errors import UsageError
from hashscan.settings.table_rows import InvalidValueError, Reader, printable_line, read_row, rows_of

Protocol = Literal["clamd", "icap", "http"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
"""The doors of `hashscan serve`."""
After = Literal["not_checked", "continue"]
WARN_DAYS = 30
"""Days before the end from which on an alert is raised."""
_TEXT_MAX = 300


@dataclass(frozen=True, slots=True)
class LegalBasis:
    """The legal basis of a list (also of an exchange or a matching service) or of a door of `serve`."""

    legal_basis: str
    """The law, as the operator names it."""
    legal_basis_until: date
    """The last day (UTC) on which it applies."""
    list: str = ""
    """Name of the list; empty for a door's."""
    door: str = ""
    """Protocol of the door; empty for a list's."""
    after_legal_basis: After = "not_checked"

    @property
    def subject(self) -> str:
        """The subject, such as `list national` or `door icap`."""
        return f"door {self.door}" if self.door else f"list {self.list}"

    @property
    def end(self) -> int:
        """The first second after its last day, since 1970."""
        following = self.legal_basis_until + timedelta(days=1)
        return int(datetime(following.year, following.month, following.day, tzinfo=UTC).timestamp())

    def stops(self, now: float) -> bool:
        """Return True if it has ended, and nothing is to be checked without it."""
        return now >= self.end and self.after_legal_basis == "not_checked"


def ended_door(bases: Iterable[LegalBasis], door: str, now: float) -> LegalBasis | None:
    """Return a basis of a door that has ended and without which it checks nothing; None if there is none."""
    return next((one for one in bases if one.door == door and one.stops(now)), None)


def ended_lists(bases: Iterable[LegalBasis], names: Iterable[str], now: float) -> Iterator[LegalBasis]:
    """Yield the bases of lists that have ended."""
    used = frozenset(names)
    return (one for one in bases if one.list in used and now >= one.end)


def legal_bases(tables: object, source: str) -> tuple[LegalBasis, ...]:
    """Return the legal bases in their order.

    Raises:
        UsageError: a row can't be used; names it, the key and what to do.
    """
    found = []
    for number, row in enumerate(rows_of(tables, "basis", source), start=1):
        where = f"{source}, legal basis {number}"
        one = LegalBasis(**read_row(row, _READERS, where, required=("legal_basis", "legal_basis_until")))
        if bool(one.list) is bool(one.door):
            raise UsageError(f"{where}: it is of one list or one door", advice="Add `list` or `door`.")
        found.append(one)
    return tuple(found)


def printable_text(value: object) -> str:
    """Return one printable line that is not empty; `InvalidValueError` for any other value."""
    found = printable_line(value, _TEXT_MAX)
    if not found:
        raise InvalidValueError("it is empty", "Write a line of text.")
    return found


def _one_of(known: tuple[str, ...]) -> Reader:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise InvalidValueError(f"{value!r} is not known", f"Write one of {', '.join(known)}.")
        return value

    return read


def last_day(value: object) -> date:
    """Return a day, also of a string; `InvalidValueError` for any other value."""
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, date) or isinstance(found, datetime) or found.year > 9000:
        raise InvalidValueError(f"{value!r} is no day", "Write one such as 2026-04-03.")
    return found


_READERS: dict[str, Reader] = {
    "legal_basis": printable_text,
    "legal_basis_until": last_day,
    "list": printable_text,
    "door": _one_of(PROTOCOLS),
    "after_legal_basis": _one_of(get_args(After)),
}
