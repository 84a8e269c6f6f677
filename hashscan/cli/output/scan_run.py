"""Run of a scan from the command line, and its summary on standard error."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from hashscan.cli.output.notifications import ScanAlerts
from hashscan.cli.output.terminal import (
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
from hashscan.state_dir import StateDir
from hashscan.text import human_bytes, plural

if TYPE_CHECKING:
    from hashscan.scan.reporting.observer import Observer
    from hashscan.scan.reporting.report_writer import ScanResult

_COLLECT_AFTER = 10_000
"""New objects after which a scan looks for unreachable cycles."""


def run_scan_command(settings: ScanSettings, alerts: ScanAlerts) -> int:
    """Run a scan, print its summary, update the ledger, and return the exit code."""
    if settings.neighbour.background:
        # Before any process starts: children inherit the priority.
        lower_priority()
    if settings.cluster is None and not settings.known:
        # The workers' imports begin while this process imports the rest and verifies the lists.
        warm_up(source_modules(settings.targets if settings.inventory is None else (b"s3://",)))
    from hashscan.cli.output.ledger_sync import sync_ledger
    from hashscan.cli.output.scan_observer import TerminalObserver

    run = _load_scan(known=settings.known)
    if settings.state is not None:
        # If this scan sets the state aside, this is the last time that its findings can be read.
        sync_ledger(settings.state)
    with TerminalObserver() as watcher:
        result = run(settings, watcher)
    alerts.ended(result)
    show_findings(watcher.findings, result.summary.findings)
    show_customers(watcher.customers)
    show_open_findings(watcher.standing)
    for message in _summary_messages(settings, result):
        print_message(message)
    if settings.state is None:
        return result.exit_code
    return _update_ledger(settings, settings.state, result, alerts)


def _summary_messages(settings: ScanSettings, result: ScanResult) -> Iterator[str]:
    summary, shard = result.summary, settings.shard
    accepted = summary.accepted.total()
    part = "" if shard is None else f"shard {shard.index}/{shard.count}: "
    unchanged = f" ({summary.recalled} of them unchanged)" if summary.recalled and not settings.known else ""
    meaning = EXIT_MEANINGS[result.exit_code]
    if result.exit_code in (EXIT_CLEAN, EXIT_INCOMPLETE) and accepted:
        meaning += ", except accepted findings"
    yield (
        f"{part}{plural(summary.files, 'file')}{unchanged}, {human_bytes(summary.bytes_read)} in "
        f"{result.seconds:.1f} s: {summary.verdict_counts}; exit {result.exit_code} ({meaning})"
    )
    yield from _ctime_warnings(summary.ctime)
    if settings.baseline is not None:
        yield f"{accepted} of {plural(summary.findings, 'finding')} accepted by {settings.baseline}"
    if settings.files_from is not None and not summary.files:
        yield f"--files-from named no file{' of this shard' if shard else ''}; nothing was checked"
    if settings.known:
        yield "no file was read; the verdicts are for the cached digests of earlier scans"
    if result.shortcomings:
        yield f"incomplete: {', '.join(result.shortcomings)}"
    if result.only_test:
        yield "only test entries matched; this says nothing about real material"
    elif tests := summary.test_findings:
        yield f"findings by test entries only: {tests} of {summary.findings}; they are not real material"
    for report in result.reports:
        yield f"report: {report}"


def _update_ledger(settings: ScanSettings, state: StateDir, result: ScanResult, alerts: ScanAlerts) -> int:
    """Add the findings to the ledger, and return the exit code."""
    from hashscan.cli.output.ledger_sync import (
        exit_code_without_ledger,
        import_report_into_ledger,
        sync_ledger,
    )

    followed = sync_ledger(state)
    if settings.cluster is not None:
        # The state does not keep what nodes have read, so the ledger is updated from the report.
        alerts.followed = import_report_into_ledger(state, result.record)
        followed = followed and alerts.followed
    return result.exit_code if followed else exit_code_without_ledger(result.exit_code)


def _load_scan(*, known: bool) -> Callable[[ScanSettings, Observer], ScanResult]:
    """Import and return the function that scans, or that evaluates known files."""
    if known:
        from hashscan.scan.rescan import run_rescan as run
    else:
        from hashscan.scan.runner import run_scan as run
    # The objects of the imported modules live as long as the process: no collection examines them again.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    return run


def _ctime_warnings(ctime: Mapping[CtimeTrust, int]) -> Iterator[str]:
    """Yield a line for each reason why an unchanged ctime does not prove that files are unchanged."""
    for trust, text in _CTIME_WARNINGS.items():
        if number := ctime[trust]:
            yield f"{plural(number, 'file')} {text}"


_CTIME_WARNINGS = {
    CtimeTrust.FILESYSTEM: "on filesystems whose ctimes prove nothing (tmpfs, overlay, FUSE, network, xfs): "
    "every scan reads them; see --trust-ctime",
    CtimeTrust.WRITER: "open for writing, or mapped so, when they were read: the next scan reads them again",
    CtimeTrust.UNPROVEN: "unproven: another user owns them, and without CAP_LEASE it is not known whether "
    "they were open for writing; --reread takes them first",
    CtimeTrust.ON_TRUST: "on filesystems that --trust-ctime names, where content can change without the "
    "ctime; --reread takes them first",
}
