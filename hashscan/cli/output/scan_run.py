"""Run of a scan from the command line, and its summary on standard error."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from hashscan.cli.output.notifications import ScanAlerts
from hashscan.cli.output.terminal import (
    escape_control,
    human_bytes,
    print_message,
    show_customers,
    show_findings,
    show_open_findings,
)
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, EXIT_MEANINGS
from hashscan.model import CtimeTrust
from hashscan.scan.target_sources import source_modules
from hashscan.scan.workers.process_setup import lower_priority, warm_up
from hashscan.settings.scan import ScanSettings
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.scan.reporting.observer import Observer
    from hashscan.scan.reporting.report_writer import ScanResult

_COLLECT_AFTER = 10_000
"""New objects after which a scan looks for unreachable cycles."""


def run_scan_command(settings: ScanSettings, telling: ScanAlerts) -> int:
    """Run the scan that the settings describe, print its summary, and update the ledger.

    Returns:
        The exit code.
    """
    if settings.neighbour.background:
        # Before any process starts: children inherit the priority.
        lower_priority()
    if settings.cluster is None and not settings.known:
        # The workers' imports begin while this process imports the rest and verifies the lists.
        warm_up(source_modules(settings.targets if settings.inventory is None else (b"s3://",)))
    from hashscan.cli.output.ledger_sync import (
        exit_code_without_ledger,
        import_report_into_ledger,
        sync_ledger,
    )
    from hashscan.cli.output.scan_observer import TerminalObserver

    run = _load_scan(known=settings.known)
    if settings.state is not None:
        # If this scan sets the state aside, this is the last time that its findings can be read.
        sync_ledger(settings.state)
    with TerminalObserver() as watcher:
        outcome = run(settings, watcher)
    telling.ended(outcome)
    show_findings(watcher.findings, outcome.summary.findings)
    show_customers(watcher.customers)
    show_open_findings(watcher.standing)
    verdicts = sorted(outcome.summary.verdicts.items())
    counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts if number) or "nothing"
    part = "" if settings.shard is None else f"shard {settings.shard.index}/{settings.shard.count}: "
    unread = outcome.summary.recalled
    unchanged = f" ({unread} of them unchanged)" if unread and not settings.known else ""
    meaning = EXIT_MEANINGS[outcome.exit_code]
    if outcome.exit_code in (EXIT_CLEAN, EXIT_INCOMPLETE) and outcome.summary.accepted.total():
        meaning += ", except accepted findings"
    print_message(
        f"hashscan: {part}{plural(outcome.summary.files, 'file')}{unchanged}, "
        f"{human_bytes(outcome.summary.bytes_read)} in {outcome.seconds:.1f} s: {counts}; "
        f"exit {outcome.exit_code} ({meaning})"
    )
    for line in _ctime_warnings(outcome.summary.ctime):
        print_message(f"hashscan: {line}")
    if settings.baseline is not None:
        number = outcome.summary.accepted.total()
        print_message(
            f"hashscan: {number} of {outcome.summary.findings} findings are accepted by {settings.baseline}"
        )
    if settings.files_from is not None and not outcome.summary.files:
        where = "" if settings.shard is None else " of this shard"
        print_message(f"hashscan: --files-from named no file{where}; nothing was checked")
    if settings.known:
        print_message("hashscan: no file was read; the verdicts are for the cached digests of earlier scans")
    if outcome.shortcomings:
        print_message(f"hashscan: incomplete: {escape_control(', '.join(outcome.shortcomings))}")
    if outcome.only_test:
        print_message("hashscan: only test entries matched; this says nothing about real material")
    elif tests := outcome.summary.test_findings:
        print_message(
            f"hashscan: findings by test entries only: {tests} of {outcome.summary.findings}; "
            "they are not real material"
        )
    for report in outcome.reports:
        print_message(f"hashscan: report: {report}")
    if settings.state is None:
        return outcome.exit_code
    followed = sync_ledger(settings.state)
    if settings.cluster is not None:
        # The state does not keep what nodes have read, so the ledger is updated from the report.
        reported = import_report_into_ledger(settings.state, outcome.record)
        telling.followed = reported
        followed = followed and reported
    if followed:
        return outcome.exit_code
    return exit_code_without_ledger(outcome.exit_code)


def _load_scan(*, known: bool) -> Callable[[ScanSettings, Observer], ScanResult]:
    """Import and return the function that scans, or that evaluates known files."""
    if known:
        from hashscan.scan.rescan import run_rescan as run
    else:
        from hashscan.scan.runner import run_scan as run
    # The objects of the imported modules live as long as the process: no collection looks at them again.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    return run


def _ctime_warnings(ctime: Mapping[CtimeTrust, int]) -> Iterator[str]:
    """Yield a line for each reason why an unchanged ctime does not prove that files are unchanged."""
    if number := ctime[CtimeTrust.FILESYSTEM]:
        yield (
            f"{number} files are on filesystems whose ctimes prove nothing (tmpfs, overlay, FUSE, network, "
            "xfs), and are read by every scan; see --trust-ctime"
        )
    if number := ctime[CtimeTrust.WRITER]:
        yield (
            f"{number} files were open for writing, or mapped so, when they were read: the next scan reads "
            "them again"
        )
    if number := ctime[CtimeTrust.UNPROVEN]:
        yield (
            f"{number} files are unproven: another user owns them, and without CAP_LEASE it is not known "
            "whether they were open for writing; --reread takes them first"
        )
    if number := ctime[CtimeTrust.ON_TRUST]:
        yield (
            f"{number} files are on filesystems that --trust-ctime names, where content can change without "
            "the ctime; --reread takes them first"
        )
