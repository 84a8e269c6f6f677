"""Compute the counts that metrics show: last scan, open and overdue cases, items in quarantine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hashscan.cases.deadlines import DUE, DeadlineCalculator
from hashscan.cases.ledger import Ledger

_OPEN = "removed IS NULL AND closed IS NULL"


@dataclass(frozen=True, slots=True)
class LastScan:
    """The scan that was started last; times in seconds since 1970."""

    started: int
    ended: int | None
    exit_code: int | None
    verdicts: Mapping[str, int]
    bytes: int
    shortcomings: int


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """The counts of a ledger."""

    last: LastScan | None
    last_success: int | None
    """Time at which a scan that read files last ended complete; seconds since 1970."""
    open: Mapping[str, int]
    """Number of open cases by verdict."""
    overdue: int
    disputed: int
    opened_ever: int
    in_quarantine: int


def standing(ledger: Ledger, clock: DeadlineCalculator, now: float) -> LedgerStats:
    """Return the counts of a ledger.

    Args:
        ledger: the ledger, after a sync.
        clock: computes the deadlines of cases.
        now: seconds since 1970.

    Raises:
        LedgerError: the ledger can't be read.
    """
    clock.register(ledger)
    with ledger.reading():
        found = ledger.one(
            "SELECT started, ended, exit_code, verdicts, bytes, incomplete FROM sweeps "
            "ORDER BY started DESC, id DESC LIMIT 1"
        )
        last = None
        if found is not None:
            started, ended, code, verdicts, size, incomplete = found
            last = LastScan(started, ended, code, json.loads(verdicts), size, len(json.loads(incomplete)))
        success = ledger.one("SELECT max(ended) FROM sweeps WHERE whole = 1 AND known = 0")
        counts = ledger.rows(f"SELECT verdict, count(*) FROM cases WHERE {_OPEN} GROUP BY verdict")  # noqa: S608
        overdue, disputed = ledger.one(
            f"SELECT count(*) FILTER (WHERE {DUE} < ?), count(disputed) FROM cases WHERE {_OPEN}",  # noqa: S608
            now,
        )
        return LedgerStats(
            last,
            success[0],
            dict(counts),
            overdue,
            disputed,
            ledger.one("SELECT max(id) FROM cases")[0] or 0,
            # An item is in quarantine if it was moved there and not taken out since.
            ledger.one(
                "SELECT count(*) FROM (SELECT kind, max(line) FROM custody "
                "WHERE kind IN ('moved', 'restored', 'released') GROUP BY log, item) WHERE kind = 'moved'"
            )[0],
        )
