"""Read the rules that say what the notices of a sender are (`[[sender_rule]]` tables)."""

from __future__ import annotations

from typing import Any

from hashscan.model import SenderRule
from hashscan.settings.cases_and_alerts import read_country
from hashscan.settings.table_rows import InvalidValueError, Reader, printable_line, read_row, rows_of
from hashscan.settings.values import parse_duration, require_positive

KINDS = ("notice", "order", "court", "terrorist")
"""An order to provide information asks for no removal, so no rule makes one of a message: it states that."""
ROLES = ("user", "hotline", "trusted_flagger", "authority")
_TEXT_MAX = 300


def sender_rules(tables: object, source: str) -> tuple[SenderRule, ...]:
    """Return the rules in their order.

    Raises:
        UsageError: a rule can't be used; names it, the key and what to do.
    """
    return tuple(
        SenderRule(**read_row(row, _READERS, f"{source}, sender rule {number}", required=("address",)))
        for number, row in enumerate(rows_of(tables, "sender_rule", source), start=1)
    )


def _address(value: object) -> str:
    found = printable_line(value, _TEXT_MAX)
    if not found or found == "@":
        raise InvalidValueError(f"{value!r} names nobody", "Write an address, or @ and a domain.")
    return found


def _one_of(known: tuple[str, ...]) -> Reader:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise InvalidValueError(f"{value!r} is not known", f"Write one of {', '.join(known)}.")
        return value

    return read


def _deadline(value: object) -> float:
    if not isinstance(value, str):
        raise InvalidValueError(f"{value!r} is no time", "Write one such as '12h'.")
    seconds: Any = parse_duration(value)
    require_positive("deadline", seconds)
    return float(seconds)


_READERS: dict[str, Reader] = {
    "address": _address,
    "kind": _one_of(KINDS),
    "role": _one_of(ROLES),
    "member_state": read_country,
    "legal_basis": lambda value: printable_line(value, _TEXT_MAX),
    "deadline": _deadline,
}
