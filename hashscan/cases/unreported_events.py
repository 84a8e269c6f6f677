"""Find cases and scans in the ledger for which no alert was created yet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hashscan.cases.deadlines import DUE, DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox

_CASES, _SCANS = "cases", "sweeps"
_OPEN = "removed IS NULL AND closed IS NULL"


@dataclass(frozen=True, slots=True)
class NewCases:
    """Cases for which no alert was created."""

    ids: Sequence[int]
    """Numbers of the first cases."""
    verdicts: Mapping[str, int]
    categories: Mapping[str, int]
    """Number of cases by category; a case may have several."""
    total: int
    removed: int
    """Number of cases whose file is gone or in quarantine already."""
    first_due: int | None
    """The first deadline of the others; seconds since 1970."""


@dataclass(frozen=True, slots=True)
class OverdueCase:
    """A case past its deadline."""

    id: int
    key: str
    """Unique key of the case, which changes when the case is opened again."""
    customer: str


@dataclass(frozen=True, slots=True)
class UnreportedScan:
    """A scan for which no alert was created; times in seconds since 1970."""

    uuid: str
    started: int
    ended: int | None
    """None if it was killed."""
    exit_code: int | None
    files: int
    incomplete: Sequence[str]


class UnreportedEvents:
    """Queries for unreported events; use them within the transaction that adds the alerts.

    Args:
        ledger: the ledger.
        outbox: the outbox of the same ledger.
        clock: computes the deadlines of cases.
    """

    def __init__(self, ledger: Ledger, outbox: Outbox, clock: DeadlineCalculator) -> None:
        self._ledger = ledger
        self._outbox = outbox
        clock.register(ledger)

    def new_cases(self, named: int) -> NewCases | None:
        """Return the cases since the last call; on the first call, the open ones.

        Args:
            named: maximum number of case numbers to return.
        """
        mark = self._outbox.mark(_CASES)
        last = self._ledger.one("SELECT max(id) FROM cases")[0] or 0
        self._outbox.set_mark(_CASES, last)
        where = "id > ?" + (f" AND {_OPEN}" if mark is None else "")
        rows = list(
            self._ledger.rows(
                "SELECT verdict, categories, count(*), sum(removed IS NOT NULL), "  # noqa: S608
                f"min(CASE WHEN {_OPEN} THEN {DUE} END) FROM cases WHERE {where} "
                "GROUP BY verdict, categories",
                mark or 0,
            )
        )
        if not rows:
            return None
        verdicts, categories = Counter[str](), Counter[str]()
        for verdict, words, number, _, _ in rows:
            verdicts[verdict] += number
            for word in words.split():
                categories[word] += number
        ids = self._ledger.rows(
            f"SELECT id FROM cases WHERE {where} ORDER BY id LIMIT ?",  # noqa: S608
            mark or 0,
            named,
        )
        return NewCases(
            tuple(number for (number,) in ids),
            dict(verdicts),
            dict(categories),
            verdicts.total(),
            sum(removed for _, _, _, removed, _ in rows),
            min((due for *_, due in rows if due is not None), default=None),
        )

    def overdue(self, now: float) -> list[OverdueCase]:
        """Return overdue cases without an alert since they were opened, the oldest deadline first."""
        query = (
            "SELECT id, key, customer FROM (SELECT id, customer, 'overdue:' || id || ':' || (SELECT count(*) "  # noqa: S608
            "FROM events WHERE events.id = cases.id AND kind IN ('reopened', 'restored')) AS key, "
            f"{DUE} AS due FROM cases WHERE {_OPEN} AND {DUE} < ?) "
            "WHERE key NOT IN (SELECT key FROM alarm_keys) ORDER BY due, id"
        )
        return [OverdueCase(*row) for row in self._ledger.rows(query, now)]

    def new_scans(self) -> list[UnreportedScan]:
        """Return the scans since the last call, in their order; on the first call, only the last scan."""
        mark = self._outbox.mark(_SCANS)
        last = self._ledger.one("SELECT max(id) FROM sweeps")[0] or 0
        self._outbox.set_mark(_SCANS, last)
        query = (
            "SELECT uuid, started, ended, exit_code, files, incomplete FROM sweeps WHERE id > ? ORDER BY id"
        )
        rows = self._ledger.rows(query, last - 1 if mark is None else mark)
        return [
            UnreportedScan(uuid, started, ended, code, files, json.loads(incomplete))
            for uuid, started, ended, code, files, incomplete in rows
        ]
