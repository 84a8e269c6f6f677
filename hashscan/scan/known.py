"""`scan --known` from settings to exit code: what is known is matched against today's lists, unread."""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime

from hashscan import __version__
from hashscan.lists.exceptions import exceptions_at
from hashscan.lists.fingerprint import fingerprinted
from hashscan.lists.store import ListStore
from hashscan.reports.records import known_record, sweep_record
from hashscan.scan.lock import SweepLock
from hashscan.scan.matcher import thresholds_of_lists
from hashscan.scan.observer import Observer
from hashscan.scan.selection import selection_fields
from hashscan.scan.setup import WorkerSetup, algorithms_of_lists
from hashscan.scan.state.knowing import KnownFiles
from hashscan.scan.summary import Summary, exit_code_of
from hashscan.scan.sweep import require_usable, sandbox_options
from hashscan.scan.writing import Outcome, Writing, default_report
from hashscan.settings import SweepSettings
from hashscan.sources.patterns import Patterns


def run_known(settings: SweepSettings, observer: Observer) -> Outcome:
    """Match what earlier sweeps have read against today's lists.

    Raises:
        NoUsableListError: there is no list to match against.
        LockedError: a sweep uses the state folder or writes the report.
        OutputError: the state or a report can't be read or written.
    """
    assert settings.state is not None
    identity, started, clock = str(uuid.uuid4()), datetime.now(UTC), time.monotonic()
    # What is known of a target may be asked when it isn't there.
    targets = [target if b"://" in target else os.path.realpath(target) for target in settings.targets]
    with ExitStack() as stack:
        stack.enter_context(SweepLock(settings.state))
        opened = stack.enter_context(ListStore(settings.state / "lists").open(settings.lists, started))
        observer.opened(opened.infos)
        require_usable(opened)
        infos = fingerprinted(opened)
        exceptions = exceptions_at(settings.state, {info.name for info in infos}, started)
        observer.excepted(exceptions)
        algorithms = algorithms_of_lists(opened.handles)
        reports = settings.reports or (default_report(settings.state, started, identity),)
        writing = stack.enter_context(Writing(reports, observer))
        emit = writing.emit
        setup = WorkerSetup(
            lists=opened.handles,
            sandbox=sandbox_options(settings.decoding),
            algorithms=algorithms,
            max_pixels=settings.decoding.max_pixels,
            excepted=exceptions.in_force,
            variants=settings.matching.variants,
            review_threshold=settings.matching.review_threshold,
        )
        known = stack.enter_context(
            KnownFiles(settings.state, setup, with_digests=settings.with_digests, told=observer.told)
        )
        emit(
            sweep_record(
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
                known=True,
            )
        )
        summary, standing = Summary(), 0
        for path, item, result in known.answers(targets, summary):
            emit(known_record(path, result, item, with_digests=settings.with_digests))
        for record in known.standing(targets):
            standing += 1
            emit(record)
        known.finish()
        shortcomings = summary.shortcomings(infos, strict=settings.strict)
        if not summary.files:
            shortcomings.append("nothing is known of any file" + (" of these targets" if targets else ""))
        if known.unmatched:
            shortcomings.append(f"{known.unmatched} files must be read again, which the next sweep does")
        if standing:
            shortcomings.append(f"{standing} earlier findings stand of which nothing else is known")
        exit_code = exit_code_of(found=summary.found(settings.fail_on), incomplete=bool(shortcomings))
        return writing.conclude(summary, infos, exit_code, shortcomings, time.monotonic() - clock)
