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
from typing import TYPE_CHECKING

from hashscan import __version__
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.cases.queries import ledger_stats
from hashscan.errors import EXIT_CLEAN, EXIT_FOUND
from hashscan.lists.storage.atomic_files import output_errors, replace_file
from hashscan.model import ListInfo, TrustState, Verdict
from hashscan.quarantine.withdrawn_items import last_known
from hashscan.state_dir import StateDir
from hashscan.timefmt import parse_utc

if TYPE_CHECKING:
    from prometheus_client.core import Metric


@dataclass(frozen=True, slots=True)
class ScanMetrics:
    """The last scan; times in seconds since 1970."""

    began: float
    ended: float | None
    """The end; None if the scan was killed, or hasn't ended yet."""
    exit_code: int | None
    files: Mapping[str, int] = field(default_factory=dict)
    """The number of files by verdict."""
    bytes: int = 0
    shortcomings: int = 0
    """The number of reasons why the scan is incomplete."""


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
class CaseMetrics:
    """The number of cases; open ones by verdict."""

    open: Mapping[str, int]
    overdue: int
    disputed: int
    opened_ever: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics; None is a value that is not known."""

    last: ScanMetrics | None = None
    last_success: float | None = None
    """The end of the last complete scan, in seconds since 1970."""
    lists: tuple[ListMetrics, ...] = ()
    cases: CaseMetrics | None = None
    in_quarantine: int | None = None
    withdrawn: int | None = None
    """The number of items in quarantine whose entries were withdrawn."""
    alerts_waiting: int | None = None
    oldest_waiting: float | None = None

    def with_run(self, run: ScanMetrics | None) -> Metrics:
        """Return the figures with the scan that has just run.

        It becomes the last scan, and also the last success if it was complete and ended with exit code 0 or
        1.
        """
        if run is None:
            return self
        went_well = run.exit_code in (EXIT_CLEAN, EXIT_FOUND) and not run.shortcomings
        known = [self.last_success] if self.last_success is not None else []
        success = max([*known, *([run.ended] if went_well and run.ended is not None else [])], default=None)
        return replace(self, last=run, last_success=success)


def collect_metrics(
    ledger: Ledger, state: StateDir, clock: DeadlineCalculator, now: float, lists: tuple[ListMetrics, ...]
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
    found = ledger_stats(ledger, clock, now)
    last = None
    if found.last is not None:
        last = ScanMetrics(
            found.last.started,
            found.last.ended,
            found.last.exit_code,
            found.last.verdicts,
            found.last.bytes,
            len(found.last.incomplete),
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
    state: StateDir, now: datetime, seen: Iterable[ListInfo] = ()
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

    Args:
        path: the metrics file; an existing file is replaced. If it describes a later scan than the figures,
            those values stay, because a scan that failed early is recorded nowhere else.
        figures: the known values.

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
    """Return the figures in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    families = _Families()
    families.gauge_by("build_info", "The version of hashscan.", "version", {__version__: 1})
    families.gauge(
        LAST_SUCCESS.removeprefix("hashscan_"),
        "When a scan last ended with nothing left out.",
        figures.last_success,
    )
    if figures.last is not None:
        _add_scan(families, figures.last)
    _add_lists(families, figures.lists)
    if figures.cases is not None:
        _add_cases(families, figures.cases)
    families.gauge("quarantine_items", "Files and objects in quarantine.", figures.in_quarantine)
    families.gauge(
        "quarantine_withdrawn_items", "Those of them that no entry matches any more.", figures.withdrawn
    )
    families.gauge("alerts_waiting", "Alerts that have not gone everywhere yet.", figures.alerts_waiting)
    families.gauge(
        "alerts_oldest_waiting_timestamp_seconds", "When the oldest of them was made.", figures.oldest_waiting
    )
    registry = CollectorRegistry()
    registry.register(families)
    return generate_latest(registry)


class _Families:
    """The families of metrics, in their order."""

    def __init__(self) -> None:
        self._families: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        """Return an iterator over all families."""
        return iter(self._families)

    def gauge(self, name: str, text: str, value: float | None) -> None:
        """Add a gauge without labels, if its value is known."""
        from prometheus_client.core import GaugeMetricFamily

        if value is not None:
            self._families.append(GaugeMetricFamily(f"hashscan_{name}", text, value=value))

    def counter(self, name: str, text: str, value: float) -> None:
        """Add a counter."""
        from prometheus_client.core import CounterMetricFamily

        self._families.append(CounterMetricFamily(f"hashscan_{name}", text, value=value))

    def gauge_by(self, name: str, text: str, label: str, values: Mapping[str, float | None]) -> None:
        """Add a gauge with one label, for known values."""
        self.gauge_by_labels(name, text, [label], [((key,), value) for key, value in values.items()])

    def gauge_by_labels(
        self,
        name: str,
        text: str,
        labels: list[str],
        values: Iterable[tuple[tuple[str, ...], float | None]],
    ) -> None:
        """Add a gauge with several labels."""
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(f"hashscan_{name}", text, labels=labels)
        for keys, value in values:
            if value is not None:
                family.add_metric(keys, value)
        if family.samples:
            self._families.append(family)


def _add_scan(families: _Families, last: ScanMetrics) -> None:
    families.gauge("last_run_timestamp_seconds", "When the last scan began.", last.began)
    if last.ended is not None:
        families.gauge(
            "last_run_duration_seconds", "How long the last scan took.", max(0, last.ended - last.began)
        )
    families.gauge(
        "last_run_killed", "1 if the last scan was killed, or has not ended yet.", int(last.ended is None)
    )
    families.gauge("last_run_exit_code", "How the last scan ended.", last.exit_code)
    families.gauge("last_run_bytes", "Bytes that the last scan read.", last.bytes)
    families.gauge(
        "last_run_shortcomings", "Reasons for which the last scan is incomplete.", last.shortcomings
    )
    families.gauge_by(
        "last_run_files",
        "Files of the last scan by verdict.",
        "verdict",
        {verdict.value: last.files.get(verdict.value, 0) for verdict in Verdict},
    )


def _add_lists(families: _Families, lists: tuple[ListMetrics, ...]) -> None:
    families.gauge_by_labels(
        "list_state",
        "1 for the state that a list is in.",
        ["list", "state"],
        [((one.name, state.value), int(one.state == state)) for one in lists for state in TrustState],
    )
    for name, text, values in (
        ("list_expiry_timestamp_seconds", "Until when a list is fresh.", {o.name: o.expires for o in lists}),
        ("list_pulled_timestamp_seconds", "When it was last pulled.", {o.name: o.pulled for o in lists}),
        ("list_entries", "How many entries it has.", {o.name: o.entries for o in lists}),
        ("list_version", "Its version in use.", {o.name: o.version for o in lists}),
    ):
        families.gauge_by(name, text, "list", values)


def _add_cases(families: _Families, cases: CaseMetrics) -> None:
    kinds = [Verdict.MATCH.value, Verdict.HELD.value, Verdict.REVIEW.value, "notice"]
    families.gauge_by(
        "cases_open",
        "Open cases, by verdict.",
        "verdict",
        {kind: cases.open.get(kind, 0) for kind in kinds},
    )
    families.gauge("cases_overdue", "Open cases past their deadline.", cases.overdue)
    families.gauge("cases_disputed", "Open cases that somebody disputes.", cases.disputed)
    families.counter("cases_opened", "Cases there ever were.", cases.opened_ever)


def _merge_older(figures: Metrics, path: Path) -> Metrics:
    """Return the figures, with an older file's values if these are of a later scan."""
    older = _samples(path)
    success = [known for known in (figures.last_success, older.get((LAST_SUCCESS, ""))) if known is not None]
    began = older.get((f"{_RUN}timestamp_seconds", ""))
    last = figures.last
    if began is not None and (last is None or last.began < began):
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
    return replace(figures, last=last, last_success=max(success, default=None))


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
