"""Collect the metrics for monitoring, and write them to a file for Prometheus (node_exporter's textfile)."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashscan import __version__
from hashscan.atomic_files import output_errors, replace_file
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.form_spool import last_refused
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.cases.queries import LedgerStats, ledger_stats
from hashscan.errors import EXIT_CLEAN, EXIT_FOUND
from hashscan.model import ListInfo, TrustState, Verdict
from hashscan.quarantine.withdrawn_items import last_known
from hashscan.state_dir import StateDir
from hashscan.timefmt import parse_utc

if TYPE_CHECKING:
    from prometheus_client.core import Metric


@dataclass(frozen=True, slots=True)
class ScanMetrics:
    """The last scan; times in seconds since 1970."""

    started: float
    ended: float | None
    """None if it was killed, or hasn't ended yet."""
    exit_code: int | None
    verdicts: Mapping[str, int] = field(default_factory=dict)
    """The number of files by verdict."""
    bytes: int = 0
    shortcomings: int = 0
    """The number of reasons why it is incomplete."""


@dataclass(frozen=True, slots=True)
class ListMetrics:
    """One hash list; times in seconds since 1970."""

    name: str
    state: str
    entries: int
    version: int
    expires: float | None
    pulled: float | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics; None is a value that is not known."""

    last: ScanMetrics | None = None
    last_success: float | None = None
    """The end of the last complete scan, in seconds since 1970."""
    lists: tuple[ListMetrics, ...] = ()
    ledger: LedgerStats | None = None
    """The counts of cases and of the quarantine."""
    withdrawn: int | None = None
    """The number of items in quarantine whose entries were withdrawn."""
    alerts_waiting: int | None = None
    oldest_waiting: float | None = None
    form_refused: float | None = None
    """When the form last refused a notice since its spool was full, in seconds since 1970."""

    def with_run(self, run: ScanMetrics | None) -> Metrics:
        """Return the figures with the scan that has just run.

        It becomes the last scan, and also the last success if it was complete and ended with exit code 0 or
        1.
        """
        if run is None:
            return self
        went_well = run.exit_code in (EXIT_CLEAN, EXIT_FOUND) and not run.shortcomings
        success = _latest(self.last_success, run.ended if went_well else None)
        return replace(self, last=run, last_success=success)


def _latest(*times: float | None) -> float | None:
    return max((time for time in times if time is not None), default=None)


def collect_metrics(
    ledger: Ledger, state: StateDir, deadlines: DeadlineCalculator, now: float, lists: tuple[ListMetrics, ...]
) -> Metrics:
    """Return the metrics at `now` (seconds since 1970), from a ledger that is up to date.

    Raises:
        LedgerError: the ledger can't be read.
    """
    stats, outbox = ledger_stats(ledger, deadlines, now), Outbox(ledger)
    last, run = None, stats.last
    if run is not None:
        shortcomings = len(run.incomplete)
        last = ScanMetrics(run.started, run.ended, run.exit_code, run.verdicts, run.bytes, shortcomings)
    withdrawn = len(last_known(state))
    waiting, oldest = outbox.waiting(), outbox.oldest_waiting()
    refused = last_refused(state)
    return Metrics(last, stats.last_success, lists, stats, withdrawn, waiting, oldest, refused)


def collect_list_metrics(
    state: StateDir, now: datetime, seen: Iterable[ListInfo] = ()
) -> tuple[ListMetrics, ...]:
    """Return the states of a state folder's hash lists; those in `seen` were verified more thoroughly.

    Raises:
        OutputError: the folder can't be listed.
    """
    # Imported late, because lists need numpy.
    from hashscan.lists.pulling.client import attempts_of
    from hashscan.lists.storage.layout import DEMO
    from hashscan.lists.storage.stored_version import VerificationLevel
    from hashscan.lists.store import ListStore

    store = ListStore(state.lists)
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


LAST_SUCCESS = "hashscan_last_success_timestamp_seconds"
_RUN = "hashscan_last_run_"
_READABLE = 0o644
_LARGEST = 1 << 20
"""The bytes of an older file that are read at most."""


def write_metrics(path: Path, figures: Metrics) -> None:
    """Write the metrics atomically; every user may read the file, so it names neither paths nor customers.

    If an older file describes a later scan than the figures, those values stay, because a scan that failed
    early is recorded nowhere else.

    Raises:
        OutputError: the file can't be written; the old file stays.
    """
    with output_errors(f"the metrics can't be written to {path}"):
        data = render_metrics(_merge_older(figures, path))
        # node_exporter runs as another user, so the file is readable whatever the umask is.
        umask = os.umask(0o022)
        try:
            replace_file(path, data, _READABLE)
        finally:
            os.umask(umask)


def render_metrics(figures: Metrics) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    families: list[Metric] = []
    for name, text, labels, values in _gauges(figures):
        family = GaugeMetricFamily(f"hashscan_{name}", text, labels=labels)
        for keys, value in values.items():
            if value is not None:
                family.add_metric(keys, value)
        if family.samples:
            families.append(family)
    if figures.ledger is not None:
        opened = figures.ledger.opened_ever
        families.append(CounterMetricFamily("hashscan_cases_opened", "Cases there ever were.", value=opened))
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


class _Families:
    """The families of metrics, as the registry collects them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


_Gauge = tuple[str, str, tuple[str, ...], Mapping[Any, float | None]]
"""A gauge: its name and help text, the names of its labels, and its values by those of the labels."""


def _gauges(figures: Metrics) -> Iterator[_Gauge]:
    yield "build_info", "The version of hashscan.", ("version",), {(__version__,): 1}
    yield _plain(
        LAST_SUCCESS.removeprefix("hashscan_"),
        "When a scan last ended with nothing left out.",
        figures.last_success,
    )
    if figures.last is not None:
        yield from _scan_gauges(figures.last)
    yield from _list_gauges(figures.lists)
    if (ledger := figures.ledger) is not None:
        kinds = (Verdict.MATCH.value, Verdict.HELD.value, Verdict.REVIEW.value, "notice", "inform")
        by_kind = {(kind,): ledger.open.get(kind, 0) for kind in kinds}
        yield "cases_open", "Open cases, by verdict.", ("verdict",), by_kind
        yield _plain("cases_overdue", "Open cases past their deadline.", ledger.overdue)
        yield _plain("orders_overdue", "Those of them with an order of an authority.", ledger.overdue_orders)
        yield _plain(
            "orders_unacknowledged",
            "Orders whose receipt should have been acknowledged.",
            ledger.unacknowledged,
        )
        yield _plain("cases_disputed", "Open cases that somebody disputes.", ledger.disputed)
        yield _plain("quarantine_items", "Files and objects in quarantine.", ledger.in_quarantine)
    yield _plain(
        "quarantine_withdrawn_items", "Those of them that no entry matches any more.", figures.withdrawn
    )
    yield _plain("alerts_waiting", "Alerts that have not gone everywhere yet.", figures.alerts_waiting)
    yield _plain(
        "alerts_oldest_waiting_timestamp_seconds", "When the oldest of them was made.", figures.oldest_waiting
    )
    yield _plain(
        "form_refused_timestamp_seconds",
        "When the form for notices last refused one, since too many waited.",
        figures.form_refused,
    )


def _plain(name: str, text: str, value: float | None) -> _Gauge:
    return name, text, (), {(): value}


def _scan_gauges(last: ScanMetrics) -> Iterator[_Gauge]:
    yield _plain("last_run_timestamp_seconds", "When the last scan began.", last.started)
    took = None if last.ended is None else max(0, last.ended - last.started)
    yield _plain("last_run_duration_seconds", "How long the last scan took.", took)
    killed = int(last.ended is None)
    yield _plain("last_run_killed", "1 if the last scan was killed, or has not ended yet.", killed)
    yield _plain("last_run_exit_code", "How the last scan ended.", last.exit_code)
    yield _plain("last_run_bytes", "Bytes that the last scan read.", last.bytes)
    text = "Reasons for which the last scan is incomplete."
    yield _plain("last_run_shortcomings", text, last.shortcomings)
    files = {(verdict.value,): last.verdicts.get(verdict.value, 0) for verdict in Verdict}
    yield "last_run_files", "Files of the last scan by verdict.", ("verdict",), files


def _list_gauges(lists: tuple[ListMetrics, ...]) -> Iterator[_Gauge]:
    states = {(one.name, state.value): int(one.state == state) for one in lists for state in TrustState}
    yield "list_state", "1 for the state that a list is in.", ("list", "state"), states
    for name, text, values in (
        ("list_expiry_timestamp_seconds", "Until when a list is fresh.", [one.expires for one in lists]),
        ("list_pulled_timestamp_seconds", "When it was last pulled.", [one.pulled for one in lists]),
        ("list_entries", "How many entries it has.", [one.entries for one in lists]),
        ("list_version", "Its version in use.", [one.version for one in lists]),
    ):
        yield name, text, ("list",), {(one.name,): v for one, v in zip(lists, values, strict=True)}


def _merge_older(figures: Metrics, path: Path) -> Metrics:
    """Return the figures, with an older file's values if these are of a later scan."""
    older = _samples(path)
    success = _latest(figures.last_success, older.get((LAST_SUCCESS, "")))
    began = older.get((f"{_RUN}timestamp_seconds", ""))
    last = figures.last
    if began is not None and (last is None or last.started < began):
        took = older.get((f"{_RUN}duration_seconds", ""))
        code = older.get((f"{_RUN}exit_code", ""))
        last = ScanMetrics(
            began,
            None if took is None else began + took,
            None if code is None else int(code),
            {verdict.value: int(older.get((f"{_RUN}files", verdict.value), 0)) for verdict in Verdict},
            int(older.get((f"{_RUN}bytes", ""), 0)),
            int(older.get((f"{_RUN}shortcomings", ""), 0)),
        )
    return replace(figures, last=last, last_success=success)


def _samples(path: Path) -> dict[tuple[str, str], float]:
    """Return an older file's values, by names and verdicts; nothing if it can't be parsed."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        # Someone who may write there may have put a FIFO in its place, or a symlink to a device.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return {}
        raise
    try:
        data = os.read(descriptor, _LARGEST) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
    try:
        return {
            (sample.name, sample.labels.get("verdict", "")): sample.value
            for family in text_string_to_metric_families(data.decode("utf-8"))
            for sample in family.samples
            if math.isfinite(sample.value)
        }
    except (ValueError, KeyError, IndexError):  # Whatever it is, it is replaced.
        return {}
