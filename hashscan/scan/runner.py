"""Run one scan from settings to exit code: open what is needed, run the pipeline, write the reports."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from hashscan import __version__
from hashscan.attribution.customers import Customers
from hashscan.errors import NoUsableListError, OutputError
from hashscan.lists.exceptions import exceptions_at
from hashscan.lists.fingerprint import fingerprinted
from hashscan.lists.store import ListStore, OpenedLists
from hashscan.matching.circuit_breaker import limits_fields
from hashscan.matching.effective_policy import effective_policy, policy_fields
from hashscan.matching.matcher import thresholds_of_lists
from hashscan.matching.policy_table import unused_lists
from hashscan.matching.setup import WorkerSetup, algorithms_to_compute
from hashscan.model import ListInfo, TrustState
from hashscan.quarantine.withdrawn_items import WithdrawnItems, withdrawn_items
from hashscan.reports.records import sandbox_fields, scan_record
from hashscan.reports.summary import exit_code_of
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.baseline.filter import BaselineFilter
from hashscan.scan.evidence import mover_of, quarantine_fields, quarantined_files, quarantined_urls
from hashscan.scan.lock import ScanLock
from hashscan.scan.origins import inventory_of, named_listings, sources_of
from hashscan.scan.pipeline import ScanPipeline
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.reporting.report_paths import report_paths
from hashscan.scan.reporting.report_writer import ScanResult, open_reports
from hashscan.scan.selection import selection_fields
from hashscan.scan.throttle.load import LoadGate
from hashscan.scan.throttle.rate_limiter import RateLimiter
from hashscan.scan.workers.decoder_check import undecoded_samples
from hashscan.scan.workers.pool import Pool, ProcessPool
from hashscan.settings.pictures import DecodingLimits
from hashscan.settings.priority import PrioritySettings
from hashscan.settings.scan import ScanSettings
from hashscan.sources.base import Listing, Source
from hashscan.sources.names import NameList
from hashscan.sources.options import ListingOptions
from hashscan.sources.patterns import Patterns
from hashscan.sources.shards import ShardFilter
from hashscan.state.memory import ScanOutcome
from hashscan.state.store.opening import open_memory

_MOVING_SHARE = 0.1
"""Share of the time budget that is reserved for moving findings to quarantine."""
_MOVING_SECONDS = 60.0


def sandbox_options(limits: DecodingLimits) -> SandboxOptions:
    """Return the sandbox's options from the settings."""
    return SandboxOptions(mode=limits.sandbox, memory_bytes=limits.memory_bytes, seconds=limits.seconds)


def require_usable(opened: OpenedLists) -> None:
    """Raise an error if no list can be matched against.

    Raises:
        NoUsableListError: no list can be used.
        OutputError: no list can be read.
    """
    usable = {handle.name for handle in opened.handles}
    if any(info.can_find for info in opened.infos if info.name in usable):
        return
    if not opened.infos:
        raise NoUsableListError("there is no hash list")
    if usable:
        raise NoUsableListError(
            f"nothing can be found: {' and '.join(sorted(usable))} only say what is known to be good",
            advice="Add a list that accuses with `hashscan lists add`, or name one.",
        )
    unread = [info for info in opened.infos if info.state is TrustState.UNREADABLE]
    if unread:
        raise OutputError(
            f"no usable hash list: {'; '.join(f'{info.name} {info.problem}' for info in unread)}",
            advice="Give this user the right to read them, and try again.",
        )
    states = "; ".join(f"{info.name} is {info.state.value}" for info in opened.infos)
    raise NoUsableListError(f"no usable hash list: {states}")


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
    identity = str(uuid.uuid4())
    started = datetime.now(UTC)
    clock = time.monotonic()
    deadline, moving_until = _deadlines(settings, clock)
    accepting = BaselineFilter.from_file(settings.baseline, started, settings.fail_on)
    for words in accepting.messages_before():
        observer.message(words)
    with ExitStack() as stack:
        if settings.state is not None:
            # First, because it creates the state folder, which must exist to be left out of the scan.
            stack.enter_context(ScanLock(settings.state))
        mover = mover_of(settings, observer)
        options = ListingOptions(
            exclude=Patterns.compile(settings.exclude, settings.ignore_file),
            one_file_system=settings.one_file_system,
            all_versions=settings.all_versions,
            max_file_size=settings.max_file_size,
            protected=_identities(settings.state),
            kept=quarantined_files(settings, observer),
            evidence=quarantined_urls(settings, observer),
        )
        sources: Sequence[Source]
        if settings.inventory is None:
            inventory, sources = None, sources_of(settings.targets, options, settings.access)
        else:
            inventory = inventory_of(settings.inventory, settings.targets, options, settings.access)
            sources = [inventory]
        listings: Iterator[Listing]
        if settings.files_from is None:
            listings = chain.from_iterable(source.listings() for source in sources)
        else:
            names = stack.enter_context(NameList(settings.files_from))
            listings = named_listings(names.names(), sources, options, settings.access)
        shard = None if settings.shard is None else ShardFilter(settings.shard, options)
        if shard is not None:
            listings = shard.keep(listings)
        store = ListStore(settings.state / "lists" if settings.state is not None else None)
        opened = stack.enter_context(store.open(settings.lists, started))
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
            max_sparse=settings.max_sparse,
            access=settings.access,
            excepted=exceptions.in_force,
            policy=effective.policy,
            variants=settings.matching.variants,
            review_threshold=settings.matching.review_threshold,
            # Results from a cluster's nodes are not stored: a local scan could not tell them from its own.
            keep=settings.state is not None and settings.cluster is None,
            trust_ctime=settings.trust_ctime,
        )
        if settings.trust_ctime and setup.keep:
            observer.message(
                f"files on {' and '.join(settings.trust_ctime)} are taken for unchanged while their ctime "
                "is, as --trust-ctime says: whoever changes one there without its ctime is not noticed"
            )
        pace, gate = _limits(settings.neighbour, stack, deadline)
        withdrawn = withdrawn_items(settings.state) if settings.state is not None else WithdrawnItems(())
        for words in withdrawn.words:
            observer.message(words)
        memory = None
        if setup.keep:
            memory = stack.enter_context(open_memory(settings, setup, sources, observer.message))
            left = memory.unreached_folders()
            for source in sources:
                source.resume_with(left)
        with _pool(settings, setup, infos, pace) as pool:
            begun = scan_record(
                uuid=identity,
                version=__version__,
                host=socket.gethostname(),
                targets=[path for source in sources for path in source.paths],
                lists=infos,
                excepted=exceptions.in_force,
                algorithms=algorithms,
                thresholds=thresholds_of_lists(opened.handles),
                variants=settings.matching.variants,
                review_threshold=settings.matching.review_threshold,
                selection=selection_fields(settings, options.exclude),
                sandbox_mode=settings.decoding.sandbox,
                fail_on=settings.fail_on,
                strict=settings.strict,
                shard=settings.shard,
                files_from=None if settings.files_from is None else os.fsencode(settings.files_from),
                inventory=None
                if inventory is None or settings.inventory is None
                else (settings.inventory, inventory.manifest.created.isoformat()),
                started=started.isoformat(),
                policy=policy_fields(settings.policy),
                breaker=limits_fields(settings.breaker),
                baseline=accepting.fields(),
                cluster=pool.fields(),
            )
            emit(begun)
            if memory is not None:
                memory.store_start(begun)
            run = ScanPipeline(
                listings,
                pool,
                with_digests=settings.with_digests,
                moving=mover is not None,
                own=writing.identities,
                tick=_ticker(pool, gate, observer),
                memory=memory,
                accepting=accepting,
                customers=customers,
                deadline=deadline,
                max_sparse=settings.max_sparse,
            )
            observer.started(run)
            for record in run:
                emit(record)
            _ticker(pool, None, observer)()
            failure, cluster = pool.failure, pool.fields()
        summary = run.summary
        whole = not run.cut_short and not failure
        if whole and shard is None and settings.files_from is None:
            for words in accepting.messages_after():
                observer.message(words)
        ending = ScanOutcome([], [])
        if memory is not None:
            ending = memory.finish(
                run.files_by_target,
                listed=run.listed,
                whole=whole,
                closed=bool(summary.folder_reasons),
                accept_shrink=settings.accept_shrink,
                left=_left(sources, listed=run.listed) if settings.files_from is None else None,
            )
            for record in ending.standing:
                emit(record)
        moving = mover is not None and not run.stopped and not failure
        further = writing.settle(
            summary,
            mover.mover_function(begun, lambda: run.stopped, moving_until) if mover and moving else None,
            mover.kept() if mover and moving and not whole else (),
        )
        if memory is not None:
            memory.store_held(writing.held())
        if whole and settings.files_from is None:
            # If files are named, a target without new files is normal.
            targets = {target for source in sources for target in source.targets}
            met = run.targets_with_files if shard is None else shard.targets_with_files
            summary.empty_targets = len(targets - met)
        shortcomings = summary.shortcomings(infos, strict=settings.strict)
        if effective.trouble:
            shortcomings.append(effective.trouble)
        shortcomings += run.decoding.shortcomings(
            lambda: undecoded_samples(setup), memory.decoded if memory is not None else lambda _: 0
        )
        if failure:
            shortcomings.append(failure)
        for target, before, found in ending.shrunken:
            shortcomings.append(
                f"{target.decode(errors='replace')} has {found} files and had {before}: nothing is forgotten "
                "without --accept-shrink"
            )
        if memory is not None and memory.rereading.changed:
            shortcomings.append(f"{memory.rereading.changed} files have changed in silence")
        if ending.standing:
            shortcomings.append(
                f"{len(ending.standing)} earlier findings stand that it did not come by, or by lists or "
                "options that it did not use"
            )
        if run.cut_short and not run.stopped and not failure:
            shortcomings.append("the time budget is used up; the next sweep goes on")
        if mover is not None and not moving:
            shortcomings.append("it was cut short, so that nothing was moved")
        if mover is not None and mover.not_moved:
            shortcomings.append(f"{mover.not_moved} findings were not moved")
        slower = settings.cluster is None and summary.sandbox is not None and not _private_functions_work()
        if slower:
            observer.message(
                "JPEGs are decoded more slowly than need be, since hashscan doesn't know the installed "
                "Pillow; see `hashscan selftest`"
            )
        exit_code = exit_code_of(found=summary.found(settings.fail_on), incomplete=bool(shortcomings))
        if run.stopped:
            shortcomings.append("stopped before its end")
            exit_code = observer.stop_exit_code() or exit_code
        outcome = writing.conclude(
            summary,
            infos,
            exit_code,
            shortcomings,
            time.monotonic() - clock,
            {
                **further,
                **({} if shard is None or run.cut_short else shard.fields()),
                **({} if summary.sandbox is None else {"sandbox": sandbox_fields(summary.sandbox)}),
                **({"cluster": cluster} if cluster else {}),
                **({"public_decoders": ["JPEG"]} if slower else {}),
                **({"withdrawn": withdrawn.items} if withdrawn.items else {}),
                **quarantine_fields(settings.state, mover),
            },
        )
        if memory is not None:
            memory.store_end(summary.fields(), exit_code, shortcomings)
        writing.convert()
        return outcome


def _deadlines(settings: ScanSettings, begun: float) -> tuple[float | None, float | None]:
    """Return when to read no more, and when to move no more, by the monotonic clock; None for never.

    Where findings are moved, the last tenth of the time budget is kept for that, or `_MOVING_SECONDS` if that
    is more; these go beyond the budget where it is short. So whoever keeps a scan from reading all by then
    keeps nothing from being moved that it has found.
    """
    if settings.time_budget is None:
        return None, None
    if settings.quarantine is None:
        return begun + settings.time_budget, None
    reading = settings.time_budget * (1 - _MOVING_SHARE)
    return begun + reading, begun + max(settings.time_budget, reading + _MOVING_SECONDS)


def _private_functions_work() -> bool:
    """Return whether JPEGs are decoded by Pillow's private functions; loads Pillow's C module."""
    from hashscan.hashing import jpeg_pixels

    return jpeg_pixels.private_decoder_works()


def _left(sources: Sequence[Source], *, listed: bool) -> Mapping[bytes, Sequence[bytes]]:
    """Return the folders of each target that the next scan begins with."""
    found: dict[bytes, Sequence[bytes]] = {}
    for source in () if listed else sources:
        found.update(source.unlisted_folders())
    return found


def _limits(
    neighbour: PrioritySettings, stack: ExitStack, deadline: float | None
) -> tuple[RateLimiter | None, LoadGate | None]:
    """Return the rate limiter of the workers, and the load check; None if not asked for."""
    if not neighbour.rate_limited:
        return None, None
    pace = stack.enter_context(RateLimiter(neighbour.limit_rate, neighbour.limit_files))
    return pace, None if neighbour.max_load is None else LoadGate(neighbour.max_load, pace, until=deadline)


def _pool(
    settings: ScanSettings, setup: WorkerSetup, infos: Sequence[ListInfo], pace: RateLimiter | None
) -> Pool:
    """Return the pool of workers, on this machine or on a cluster."""
    if settings.cluster is None:
        return ProcessPool(setup, settings.workers, pace=pace)
    from hashscan.scan.cluster.pool import ClusterPool

    return ClusterPool(setup, infos, settings.cluster)


def _ticker(pool: Pool, gate: LoadGate | None, observer: Observer) -> Callable[[], None]:
    def tick() -> None:
        if gate is not None and (word := gate.check()):
            observer.message(word)
        for message in pool.messages():
            observer.message(message)
        observer.tick()

    return tick


def _identities(state: Path | None) -> frozenset[tuple[int, int]]:
    """Return device and inode of the folders that no scan enters."""
    if state is None:
        return frozenset()
    found = os.stat(state)
    return frozenset({(found.st_dev, found.st_ino)})
