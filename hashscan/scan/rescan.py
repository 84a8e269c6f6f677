"""Run `scan --known`: match the digests in the state against today's lists without reading files."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from hashscan import __version__
from hashscan.attribution.customers import Customers
from hashscan.lists.exceptions import exceptions_at
from hashscan.lists.fingerprint import fingerprinted
from hashscan.lists.store import ListStore
from hashscan.matching.circuit_breaker import limits_fields
from hashscan.matching.effective_policy import effective_policy, policy_fields
from hashscan.matching.matcher import thresholds_of_lists
from hashscan.matching.policy_table import unused_lists
from hashscan.matching.setup import WorkerSetup, algorithms_to_compute
from hashscan.quarantine.withdrawn_items import withdrawn_items
from hashscan.reports.record_lines import Record
from hashscan.reports.records import rescan_record, scan_record
from hashscan.reports.summary import Summary, exit_code_of
from hashscan.scan.baseline.filter import BaselineFilter
from hashscan.scan.lock import ScanLock
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.reporting.report_paths import report_paths
from hashscan.scan.reporting.report_writer import ScanResult, open_reports
from hashscan.scan.runner import require_usable, sandbox_options
from hashscan.scan.selection import selection_fields
from hashscan.settings.scan import ScanSettings
from hashscan.sources.patterns import Patterns
from hashscan.state.queries.rescan import KnownFiles


class _KnownFilesRun:
    """The iteration over all known files; it yields the records of everything that is not clean."""

    def __init__(
        self,
        known: KnownFiles,
        targets: Sequence[bytes],
        observer: Observer,
        accepting: BaselineFilter,
        *,
        with_digests: bool,
    ) -> None:
        self.summary = Summary()
        self.standing = 0
        """The number of earlier findings about which nothing else is known, or that these lists can't
        clear."""
        self.stopped = False
        self._known = known
        self._targets = targets
        self._observer = observer
        self._accepting = accepting
        self._with_digests = with_digests

    def stop(self) -> None:
        """End the iteration soon."""
        self.stopped = True

    def processes(self) -> list[int]:
        """Return an empty list: no process reads files."""
        return []

    def __iter__(self) -> Iterator[Record]:
        """Yield records until the end or until stopped; files not processed by then have no verdict."""
        for answer in self._known.answers(self._targets, self.summary):
            self._observer.tick()
            if answer is not None:
                record = rescan_record(
                    answer.path, answer.result, answer.item, with_digests=self._with_digests
                )
                yield self._accepting.apply(record, answer.result, self.summary)
            if self.stopped:
                return
        for record in self._known.standing(self._targets):
            self.standing += 1
            yield record


def run_rescan(settings: ScanSettings, observer: Observer) -> ScanResult:
    """Match the stored digests of earlier scans against today's lists.

    Raises:
        NoUsableListError: there is no list to match against.
        LockedError: another scan uses the state folder or writes the report.
        OutputError: the state or a report can't be read or written.
    """
    assert settings.state is not None
    identity, started, clock = str(uuid.uuid4()), datetime.now(UTC), time.monotonic()
    # Known files of a target can be matched even if the target does not exist now.
    targets = [target if b"://" in target else os.path.realpath(target) for target in settings.targets]
    accepting = BaselineFilter.from_file(settings.baseline, started, settings.fail_on)
    for words in accepting.messages_before():
        observer.message(words)
    with ExitStack() as stack:
        stack.enter_context(ScanLock(settings.state))
        opened = stack.enter_context(ListStore(settings.state / "lists").open(settings.lists, started))
        observer.lists_opened(opened.infos)
        require_usable(opened)
        infos = fingerprinted(opened)
        exceptions = exceptions_at(settings.state, {info.name for info in infos}, started)
        observer.exceptions_loaded(exceptions)
        for words in unused_lists(settings.policy.rules, infos):
            observer.message(words)
        effective = effective_policy(settings.policy, infos, settings.state)
        if effective.trouble:
            observer.message(f"{effective.trouble}. {effective.remedy}")
        algorithms = algorithms_to_compute(opened.handles)
        places = report_paths(settings.reports, settings.state, started, identity)
        customers = Customers(settings.customers)
        observer.beginning()
        writing = stack.enter_context(open_reports(settings, places, observer, customers))
        emit = writing.emit
        setup = WorkerSetup(
            lists=opened.handles,
            sandbox=sandbox_options(settings.decoding),
            algorithms=algorithms,
            max_pixels=settings.decoding.max_pixels,
            excepted=exceptions.in_force,
            policy=effective.policy,
            variants=settings.matching.variants,
            review_threshold=settings.matching.review_threshold,
        )
        withdrawn = withdrawn_items(settings.state)
        for words in withdrawn.words:
            observer.message(words)
        known = stack.enter_context(
            KnownFiles(
                settings.state,
                setup,
                with_digests=settings.with_digests,
                told=observer.message,
                customers=customers,
            )
        )
        begun = scan_record(
            uuid=identity,
            version=__version__,
            host=socket.gethostname(),
            targets=targets,
            lists=infos,
            excepted=exceptions.in_force,
            algorithms=algorithms,
            thresholds=thresholds_of_lists(opened.handles),
            variants=settings.matching.variants,
            review_threshold=settings.matching.review_threshold,
            selection=selection_fields(settings, Patterns.compile((), None)),
            sandbox_mode=settings.decoding.sandbox,
            fail_on=settings.fail_on,
            strict=settings.strict,
            shard=None,
            files_from=None,
            inventory=None,
            started=started.isoformat(),
            policy=policy_fields(settings.policy),
            breaker=limits_fields(settings.breaker),
            baseline=accepting.fields(),
            known=True,
        )
        emit(begun)
        known.begin(begun)
        run = _KnownFilesRun(known, targets, observer, accepting, with_digests=settings.with_digests)
        observer.started(run)
        for record in run:
            emit(record)
        known.finish()
        summary = run.summary
        further = writing.settle(summary)
        if withdrawn.items:
            further = {**further, "withdrawn": withdrawn.items}
        known.hold(writing.held())
        shortcomings = summary.shortcomings(infos, strict=settings.strict)
        if effective.trouble:
            shortcomings.append(effective.trouble)
        if not summary.files and not run.stopped:
            shortcomings.append("nothing is known of any file" + (" of these targets" if targets else ""))
        if known.unmatched:
            shortcomings.append(f"{known.unmatched} files must be read again, which the next sweep does")
        if run.standing:
            shortcomings.append(
                f"{run.standing} earlier findings stand of which nothing else is known, or by lists or "
                "options that it did not use"
            )
        exit_code = exit_code_of(found=summary.found(settings.fail_on), incomplete=bool(shortcomings))
        if run.stopped:
            shortcomings.append("stopped before its end")
            exit_code = observer.stop_exit_code() or exit_code
        outcome = writing.conclude(summary, infos, exit_code, shortcomings, time.monotonic() - clock, further)
        known.conclude(summary.fields(), exit_code, shortcomings)
        writing.convert()
        return outcome
