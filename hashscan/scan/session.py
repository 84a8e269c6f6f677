"""The parts that a scan and a rescan share: lists, exceptions, policy, reports, and the conclusion.

A run opens everything in a fixed order. `start_scan` reads the baseline and locks the state folder; a scan
then opens its targets; `ScanSession` opens the lists and the reports; the state is opened last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec import structs

from hashscan import __version__
from hashscan.attribution.customers import Customers
from hashscan.errors import UsageError
from hashscan.lists.exceptions import exceptions_at
from hashscan.lists.store import ListStore, fingerprinted
from hashscan.locking import ScanLock
from hashscan.matching.circuit_breaker import limits_fields
from hashscan.matching.effective_policy import effective_policy, policy_fields, unused_lists
from hashscan.matching.evaluation import reach_of_vectors, thresholds_of_lists
from hashscan.matching.worker_setup import (
    WorkerSetup,
    algorithms_to_compute,
    asked_algorithms,
    distance_rule,
    library_for,
    licensed_by,
    require_computed,
    sandbox_options,
    video_rule_of,
)
from hashscan.model import ALGORITHMS
from hashscan.quarantine.restored import remember_quarantines
from hashscan.quarantine.stay_down import refresh_stay_down
from hashscan.quarantine.withdrawn_items import WithdrawnItems, withdrawn_items
from hashscan.reports.records import (
    Record,
    excepted_content_fields,
    excepted_fields,
    list_fields,
    without_none,
)
from hashscan.reports.schema import SCHEMA
from hashscan.reports.summary import Summary, exit_code_of
from hashscan.scan.baseline import BaselineFilter
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.reporting.report_paths import report_paths
from hashscan.scan.reporting.report_writer import ScanResult, open_reports
from hashscan.settings.scan import ScanSettings
from hashscan.shortcomings import Shortcoming, ShortcomingCode
from hashscan.sources.patterns import Patterns
from hashscan.text import path_fields, plural

_log = logging.getLogger(__name__)

_PATTERNS_SHOWN = 100
"""The number of patterns shown, because an ignore file may have very many."""

StoreEnd = Callable[[Record, int, Sequence[Shortcoming]], None]
"""Stores the end of a run in the state: the counts, the exit code and the shortcomings."""


class EndedRun(Protocol):
    """A run over files whose records have all been written."""

    summary: Summary

    @property
    def stopped(self) -> bool:
        """True if it was asked to stop before its end."""


@dataclass(frozen=True, slots=True)
class ScanStart:
    """The identity of a run and its baseline; the state folder is locked."""

    identity: str
    started: datetime
    begun: float
    baseline: BaselineFilter


def start_scan(settings: ScanSettings, observer: Observer, stack: ExitStack) -> ScanStart:
    """Read the baseline, and lock the state folder, which is created if there is none."""
    identity, started, begun = str(uuid.uuid4()), datetime.now(UTC), time.monotonic()
    baseline = BaselineFilter.from_file(settings.baseline, started, settings.fail_on)
    for message in baseline.messages_before():
        observer.message(message)
    if settings.state is not None:
        stack.enter_context(ScanLock(settings.state))
    return ScanStart(identity, started, begun, baseline)


class ScanSession:
    """The lists, exceptions, policy and reports of one run, from the first record to the summary."""

    def __init__(
        self, start: ScanStart, settings: ScanSettings, observer: Observer, stack: ExitStack
    ) -> None:
        """Open the lists, and then the reports."""
        self._start, self._settings, self._observer = start, settings, observer
        if settings.state is not None:
            remember_quarantines(settings.state, settings.quarantine_states)
        self.baseline = start.baseline
        self.customers = Customers(settings.customers)
        if trouble := refresh_stay_down(settings.state, start.started, settings.quarantine_states):
            observer.message(trouble)
        store = ListStore(settings.state.lists if settings.state is not None else None)
        opened = stack.enter_context(store.open(settings.lists, start.started))
        observer.lists_opened(opened.infos)
        for info in opened.infos:
            _log.info(
                "list %s version %s, %s: %s",
                info.name,
                info.version or "-",
                info.state.value,
                plural(info.entries, "entry", "entries"),
            )
        opened.require_usable(asking=True)
        self.services = opened.services
        """Matching services among the lists."""
        if self.services and settings.cluster is not None:
            raise UsageError(
                f"with --cluster, {' and '.join(s.name for s in self.services)} can't be asked",
                advice="Name the other lists with --list, and scan without --cluster for this one.",
            )
        self.infos = tuple(
            structs.replace(info, source=store.source(info.name)) for info in fingerprinted(opened)
        )
        exceptions = exceptions_at(settings.state, {info.name for info in self.infos}, start.started)
        observer.exceptions_loaded(exceptions)
        for message in unused_lists(settings.policy.rules, self.infos):
            observer.message(message)
        effective = effective_policy(
            settings.policy, self.infos, settings.state, exceptions.contents, settings.quarantine_states
        )
        self._policy_trouble = effective.trouble
        if effective.trouble:
            observer.message(f"{effective.trouble}. {effective.remedy}")
        asked = asked_algorithms(opened.handles, opened.services)
        library = library_for(asked, settings.decoding)
        require_computed(opened.services, library)
        self.setup = WorkerSetup(
            lists=opened.handles,
            sandbox=sandbox_options(settings.decoding),
            algorithms=algorithms_to_compute(asked, licensed_by(library)),
            photodna=library,
            max_pixels=settings.decoding.max_pixels,
            excepted=exceptions.in_force,
            policy=effective.policy,
            variants=settings.matching.variants,
            review_threshold=settings.matching.review_threshold,
            distances=settings.policy.distances,
            containers=settings.containers,
            videos=video_rule_of(opened.handles, settings.containers, settings.matching),
            members_unasked=bool(self.services),
        )
        """The settings of a worker, without those that say how files are read."""
        paths = report_paths(settings.reports, settings.state, start.started, start.identity)
        observer.beginning()
        for path in paths.records:
            _log.info("report: %s", path or "standard output")
        self.reports = stack.enter_context(
            open_reports(
                settings, paths, observer, self.customers, {service.name for service in self.services}
            )
        )

    def withdrawn_items(self) -> WithdrawnItems:
        """Return the items in quarantine whose list entries were all withdrawn, and warn of them."""
        state = self._settings.state
        withdrawn = WithdrawnItems(()) if state is None else withdrawn_items(state)
        for message in withdrawn.messages:
            self._observer.message(message)
        return withdrawn

    def begin(
        self,
        targets: Sequence[bytes],
        patterns: Patterns,
        *,
        inventory: tuple[bytes, str] | None = None,
        cluster: Record | None = None,
    ) -> Record:
        """Write the first record to the reports, and return it."""
        settings, setup = self._settings, self.setup
        shard, files_from = settings.shard, settings.files_from
        videos = () if setup.videos is None else ("vpdq",)
        algorithms = sorted((*setup.algorithms, *videos))
        thresholds = thresholds_of_lists(setup.lists, setup.videos, setup.distances)
        record = without_none(
            type="scan",
            schema=SCHEMA,
            uuid=self._start.identity,
            version=__version__,
            host=socket.gethostname(),
            known=settings.known or None,
            targets=[path_fields(target) for target in targets],
            files_from=None if files_from is None else path_fields(os.fsencode(files_from)),
            inventory=None if inventory is None else {**path_fields(inventory[0]), "created": inventory[1]},
            shard=None if shard is None else {"index": shard.index, "count": shard.count},
            lists=[list_fields(info) for info in self.infos],
            excepted=[excepted_fields(entry) for entry in setup.excepted],
            excepted_contents=[excepted_content_fields(one) for one in setup.policy.contents.values()]
            or None,
            algorithms=algorithms,
            thresholds={name: thresholds[name] for name in algorithms if ALGORITHMS[name].metric != "exact"},
            variants=list(setup.variants),
            review_threshold=setup.review_threshold,
            photodna=distance_fields(setup) or None,
            selection=selection_fields(settings, patterns),
            sandbox={"mode": settings.decoding.sandbox},
            policy=policy_fields(settings.policy) or None,
            fail_on=settings.fail_on,
            strict=settings.strict,
            breaker=limits_fields(settings.breaker),
            baseline=self.baseline.fields() or None,
            started=self._start.started.isoformat(),
            cluster=cluster or None,
        )
        self.reports.emit(record)
        return record

    def conclude(
        self,
        run: EndedRun,
        shortcomings: Iterable[Shortcoming],
        fields: Mapping[str, Any],
        store_end: StoreEnd | None,
    ) -> ScanResult:
        """Write the summary, store the end in the state (if the run has one), and make the reports in other
        formats."""
        summary, settings = run.summary, self._settings
        reasons = summary.shortcomings(self.infos, strict=settings.strict)
        if self._policy_trouble:
            reasons.append(Shortcoming(ShortcomingCode.POLICY, self._policy_trouble))
        reasons += shortcomings
        exit_code = exit_code_of(found=summary.found(settings.fail_on), incomplete=bool(reasons))
        if run.stopped:
            reasons.append(Shortcoming(ShortcomingCode.STOPPED, "stopped before its end"))
            exit_code = self._observer.stop_exit_code() or exit_code
        seconds = time.monotonic() - self._start.begun
        result = self.reports.conclude(summary, self.infos, exit_code, reasons, seconds, fields)
        if store_end is not None:
            store_end(summary.fields(), exit_code, reasons)
        self.reports.convert()
        return result


def distance_fields(setup: WorkerSetup) -> list[Record]:
    """Return the distances of PhotoDNA by list, where it is computed."""
    if "photodna" not in setup.algorithms:
        return []
    rules = {
        name: distance_rule(setup.distances, name) for name in reach_of_vectors(setup.lists, setup.distances)
    }
    return [without_none(list=name, review=rule.review, match=rule.match) for name, rule in rules.items()]


def selection_fields(settings: ScanSettings, patterns: Patterns) -> Record:
    """Return the `selection` field of a scan's first record; options that were not given are left out."""
    asked = {
        "exclude": _exclude_fields(patterns) if patterns else None,
        "max_file_size": settings.max_file_size,
        "max_sparse": settings.max_sparse,
        "one_file_system": settings.one_file_system or None,
        "all_versions": settings.all_versions or None,
        "endpoint": settings.access.endpoint,
        "trust_ctime": list(settings.trust_ctime) or None,
        "anonymous": settings.access.anonymous or None,
        "max_pixels": settings.decoding.max_pixels,
        "decoder_memory": settings.decoding.memory_bytes,
        "large_decoder_memory": settings.decoding.large_memory_bytes,
        "decoder_seconds": settings.decoding.seconds,
        "containers": None if settings.containers is None else structs.asdict(settings.containers),
    }
    return {key: value for key, value in asked.items() if value is not None}


def _exclude_fields(patterns: Patterns) -> Record:
    """Return the number of patterns, a fingerprint of all of them, and the first of them as text."""
    document = json.dumps([[included, pattern] for included, pattern in patterns.source])
    return {
        "number": len(patterns.source),
        "fingerprint": hashlib.sha256(document.encode("ascii")).hexdigest(),
        "patterns": [
            ("!" if included else "") + pattern for included, pattern in patterns.source[:_PATTERNS_SHOWN]
        ],
    }
