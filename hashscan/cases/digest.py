"""Count for the daily digest what has happened since the digest before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hashscan.cases.deadlines import DUE, IS_ORDER, DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.cases.queries import ScanRun, scans

DAY = 86_400
_TIME, _CASES, _SCANS, _EVENTS = "digest", "digest-cases", "digest-scans", "digest-events"
_OPEN = "removed IS NULL AND closed IS NULL"
_REVIEW = f"{_OPEN} AND verdict='review'"


@dataclass(frozen=True, slots=True)
class CaseGroup:
    """Some cases: the numbers of the first, and how many there are."""

    ids: Sequence[int]
    total: int


@dataclass(frozen=True, slots=True)
class DigestFigures:
    """The figures of one digest; times in seconds since 1970."""

    since: int
    until: int
    scans: Sequence[ScanRun]
    new: CaseGroup
    verdicts: Mapping[str, int]
    """Number of new cases by verdict."""
    categories: Mapping[str, int]
    """Number of new cases by category; a case may have several."""
    reviews: CaseGroup
    """Open cases that a person must look at."""
    overdue: CaseGroup
    """Open cases past their deadline: orders first, then the oldest deadline."""
    due_soon: CaseGroup
    """Open cases that become overdue within a day."""
    open: int
    events: Mapping[str, int]
    """Number of events of cases by kind."""
    marks: Mapping[str, int]
    """Marks of the outbox to set when this digest is stored: the next one begins there."""


def digest_figures(
    ledger: Ledger, outbox: Outbox, deadlines: DeadlineCalculator, now: float, named: int
) -> DigestFigures:
    """Return the figures since the last digest; the first one is about a day, and all open cases are new.

    Call it within a transaction, so that all figures are of one moment.

    Args:
        now: seconds since 1970.
        named: how many cases of a group are named at most.

    Raises:
        LedgerError: the ledger can't be read.
    """
    deadlines.register(ledger)
    before = outbox.mark(_TIME)
    since = int(now) - DAY if before is None else before
    if before is None:
        new, scanned, happened = _OPEN, f"coalesce(ended, started) > {since}", f"at > {since}"
    else:
        # By number and not by time: reports and notices are also imported later.
        new, scanned = f"id > {outbox.mark(_CASES)}", f"id > {outbox.mark(_SCANS)}"
        happened = f"number > {outbox.mark(_EVENTS)}"
    verdicts, categories = Counter[str](), Counter[str]()
    query = f"SELECT verdict, categories, count(*) FROM cases WHERE {new} GROUP BY verdict, categories"  # noqa: S608
    for verdict, names, number in ledger.rows(query):
        verdicts[verdict] += number
        for name in names.split():
            categories[name] += number
    return DigestFigures(
        since,
        int(now),
        tuple(scans(ledger, f"WHERE {scanned} ORDER BY started, id")),
        _group(ledger, named, new),
        dict(verdicts),
        dict(categories),
        _group(ledger, named, _REVIEW),
        _group(ledger, named, f"{_OPEN} AND {DUE} < ?", now, order=f"{IS_ORDER} DESC, {DUE}, id"),
        _group(ledger, named, f"{_OPEN} AND {DUE} BETWEEN ? AND ?", now, now + DAY, order=f"{DUE}, id"),
        _group(ledger, 0, _OPEN).total,
        dict(ledger.rows(f"SELECT kind, count(*) FROM events WHERE {happened} GROUP BY kind")),  # noqa: S608
        {
            _TIME: int(now),
            _CASES: _last(ledger, "SELECT max(id) FROM cases"),
            _SCANS: _last(ledger, "SELECT max(id) FROM scans"),
            _EVENTS: _last(ledger, "SELECT max(number) FROM events"),
        },
    )


def _last(ledger: Ledger, query: str) -> int:
    return int(ledger.one(query)[0] or 0)


def _group(ledger: Ledger, named: int, where: str, *values: object, order: str = "id") -> CaseGroup:
    # No part of the queries comes from outside.
    ids = ledger.rows(f"SELECT id FROM cases WHERE {where} ORDER BY {order} LIMIT {named}", *values)  # noqa: S608
    total = ledger.one(f"SELECT count(*) FROM cases WHERE {where}", *values)[0]  # noqa: S608
    return CaseGroup(tuple(number for (number,) in ids), total)
