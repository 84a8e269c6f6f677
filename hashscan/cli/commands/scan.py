"""`hashscan scan`: make the settings of a scan from the command line, run it, and print its summary."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hashscan.cli.options.base import (
    ANY_PATH,
    HashscanCommand,
    ParsedParam,
    SettingArgument,
    container_options,
    endpoint_option,
    fail_on_option,
    list_option,
    matching_options,
    setting_options,
    state_option,
    value_option,
    workers_option,
)
from hashscan.cli.options.cases_and_alerts import alert_options, deadline_options
from hashscan.cli.options.hub_client import (
    hub_client_options,
    push_after_scan,
    require_hub,
    send_names_option,
)
from hashscan.cli.options.output import infer_format
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.quarantine import quarantine_options
from hashscan.cli.options.tables import (
    customer_options,
    decoding_options,
    policy_options,
    reporter_option,
    site_option,
)
from hashscan.cli.options.workers import cluster_options, neighbour_options
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.cli.output.notifications import ScanAlerts
from hashscan.cli.output.terminal import show_customers
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, EXIT_MEANINGS, UsageError
from hashscan.lists.storage.layout import DEMO
from hashscan.model import DIRECT, Access, CtimeTrust, Shard, Verdict
from hashscan.registry import REPORT_FORMATS
from hashscan.scan.target_sources import source_modules
from hashscan.scan.workers.process_setup import lower_priority, warm_up
from hashscan.settings.cases_and_alerts import AlertSettings, CaseSettings
from hashscan.settings.matching import QuarantineSettings
from hashscan.settings.scan import DEFAULT_REREAD, ReportTarget, ScanSettings
from hashscan.settings.values import parse_shard, parse_share
from hashscan.sources.filesystem.ctime import TYPES_TRUSTED_BY_OPTION
from hashscan.state_dir import StateDir
from hashscan.text import did_you_mean, human_bytes, plural

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from hashscan.scan.reporting.observer import Observer
    from hashscan.scan.reporting.report_writer import ScanResult
    from hashscan.settings.hub_client import HubClientSettings

EXIT_CODES = (0, 1, 2, 3, 4, 10, 11, 12, 13, 70, 130, 143)

_INSTEAD = ("files_from", "inventory", "known")
"""Options with which a command line need not name targets, and does not mean those of the settings."""
_COLLECT_AFTER = 10_000
"""New objects after which a scan looks for unreachable cycles."""


class ReportParam(click.ParamType[ReportTarget]):
    """A parameter `[FORMAT=]FILE`, where FILE `-` is standard output."""

    name = "report"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ReportTarget:
        """Return the format, by the suffix if none is named (else JSON Lines), and the file."""
        if isinstance(value, ReportTarget):
            return value
        format_name, separator, path = str(value).partition("=")
        if not separator:
            path = str(value)
            format_name = infer_format(Path(path), REPORT_FORMATS) or "jsonl"
        if format_name not in REPORT_FORMATS:
            formats = f"formats: {', '.join(REPORT_FORMATS)}."
            meant = did_you_mean(format_name, REPORT_FORMATS, formats)
            self.fail(f"there is no format {format_name!r}. {meant}", param, ctx)
        if not path:
            self.fail("no file is named.", param, ctx)
        return ReportTarget(format_name, None if path == "-" else Path(path))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Complete the format if one is begun, else a file name."""
        from click.shell_completion import CompletionItem

        forms = [f"{name}=" for name in REPORT_FORMATS if f"{name}=".startswith(incomplete)]
        return [CompletionItem(form) for form in forms] or [CompletionItem(incomplete, type="file")]


@click.command(cls=HashscanCommand, exit_codes=EXIT_CODES, needs=RootRights.READING, hashes=True)
@click.argument(
    "targets",
    cls=SettingArgument,
    metavar="[TARGET]...",
    help="Folders, files and buckets to scan. Default: those of the settings file.",
)
@click.option(
    "--files-from",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Scan only the files that FILE names (- is standard input), separated by NUL or newlines.",
)
@click.option(
    "--inventory",
    type=ANY_PATH,
    metavar="MANIFEST",
    help="Read the objects of a bucket from an S3 inventory (path or URL of its manifest.json) "
    "instead of listing the bucket; TARGET may name prefixes.",
)
@setting_options(ScanSettings, "known")
@click.option(
    "--shard",
    type=ParsedParam("shard", parse_shard, Shard),
    metavar="INDEX/COUNT",
    help="Scan one part of the targets, such as 3/16; `hashscan report merge` merges the reports of all "
    "parts.",
)
@list_option
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=ReportParam(),
    metavar="[FORMAT=]FILE",
    help=f"Report to write; repeatable; - is standard output. FORMAT, or else the suffix of FILE: "
    f"{', '.join(REPORT_FORMATS)}. Without --report, it is written to the state folder.",
)
@workers_option
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Skip files and folders that match this pattern (syntax of .gitignore); repeatable.",
)
@setting_options(ScanSettings, "ignore_file", "one_file_system", "max_file_size", "max_sparse")
@endpoint_option
@click.option("--anonymous", is_flag=True, help="Read public buckets without credentials.")
@setting_options(ScanSettings, "all_versions")
@value_option("--concurrency", DIRECT.concurrency, "Number of simultaneous downloads of each worker.", int)
@neighbour_options
@setting_options(ScanSettings, "time_budget", "accept_shrink", "accept_cleared")
@click.option(
    "--reread",
    type=ParsedParam("share", parse_share, float),
    show_default=f"{DEFAULT_REREAD:.1%}",
    metavar="PERCENT",
    help="Read this share of the unchanged files and objects nevertheless, such as 1%, chosen at "
    "random, and first those whose change check is weak. A file whose content changed "
    "undetected is reported and makes the scan incomplete. 0% reads none.",
)
@click.option(
    "--trust-ctime",
    multiple=True,
    type=click.Choice(sorted(TYPES_TRUSTED_BY_OPTION)),
    metavar="TYPE",
    help=f"Treat files on filesystems of this type ({', '.join(sorted(TYPES_TRUSTED_BY_OPTION))}) as "
    "unchanged while their ctime is unchanged; repeatable. Without it, every scan reads all of them. DANGER: "
    "there, content can change without its ctime: on xfs by any owner of files who may run programs, on "
    "network filesystems by other machines. No scan detects such a change, unless --reread happens to choose "
    "the file.",
)
@setting_options(ScanSettings, "weak_change_check")
@fail_on_option
@setting_options(ScanSettings, "baseline", "strict", "show_requests", "with_digests")
@matching_options
@policy_options
@customer_options
@site_option
@reporter_option
@decoding_options
@container_options
@cluster_options(
    click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Scan with a Dask cluster; address of its scheduler: tls://HOST:PORT.",
    )
)
@click.option(
    "--quarantine",
    is_flag=True,
    help="At the end, move files that match fresh, signed lists into quarantine; with --policy, only "
    "those that a rule permits.",
)
@click.option(
    "--quarantine-state",
    "quarantine_states",
    type=click.Path(path_type=StateDir, file_okay=False, readable=False),
    multiple=True,
    metavar="FOLDER",
    help="State folder of another quarantine: its files are not scanned, and what was restored from it is "
    "held. Repeatable.",
)
@quarantine_options
@setting_options(ScanSettings, "push")
@hub_client_options
@send_names_option
@alert_options
@deadline_options
@state_option
@click.option(
    "--no-state",
    is_flag=True,
    help="Use the list `demo` if no other is named, and store nothing, no report either.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    alerts: AlertSettings,
    deadlines: CaseSettings,
    push: bool,
    hub: HubClientSettings | None,
    send_names: bool,
    **options: Any,
) -> int:
    """Scan folders, files and buckets (s3://NAME/PREFIX) against hash lists and write a quarantine report.

    Every file gets exactly one verdict: match, held, review, unreadable, undecoded, skipped or clean.
    Without TARGET, the key `targets` in the table [scan] of the settings file names what to scan, unless the
    command line has --files-from, --inventory or --known.
    """
    if any(_is_typed(ctx, name) for name in _INSTEAD) and not _is_typed(ctx, "targets"):
        options["targets"] = ()
    settings = _settings_of(push=push, **options)
    pushed_to = require_hub(hub) if push else None
    with ScanAlerts(
        settings.state, alerts, deadlines, known=settings.known, followed=settings.cluster is None
    ) as scan_alerts:
        _check_legal_bases(settings, alerts)
        code, record = _run_scan(settings, scan_alerts)
        if pushed_to is not None:
            code = push_after_scan(pushed_to, record, settings.state, code, names=send_names)
        return scan_alerts.exits(code)


def _check_legal_bases(settings: ScanSettings, alerts: AlertSettings) -> None:
    """Warn of lists whose legal basis has ended.

    Raises:
        UsageError: nothing is to be scanned with one of them.
    """
    if not alerts.bases:
        return
    from hashscan.settings.legal_basis import ended_lists

    now = time.time()
    names = settings.lists
    if names is None:
        assert settings.state is not None
        named = [one.list for one in alerts.bases if one.list]
        names = tuple(name for name in named if (settings.state.lists / name).exists())
    for one in ended_lists(alerts.bases, names, now):
        text = f"the legal basis of {one.subject} ended on {one.legal_basis_until}: {one.legal_basis}"
        if one.stops(now):
            raise UsageError(
                text, advice="Enter what holds today in [[basis]], or name other lists with --list."
            )
        print_message(f"{text}; the scan goes on")


def _is_typed(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _settings_of(
    *,
    lists: tuple[str, ...],
    reread: float | None,
    endpoint: str | None,
    anonymous: bool,
    concurrency: int,
    quarantine: bool,
    terms: Callable[[], QuarantineSettings],
    state: StateDir,
    no_state: bool,
    **others: Any,
) -> ScanSettings:
    """Return the settings that the command's options give; the others have the names of settings."""
    if reread is None:
        reread = 0.0 if others["known"] else DEFAULT_REREAD
    return ScanSettings(
        # Without a state folder there is no other list.
        lists=lists or ((DEMO,) if no_state else None),
        reread=reread,
        access=Access(endpoint, anonymous, concurrency),
        quarantine=terms() if quarantine else None,
        state=None if no_state else state,
        **others,
    )


def _run_scan(settings: ScanSettings, alerts: ScanAlerts) -> tuple[int, Path | None]:
    """Run a scan, print its summary, update the ledger, and return the exit code and the record file."""
    if settings.neighbour.background:
        # Before any process starts: children inherit the priority.
        lower_priority()
    if settings.cluster is None and not settings.known:
        # The workers' imports begin while this process imports the rest and verifies the lists.
        warm_up(source_modules(settings.targets if settings.inventory is None else (b"s3://",)))
    from hashscan.cli.output.ledger_sync import exit_code_without_output, sync_ledger
    from hashscan.cli.output.scan_observer import TerminalObserver

    run = _load_scan(known=settings.known)
    if settings.state is not None and settings.state.path.exists():
        # If this scan sets the state aside, this is the last time that its findings can be read.
        sync_ledger(settings.state)
    with TerminalObserver(lines=all(report.path for report in settings.reports)) as watcher:
        result = run(settings, watcher)
    alerts.ended(result)
    show_customers(watcher.customers)
    for message in _summary_messages(settings, result):
        print_message(message)
    if result.shortcomings:
        print_message(f"incomplete: {', '.join(one.message for one in result.shortcomings)}", ERROR)
    exit_code = result.exit_code
    if watcher.lines is not None and (trouble := watcher.lines.trouble) is not None:
        kept = "; the report has them" if result.reports else ""
        print_message(f"can't write findings to standard output: {trouble.strerror}{kept}", ERROR)
        exit_code = exit_code_without_output(exit_code)
    if settings.state is not None:
        exit_code = _update_ledger(settings, settings.state, result, exit_code, alerts)
    return exit_code, result.record


def _summary_messages(settings: ScanSettings, result: ScanResult) -> Iterator[str]:
    summary, shard = result.summary, settings.shard
    accepted = summary.accepted.total()
    part = "" if shard is None else f"shard {shard.index}/{shard.count}: "
    unchanged = f" ({summary.recalled} of them unchanged)" if summary.recalled and not settings.known else ""
    meaning = EXIT_MEANINGS[result.exit_code]
    withheld = summary.verdicts[Verdict.HELD] - summary.breaker_held
    if result.exit_code in (EXIT_CLEAN, EXIT_INCOMPLETE) and accepted + withheld:
        meaning += f", except {'accepted findings' if accepted else 'matches that are withheld here'}"
    yield (
        f"{part}{plural(summary.files, 'file')}{unchanged}, {human_bytes(summary.bytes_read)} in "
        f"{result.seconds:.1f} s: {summary.verdict_counts}; exit {result.exit_code} ({meaning})"
    )
    yield from _ctime_warnings(summary.ctime)
    if settings.baseline is not None:
        yield f"{accepted} of {plural(summary.findings, 'finding')} accepted by {settings.baseline}"
    if settings.files_from is not None and not summary.files:
        yield f"--files-from named no file{' of this shard' if shard else ''}; nothing was checked"
    if summary.not_compared:
        read = plural(summary.compared + summary.not_compared, "object")
        yield f"{summary.not_compared} of {read} have no checksum that can be compared with their bytes"
    yield from summary.recognition_messages()
    if settings.known:
        yield "no file was read; the verdicts are for the cached digests of earlier scans"
    if result.only_test:
        yield "the lists have only test entries; this says nothing about real material"
    elif tests := summary.test_findings:
        yield f"findings by test entries only: {tests} of {summary.findings}; they are not real material"
    for report in result.reports:
        yield f"report: {report}"
    if not settings.reports and settings.state is None and summary.files > summary.verdicts[Verdict.CLEAN]:
        yield "no report was written; --report FILE names every file that is not clean"


def _update_ledger(
    settings: ScanSettings, state: StateDir, result: ScanResult, exit_code: int, alerts: ScanAlerts
) -> int:
    """Add the findings to the ledger, and return the exit code."""
    from hashscan.cli.output.ledger_sync import (
        check_noticed_files,
        exit_code_without_output,
        import_report_into_ledger,
        sync_ledger,
    )

    followed = sync_ledger(state)
    if followed and not result.shortcomings:
        followed = check_noticed_files(settings, state)
    if settings.cluster is not None:
        # The state does not keep what nodes have read, so the ledger is updated from the report.
        alerts.followed = import_report_into_ledger(state, result.record)
        followed = followed and alerts.followed
    return exit_code if followed else exit_code_without_output(exit_code)


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
