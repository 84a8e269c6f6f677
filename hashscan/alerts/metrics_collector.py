"""Collect the metrics for monitoring from the ledger, the state folder and the lists."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from hashscan.alerts.metrics_values import CaseMetrics, ListMetrics, Metrics, ScanMetrics
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.ledger_stats import standing
from hashscan.cases.outbox import Outbox
from hashscan.model import ListInfo
from hashscan.quarantine.withdrawal_cache import last_known
from hashscan.timefmt import parse_utc


def collect_metrics(
    ledger: Ledger, state: Path, clock: DeadlineCalculator, now: float, lists: tuple[ListMetrics, ...]
) -> Metrics:
    """Return the present metrics.

    Args:
        ledger: the ledger of the state folder, brought up to date.
        state: the state folder.
        clock: computes the deadlines of cases.
        now: seconds since 1970.
        lists: the states of the hash lists.

    Raises:
        LedgerError: the ledger can't be read.
    """
    found = standing(ledger, clock, now)
    last = None
    if found.last is not None:
        last = ScanMetrics(
            found.last.started,
            found.last.ended,
            found.last.exit_code,
            found.last.verdicts,
            found.last.bytes,
            found.last.shortcomings,
        )
    outbox = Outbox(ledger)
    return Metrics(
        last,
        found.last_success,
        lists,
        CaseMetrics(found.open, found.overdue, found.disputed, found.opened_ever),
        found.in_quarantine,
        len(last_known(state)),
        outbox.waiting(),
        outbox.oldest_waiting(),
    )


def collect_list_metrics(
    state: Path, now: datetime, seen: Iterable[ListInfo] = ()
) -> tuple[ListMetrics, ...]:
    """Return the states of a state folder's hash lists.

    Args:
        state: the state folder.
        now: the time to compare expiries with.
        seen: lists that were verified more thoroughly just now.

    Raises:
        OutputError: the folder can't be listed.
    """
    # Imported late, because lists need numpy.
    from hashscan.lists.pulling.client import attempts_of
    from hashscan.lists.record import VerificationLevel
    from hashscan.lists.store import DEMO, ListStore

    store = ListStore(state / "lists")
    with store.open(None, now, VerificationLevel.SIZES) as opened:
        infos = {info.name: info for info in opened.infos} | {info.name: info for info in seen}
    return tuple(
        ListMetrics(
            info.name,
            info.state.value,
            info.entries,
            info.version,
            _seconds(info.expires),
            None if info.name == DEMO else _seconds(attempts_of(store, info.name).succeeded),
        )
        for info in infos.values()
    )


def _seconds(moment: str | None) -> float | None:
    """Return seconds since 1970 from an RFC 3339 time."""
    return None if moment is None else parse_utc(moment).timestamp()
