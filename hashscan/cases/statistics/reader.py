"""Read the facts that statistics count from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

from hashscan.cases.deadlines import DUE, DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.statistics.counting import (
    CaseFact,
    Custody,
    CustodyFact,
    Facts,
    FindingVerdict,
    Outcome,
    ScanFact,
)
from hashscan.errors import (
    EXIT_CLEAN,
    EXIT_FOUND,
    EXIT_FOUND_INCOMPLETE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
)

_CUT_SHORT = frozenset(
    {
        EXIT_CLEAN,
        EXIT_FOUND,
        EXIT_INCOMPLETE,
        EXIT_FOUND_INCOMPLETE,
        EXIT_INTERRUPTED,
        EXIT_TERMINATED,
    }
)
"""Exit codes of scans that kept their results."""

_CUSTODY = {
    "moved": Custody.QUARANTINED,
    "restored": Custody.RESTORED,
    "released": Custody.RELEASED,
}
"""The custody event for each type of line in the quarantine log."""


def facts_of(ledger: Ledger, clock: DeadlineCalculator) -> Facts:
    """Return all facts in a ledger; they are read during iteration, so the ledger must stay open.

    Args:
        ledger: the ledger, after a sync.
        clock: computes the deadlines of cases.

    Raises:
        OutputError: the ledger can't be read; raised during iteration.
    """
    clock.register(ledger)
    return Facts(_scans(ledger), _cases(ledger), _custody(ledger), _notices(ledger))


def begun(ledger: Ledger) -> int | None:
    """Return the time of the first record, in seconds since 1970; None if there is none.

    Raises:
        OutputError: the ledger can't be read.
    """
    firsts = (
        ledger.one("SELECT min(started) FROM sweeps WHERE NOT known"),
        ledger.one("SELECT min(found) FROM cases"),
        ledger.one("SELECT min(at) FROM custody"),
        ledger.one("SELECT min(received) FROM notices"),
    )
    return min((int(first) for (first,) in firsts if first is not None), default=None)


def _scans(ledger: Ledger) -> Iterator[ScanFact]:
    # A rescan of cached digests has read no file.
    query = "SELECT started, exit_code, whole, files, bytes FROM sweeps WHERE NOT known"
    for started, code, whole, files, size in ledger.rows(query):
        yield ScanFact(started, _outcome(code, bool(whole)), files, size)


def _outcome(code: int | None, whole: bool) -> Outcome:
    if whole:
        return Outcome.COMPLETE
    return Outcome.INCOMPLETE if code in _CUT_SHORT else Outcome.FAILED


def _cases(ledger: Ledger) -> Iterator[CaseFact]:
    query = (
        "SELECT coalesce(began, found), verdict, "  # noqa: S608
        "(SELECT json_group_array(DISTINCT list) FROM matches WHERE id=cases.id), "
        f"categories, {DUE}, removed, closed FROM cases"
    )
    for began, verdict, lists, categories, due, removed, closed in ledger.rows(query):
        what = None
        with suppress(ValueError):
            what = FindingVerdict(verdict)
        yield CaseFact(
            began, what, frozenset(json.loads(lists)), frozenset(categories.split()), due, removed, closed
        )


def _custody(ledger: Ledger) -> Iterator[CustodyFact]:
    for at, kind in ledger.rows("SELECT at, kind FROM custody"):
        if kind in _CUSTODY:
            yield CustodyFact(at, _CUSTODY[kind])


def _notices(ledger: Ledger) -> Iterator[int]:
    query = "SELECT min(received) FROM notices GROUP BY notice"
    return (received for (received,) in ledger.rows(query))
