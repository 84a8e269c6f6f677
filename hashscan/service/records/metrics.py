"""Count what the service does, as metrics for Prometheus."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from hashscan import __version__
from hashscan.errors import HashscanError
from hashscan.model import ListInfo, TrustState
from hashscan.service.engine.uploads import Client, NoLegalBasis, Overloaded, TooLarge, UnusableDescriptor
from hashscan.timefmt import parse_utc

if TYPE_CHECKING:
    from hashscan.service.engine.engine import Engine
    from hashscan.service.records.journal import Journal

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
"""Upper bounds of the buckets of latencies."""
_REASONS: Mapping[type[HashscanError], str] = {
    NoLegalBasis: "legal_basis",
    Overloaded: "overloaded", TooLarge: "too_large", UnusableDescriptor: "descriptor",
}  # fmt: skip


class ServiceMetrics:
    """The metrics of one service; no label comes from a client."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._checks = _CheckCollector()
        self._registry.register(self._checks)
        self._unchecked = Counter(
            "hashscan_serve_unchecked",
            "Uploads that were not checked.",
            ("door", "reason"),
            registry=self._registry,
        )
        self._digests = Counter(
            "hashscan_serve_digests",
            "Digests that were asked about.",
            ("door", "found"),
            registry=self._registry,
        )

    def checked(self, door: str, verdict: str, outcome: str, size: int, seconds: float) -> None:
        self._checks.count(door, verdict, outcome, size, seconds)

    def matched(self, door: str, digests: int, found: int) -> None:
        self._digests.labels(door, "yes").inc(found)
        self._digests.labels(door, "no").inc(digests - found)

    def failed(self, client: Client, error: HashscanError) -> None:
        self._unchecked.labels(client.door, _REASONS.get(type(error), "trouble")).inc()

    def observe(self, engine: Engine, journal: Journal) -> None:
        """Add the state of the engine and of the journal, read at each `render`."""
        self._registry.register(_StateCollector(engine, journal))

    def render(self) -> bytes:
        return generate_latest(self._registry)


class _DoorChecks:
    """The checked uploads of one door."""

    def __init__(self) -> None:
        self.bytes = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(_SECONDS) + 1)
        """Uploads by the time that each took; in the last one those that took longer than all bounds."""


class _CheckCollector(Collector):
    """The checked uploads: the library's own counters take as long as matching does."""

    def __init__(self) -> None:
        self._uploads: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._doors: defaultdict[str, _DoorChecks] = defaultdict(_DoorChecks)

    def count(self, door: str, verdict: str, outcome: str, size: int, seconds: float) -> None:
        self._uploads[door, verdict, outcome] += 1
        checks = self._doors[door]
        checks.bytes += size
        checks.seconds += seconds
        checks.buckets[bisect_left(_SECONDS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        uploads = CounterMetricFamily(
            "hashscan_serve_uploads", "Checked uploads.", labels=("door", "verdict", "answer")
        )
        for key, number in self._uploads.items():
            uploads.add_metric(key, number)
        size = CounterMetricFamily(
            "hashscan_serve_upload_bytes", "Bytes of checked uploads.", labels=("door",)
        )
        latency = HistogramMetricFamily(
            "hashscan_serve_check_seconds", "Time from an upload's last byte to its answer.", labels=("door",)
        )
        bounds = [*(str(float(bound)) for bound in _SECONDS), "+Inf"]
        for door, checks in self._doors.items():
            size.add_metric((door,), checks.bytes)
            buckets = list(zip(bounds, accumulate(checks.buckets), strict=True))
            latency.add_metric((door,), buckets, checks.seconds)
        yield from (uploads, size, latency)


class _StateCollector(Collector):
    """The present state of a service."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        self._engine = engine
        self._journal = journal
        self._started = time.time()

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the engine is not started yet when this is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        engine, pool = self._engine, self._engine.pool
        built = GaugeMetricFamily(
            "hashscan_serve_build_info", "The version of hashscan.", labels=("version",)
        )
        built.add_metric((__version__,), 1)
        yield built
        for name, text, value in (
            ("start_timestamp_seconds", "When the service was started.", self._started),
            ("queue", "Uploads that wait for a worker.", pool.queued),
            ("running", "Uploads that workers check.", pool.running),
            ("bytes_in_flight", "Bytes of uploads that arrive or are checked.", engine.room.taken),
            ("worker_deaths", "Workers that died.", pool.deaths),
            ("cases_waiting", "Records of uploads that are not on disk.", self._journal.waiting),
            ("records_lost", "Records of uploads that were dropped.", self._journal.lost),
        ):
            yield GaugeMetricFamily(f"hashscan_serve_{name}", text, value=value)
        yield from _list_families(engine.infos)


def _list_families(infos: tuple[ListInfo, ...]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "hashscan_serve_list_state", "1 for the state that a list is in.", labels=("list", "state")
    )
    version, entries, expiry = (
        GaugeMetricFamily(f"hashscan_serve_list_{name}", text, labels=("list",))
        for name, text in (
            ("version", "The version of a list in use."),
            ("entries", "The number of its entries."),
            ("expiry_timestamp_seconds", "Until when it is fresh."),
        )
    )
    for info in infos:
        for one in TrustState:
            state.add_metric((info.name, one.value), int(info.state is one))
        version.add_metric((info.name,), info.version)
        entries.add_metric((info.name,), info.entries)
        if info.expires is not None:
            expiry.add_metric((info.name,), parse_utc(info.expires).timestamp())
    yield from (state, version, entries, expiry)
