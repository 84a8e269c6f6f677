"""Run `scan --known`: match the digests in the state against today's lists without reading files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from hashscan.reports.records import Record, rescan_record
from hashscan.reports.summary import Summary
from hashscan.scan.baseline import BaselineFilter
from hashscan.scan.pipeline import POLL_SECONDS
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.reporting.report_writer import ScanResult
from hashscan.scan.session import ScanSession, start_scan
from hashscan.settings.scan import ScanSettings
from hashscan.shortcomings import Shortcoming, ShortcomingCode
from hashscan.sources.filesystem.targets import real_path, resolve_admin_links
from hashscan.sources.patterns import Patterns
from hashscan.state.queries.rescan import KnownFiles
from hashscan.text import plural


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
        self.expected: int | None = None
        self.folder = b""
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
        self.stopped = True

    def processes(self) -> list[int]:
        return []

    def shortcomings(self) -> Iterator[Shortcoming]:
        if not self.summary.files and not self.stopped:
            of_targets = " of these targets" if self._targets else ""
            yield Shortcoming(ShortcomingCode.UNKNOWN, f"nothing is known of any file{of_targets}")
        if self._known.unmatched:
            unmatched = f"{self._known.unmatched} files must be read again, which the next scan does"
            yield Shortcoming(ShortcomingCode.READ_AGAIN, unmatched)
        if self._known.services is not None:
            yield from self._known.services.shortcomings()
        if self.standing:
            yield Shortcoming(
                ShortcomingCode.STANDING,
                f"{plural(self.standing, 'earlier finding')} still open: no digests are cached, or lists or "
                "options were not used",
            )

    def __iter__(self) -> Iterator[Record]:
        """Yield records until the end or until stopped; files not processed by then have no verdict."""
        while not self.stopped and self._known.ask_services(POLL_SECONDS):
            self._observer.tick()
        for answer in self._known.results(self._targets, self.summary):
            self._observer.tick()
            if answer is not None:
                record = rescan_record(
                    *(answer.path, answer.result, answer.item),
                    with_digests=self._with_digests,
                    endpoint=answer.endpoint,
                )
                record = self._accepting.apply(record, answer.result, self.summary)
                self.summary.breaker_held += bool(answer.result.held_by) and "accepted" not in record
                yield record
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
    # Known files of a target can be matched even if the target does not exist now.
    targets = [target if b"://" in target else _as_scanned(target) for target in settings.targets]
    with ExitStack() as stack:
        start = start_scan(settings, observer, stack)
        session = ScanSession(start, settings, observer, stack)
        reports, withdrawn = session.reports, session.withdrawn_items()
        known = stack.enter_context(
            KnownFiles(
                settings.state,
                session.setup,
                with_digests=settings.with_digests,
                notify=observer.message,
                customers=session.customers,
                services=session.services,
                show=observer.request if settings.show_requests else None,
            )
        )
        known.begin(session.begin(targets, Patterns.compile((), None)))
        run = _KnownFilesRun(known, targets, observer, session.baseline, with_digests=settings.with_digests)
        observer.started(run)
        for record in run:
            reports.emit(record)
        known.finish()
        fields = reports.write_final(run.summary)
        if withdrawn.items:
            fields = {**fields, "withdrawn": withdrawn.items}
        known.hold(reports.held())
        return session.conclude(run, run.shortcomings(), fields, known.conclude)


def _as_scanned(target: bytes) -> bytes:
    try:
        return real_path(target)
    except OSError:
        return resolve_admin_links(os.path.abspath(target))
