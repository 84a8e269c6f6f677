"""Run one scan from settings to exit code: open what is needed, run the pipeline, write the reports."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain

from msgspec import structs

from hashscan import c_parts
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ListInfo
from hashscan.reports.records import Record, sandbox_fields
from hashscan.scan.decoder_check import undecoded_samples
from hashscan.scan.pipeline import ScanPipeline
from hashscan.scan.quarantine_setup import (
    limit_preview,
    mover_of,
    quarantine_fields,
    quarantined_files,
    quarantined_urls,
)
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.reporting.report_writer import ScanResult
from hashscan.scan.session import ScanSession, start_scan
from hashscan.scan.target_sources import inventory_of, named_listings, sources_of
from hashscan.scan.workers.large_memory import decoder_memory
from hashscan.scan.workers.pool import Pool, ProcessPool
from hashscan.scan.workers.throttle import LoadGate, RateLimiter
from hashscan.settings.resources import PrioritySettings
from hashscan.settings.scan import ScanSettings
from hashscan.shortcomings import Shortcoming, ShortcomingCode
from hashscan.sources.base import Listing, ListingOptions, Source
from hashscan.sources.name_list import NameList
from hashscan.sources.patterns import Patterns
from hashscan.sources.shards import ShardFilter
from hashscan.state.scan_state import ScanOutcome, ScanState, open_scan_state
from hashscan.state_dir import StateDir
from hashscan.text import plural

_log = logging.getLogger(__name__)

_MOVING_SHARE = 0.1
"""Share of the time budget that is reserved for moving findings to quarantine."""
_MOVING_SECONDS = 60.0


def run_scan(settings: ScanSettings, observer: Observer) -> ScanResult:
    """Run one scan.

    Raises:
        TargetError: a target can't be scanned at all.
        NoUsableListError: there is no list to match against, or no worker of the cluster has it.
        UnreachableError: no server answers for a target, the cluster's scheduler can't be reached, or it has
            no workers.
        LockedError: another scan uses the state folder or writes the report.
        OutputError: the state or a report can't be written.
    """
    with ExitStack() as stack:
        scan = _Scan(settings, observer, stack)
        run = scan.read_files()
        return scan.conclude(run)


class _Targets:
    """The sources of a scan's targets, and what they list."""

    def __init__(self, settings: ScanSettings, observer: Observer, stack: ExitStack) -> None:
        """Open the sources; the state folder must exist, so that it can be left out of the scan."""
        options = ListingOptions(
            exclude=Patterns.compile(settings.exclude, settings.ignore_file),
            one_file_system=settings.one_file_system,
            all_versions=settings.all_versions,
            max_file_size=settings.max_file_size,
            protected=_identities(settings.state),
            kept=quarantined_files(settings, observer),
            evidence=quarantined_urls(settings, observer),
        )
        self.patterns = options.exclude
        self.inventory: tuple[bytes, str] | None = None
        """The manifest of the inventory, and when it was made."""
        self.sources: Sequence[Source]
        if settings.inventory is None:
            self.sources = sources_of(settings.targets, options, settings.access)
        else:
            inventory = inventory_of(settings.inventory, settings.targets, options, settings.access)
            self.inventory = settings.inventory, inventory.manifest.created.isoformat()
            self.sources = [inventory]
        self._named = settings.files_from is not None
        self.listings: Iterator[Listing]
        if settings.files_from is None:
            self.listings = chain.from_iterable(source.listings() for source in self.sources)
        else:
            names = stack.enter_context(NameList(settings.files_from))
            self.listings = named_listings(names.names(), self.sources, options, settings.access)
        self.shard = None if settings.shard is None else ShardFilter(settings.shard, options)
        if self.shard is not None:
            self.listings = self.shard.keep(self.listings)

    @property
    def paths(self) -> list[bytes]:
        return [path for source in self.sources for path in source.paths]

    @property
    def complete(self) -> bool:
        """True if all files beneath the targets are listed, not those of a shard or a list of names."""
        return self.shard is None and not self._named

    def unreached_folders(self, *, listed: bool) -> Mapping[bytes, Sequence[bytes]] | None:
        """Return the folders of each target that the next scan begins with; None if files are named."""
        if self._named:
            return None
        found: dict[bytes, Sequence[bytes]] = {}
        for source in () if listed else self.sources:
            found.update(source.unlisted_folders())
        return found

    def count_empty(self, run: ScanPipeline) -> int:
        """Return the number of targets without files; 0 if files are named, as that is normal then."""
        if self._named:
            return 0
        targets = {target for source in self.sources for target in source.targets}
        found = run.targets_with_files if self.shard is None else self.shard.targets_with_files
        return len(targets - found)


class _Scan:
    """A scan: everything is opened, then the files are read, then it is concluded."""

    def __init__(self, settings: ScanSettings, observer: Observer, stack: ExitStack) -> None:
        """Open everything but the workers, in this order: state lock, targets, lists, reports, state."""
        self._settings, self._observer = settings, observer
        # First, because it creates the state folder, which must exist to be left out of the scan.
        start = start_scan(settings, observer, stack)
        self._deadline, self._moving_deadline = _deadlines(settings, start.begun)
        self._mover = mover_of(settings, observer)
        self._preview = limit_preview(settings, observer)
        self._targets = _Targets(settings, observer, stack)
        self._session = ScanSession(start, settings, observer, stack)
        # Results from a cluster's nodes are not stored: a local scan could not tell them from its own.
        keep = settings.state is not None and settings.cluster is None
        self._setup = replace(
            self._session.setup,
            max_sparse=settings.max_sparse,
            access=settings.access,
            keep=keep,
            trust_ctime=settings.trust_ctime,
        )
        if settings.trust_ctime and keep:
            observer.message(
                f"files on {' and '.join(settings.trust_ctime)} are taken for unchanged while their ctime "
                "is, as --trust-ctime says: a change that leaves the ctime as it is goes unnoticed there"
            )
        self._rate_limiter, self._gate = _limits(settings.neighbour, stack, self._deadline)
        self._withdrawn = self._session.withdrawn_items().items
        self._state: ScanState | None = None
        if keep:
            sources = self._targets.sources
            self._state = stack.enter_context(
                open_scan_state(
                    settings,
                    self._setup,
                    sources,
                    observer.message,
                    self._session.services,
                    observer.request if settings.show_requests else None,
                )
            )
            _log.info("the state of earlier scans is open")
            unreached = self._state.unreached_folders()
            for source in sources:
                source.resume_with(unreached)
        self._begun: Record = {}
        self._failure = ""
        """The reason why the pool of workers failed; empty if it did not."""
        self._cluster: Record = {}

    def read_files(self) -> ScanPipeline:
        settings, session, state = self._settings, self._session, self._state
        with _pool(settings, self._setup, session.infos, self._rate_limiter) as pool:
            _log.info("%s: %s", plural(pool.workers, "worker"), ", ".join(map(str, pool.processes())))
            targets = self._targets
            self._begun = session.begin(
                targets.paths, targets.patterns, inventory=targets.inventory, cluster=pool.fields()
            )
            if state is not None:
                state.store_start(self._begun)
            run = ScanPipeline(
                targets.listings,
                pool,
                with_digests=settings.with_digests,
                moving=self._mover is not None,
                own=session.reports.identities,
                tick=_ticker(pool, self._gate, self._observer),
                state=state,
                accepting=session.baseline,
                customers=session.customers,
                deadline=self._deadline,
                max_sparse=settings.max_sparse,
            )
            self._observer.started(run)
            for record in run:
                session.reports.emit(record)
            _ticker(pool, None, self._observer)()
            self._failure, self._cluster = pool.failure, pool.fields()
        return run

    def conclude(self, run: ScanPipeline) -> ScanResult:
        """Report the open findings, move what was found, and write the summary and the reports."""
        whole = not run.cut_short and not self._failure
        if whole and self._targets.complete:
            for message in self._session.baseline.messages_after():
                self._observer.message(message)
        outcome = self._finish_state(run, whole=whole)
        moving = self._mover is not None and not run.stopped and not self._failure
        fields = self._write_final(run, moving=moving, whole=whole)
        if self._state is not None:
            self._state.store_held(self._session.reports.held())
        if whole:
            run.summary.empty_targets = self._targets.count_empty(run)
        shortcomings = list(self._shortcomings(run, outcome, moving=moving))
        public_decoders = self._public_decoders(run)
        if public_decoders:
            self._observer.message(
                "JPEGs are decoded more slowly than need be, since hashscan doesn't know the installed "
                "Pillow; see `hashscan selftest`"
            )
        shard, sandbox = self._targets.shard, run.summary.sandbox
        result = self._session.conclude(
            run,
            shortcomings,
            {
                **fields,
                **({} if shard is None or run.cut_short else shard.fields()),
                **({} if sandbox is None else {"sandbox": sandbox_fields(sandbox)}),
                **({"cluster": self._cluster} if self._cluster else {}),
                **({"public_decoders": public_decoders} if public_decoders else {}),
                **({} if c_parts.BUILT else {"without_c": True}),
                **({"withdrawn": self._withdrawn} if self._withdrawn else {}),
                **quarantine_fields(self._settings.state, self._mover),
            },
            None if self._state is None else self._state.store_end,
        )
        limiting = self._mover or self._preview
        return result if limiting is None else replace(result, limited=tuple(limiting.limited))

    def _finish_state(self, run: ScanPipeline, *, whole: bool) -> ScanOutcome:
        """End the scan in the state, and write the records of open findings that it did not meet."""
        if self._state is None:
            return ScanOutcome([], [])
        outcome = self._state.finish(
            run.files_by_target,
            listed=run.listed,
            whole=whole,
            closed=bool(run.summary.folder_reasons),
            accept_shrink=self._settings.accept_shrink,
            left=self._targets.unreached_folders(listed=run.listed),
        )
        for record in outcome.standing:
            self._session.reports.emit(record)
        return outcome

    def _write_final(self, run: ScanPipeline, *, moving: bool, whole: bool) -> Record:
        """Write the final records of what accuses files; return additional fields of the summary. Unless all
        files were checked (`whole`), the findings that earlier scans have moved count for the circuit
        breaker, too."""
        reports, mover = self._session.reports, self._mover
        if self._preview is not None:
            return reports.write_final(run.summary, self._preview.preview_function(self._begun))
        if mover is None or not moving:
            return reports.write_final(run.summary)
        act = mover.mover_function(self._begun, lambda: run.stopped, self._moving_deadline)
        return reports.write_final(run.summary, act, () if whole else mover.kept())

    def _shortcomings(
        self, run: ScanPipeline, outcome: ScanOutcome, *, moving: bool
    ) -> Iterator[Shortcoming]:
        """Yield the reasons why the scan is incomplete, besides those that every session has."""
        state, mover = self._state, self._mover
        decoded_before: Callable[[str], int] = state.decoded if state is not None else lambda _: 0
        yield from run.decoding.shortcomings(lambda: undecoded_samples(self._setup), decoded_before)
        if self._failure:
            yield Shortcoming(ShortcomingCode.FAILED, self._failure)
        for target, before, found in outcome.shrunken:
            name = target.decode(errors="replace")
            what = f"has {found} files and had {before}: no file counts as gone without --accept-shrink"
            yield Shortcoming(ShortcomingCode.SHRUNKEN, f"{name} {what}", name, f"a target {what}")
        if state is not None and state.answers is not None:
            yield from state.answers.shortcomings()
        if state is not None and state.rereading.changed:
            changed = f"{state.rereading.changed} files have changed undetected"
            yield Shortcoming(ShortcomingCode.CHANGED, changed)
        if outcome.standing:
            yield Shortcoming(
                ShortcomingCode.STANDING,
                f"{plural(len(outcome.standing), 'earlier finding')} still open: files that it did not "
                "reach, or lists or options that it did not use",
            )
        if run.cut_short and not run.stopped and not self._failure:
            yield Shortcoming(ShortcomingCode.TIME, "the time budget is used up; the next scan continues")
        if mover is not None and not moving:
            yield Shortcoming(ShortcomingCode.NOT_MOVED, "it was cut short, so that nothing was moved")
        if mover is not None and mover.not_moved:
            yield Shortcoming(ShortcomingCode.NOT_MOVED, f"{mover.not_moved} findings were not moved")

    def _public_decoders(self, run: ScanPipeline) -> list[str]:
        """Return the formats that this machine decodes without Pillow's faster private functions."""
        if self._settings.cluster is not None or run.summary.sandbox is None:
            return []
        # It loads Pillow's C module.
        from hashscan.hashing.pillow_internals import private_decoder_works

        return [] if private_decoder_works() else ["JPEG"]


def _deadlines(settings: ScanSettings, begun: float) -> tuple[float | None, float | None]:
    """Return when to read no more, and when to move no more, by the monotonic clock; None for never.

    Where findings are moved, the last tenth of the time budget is kept for that, or `_MOVING_SECONDS` if that
    is more; these go beyond the budget where it is short. So a customer who keeps a scan from reading
    all by then does not keep what was found from being moved.
    """
    if settings.time_budget is None:
        return None, None
    if settings.quarantine is None:
        return begun + settings.time_budget, None
    reading = settings.time_budget * (1 - _MOVING_SHARE)
    return begun + reading, begun + max(settings.time_budget, reading + _MOVING_SECONDS)


def _limits(
    neighbour: PrioritySettings, stack: ExitStack, deadline: float | None
) -> tuple[RateLimiter | None, LoadGate | None]:
    """Return the rate limiter of the workers, and the load check; None if not asked for."""
    if not neighbour.rate_limited:
        return None, None
    rate_limiter = stack.enter_context(RateLimiter(neighbour.limit_rate, neighbour.limit_files))
    return rate_limiter, None if neighbour.max_load is None else LoadGate(
        neighbour.max_load, rate_limiter, until=deadline
    )


def _pool(
    settings: ScanSettings, setup: WorkerSetup, infos: Sequence[ListInfo], rate_limiter: RateLimiter | None
) -> Pool:
    if settings.cluster is None:
        memory = decoder_memory(setup.sandbox.memory_bytes, settings.workers)
        sandbox = structs.replace(setup.sandbox, memory_bytes=memory)
        return ProcessPool(replace(setup, sandbox=sandbox), settings.workers, rate_limiter=rate_limiter)
    from hashscan.scan.cluster.pool import ClusterPool

    return ClusterPool(setup, infos, settings.cluster)


def _ticker(pool: Pool, gate: LoadGate | None, observer: Observer) -> Callable[[], None]:
    def tick() -> None:
        if gate is not None and (message := gate.check()):
            observer.message(message)
        for message in pool.messages():
            observer.message(message)
        observer.tick()

    return tick


def _identities(state: StateDir | None) -> frozenset[tuple[int, int]]:
    """Return device and inode of the folders that no scan enters."""
    if state is None:
        return frozenset()
    found = os.stat(state)
    return frozenset({(found.st_dev, found.st_ino)})
