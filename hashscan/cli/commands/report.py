"""`hashscan report`: show, convert, merge and prune reports, accept findings in a baseline."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.lists.exceptions import invoking_user
from hashscan.cli.options.base import DURATION, FILE, HashscanCommand, HashscanGroup, positive, state_option
from hashscan.cli.options.hub_client import hub_client_options, push_reports, require_hub, send_names_option
from hashscan.cli.options.output import (
    choose_format,
    dash_to_none,
    output_format_option,
    output_option,
    write_stdout,
)
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.tables import reporter_option, site_option
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.cli.output.terminal import ROWS_SHOWN, make_table, verdict_and_remark
from hashscan.errors import (
    EXIT_CLEAN,
    EXIT_INCOMPLETE,
    EXIT_MEANINGS,
    HashscanError,
    OutputError,
    UsageError,
)
from hashscan.locking import ScanLock
from hashscan.model import Reporter, SiteRule, Verdict
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.records import Record, path_text
from hashscan.settings.values import parse_future
from hashscan.state_dir import StateDir
from hashscan.text import human_bytes, plural, printable

if TYPE_CHECKING:
    from rich.console import Console

    from hashscan.reports.common import Overview
    from hashscan.reports.report import Report
    from hashscan.settings.hub_client import HubClientSettings


@click.command("accept", cls=HashscanCommand, exit_codes=(0, 2, 12, 70), needs=RootRights.FILES)
@click.argument("report", metavar="REPORT", type=FILE)
@click.option("--reason", required=True, metavar="TEXT", help="Reason; included in every later report.")
@click.option(
    "--until",
    required=True,
    metavar="DATE",
    help="Expiry: a day (to its end, UTC), or a time such as 2027-01-31T18:00:00Z.",
)
@click.option(
    "--output",
    required=True,
    type=FILE,
    metavar="FILE",
    help="Baseline file; the findings that an existing one accepts stay in it.",
)
@click.option(
    "--entry", "entries", multiple=True, metavar="ID", help="Accept only findings of this entry; repeatable."
)
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="PATTERN",
    help="Accept only findings whose complete path or URL matches this pattern, or that lie in a "
    "folder which matches; repeatable.",
)
@state_option
def accept(
    report: Path,
    reason: str,
    until: str,
    output: Path,
    entries: tuple[str, ...],
    paths: tuple[str, ...],
    state: StateDir,
) -> None:
    """Accept findings of REPORT for a time, for `hashscan scan --baseline`.

    A finding is accepted as the pair of entry and content, wherever the file lies: other content that the
    entry matches, and other entries that match this content, are still found. The content comes from the
    report if it was written with --with-digests, otherwise from the --state of its scan. Accept only findings
    that an authorised person has examined: they are still reported, but no longer fail a job.
    """
    from hashscan.reports.report import BARE, Report
    from hashscan.scan.baseline import key_of, matches_to_accept, read_baseline, write_baseline
    from hashscan.scan.reporting.report_writer import with_digests

    now = datetime.now(UTC)
    end = parse_future(until, now)
    with with_digests(BARE, state) as context:
        found = matches_to_accept(Report(report, context), reason, end, invoking_user(), now, entries, paths)
    if not found.matches:
        raise UsageError(
            "there is nothing to accept: " + (found.message or "the report has no such finding"),
            advice="Name a report with findings, and the --state of its scan unless it has their digests.",
        )
    before = {key_of(one): one for one in read_baseline(output)} if output.exists() else {}
    taken = {key_of(one): one for one in found.matches}
    write_baseline(output, {**before, **taken}.values())
    renewed = len(before.keys() & taken.keys())
    anew = f", {renewed} of them anew" if renewed else ""
    both = len(before.keys() | taken.keys())
    print_message(f"{len(taken)} accepted until {found.matches[0].until}{anew}; {output} accepts {both}")
    if found.message:
        print_message(f"not accepted: {found.message}")


_COUNTED = 10
"""Customers and lists that are named; of the others, only the numbers are shown."""

_STYLES = {Verdict.MATCH.value: "bold red", Verdict.HELD.value: "yellow", Verdict.REVIEW.value: "cyan"}


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70), needs=RootRights.FILES)
@click.argument("report", required=False, metavar="[REPORT]", type=FILE)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=ROWS_SHOWN,
    show_default=True,
    help="Number of findings to show, matches first; 0 shows only counts.",
)
@state_option
def show(report: Path | None, limit: int, state: StateDir) -> None:
    """Show a scan's REPORT: targets, counts and the first findings.

    Also reads the report of a killed scan. Default: the newest complete report of the state folder. The exit
    code is always 0; the one of the scan is shown.
    """
    from rich.console import Console

    from hashscan.atomic_files import output_errors
    from hashscan.reports.common import overview
    from hashscan.reports.report import Report
    from hashscan.scan.reporting.report_paths import newest_report

    path = newest_report(state) if report is None else report
    opened = Report(path)
    seen = overview(opened, limit)
    if isinstance(sys.stdout, TextIOWrapper):
        # A character that the terminal or file can't show is escaped.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Without a terminal, lines are as long as on a wide one.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    with output_errors("can't write to standard output"):
        _line(console, "report", opened.name)
        for name, text in _beginning(opened, seen):
            _line(console, name, text)
        if seen.findings:
            _findings(console, seen)


def _beginning(report: Report, seen: Overview) -> Iterator[tuple[str, str]]:
    """Yield the lines above the findings, each with its label."""
    from hashscan.reports.common import first_names, remark_on_tests, shortcomings

    yield from _scan_lines(report.scan)
    if report.summary is not None:
        yield from _summary_lines(report.summary)
    for reason in shortcomings(report):
        yield "incomplete", reason
    if remark := remark_on_tests(report):
        yield "note", remark
    if seen.standing:
        yield "still open", f"{plural(seen.standing, 'earlier finding')} that this scan did not reach"
    yield "verdicts", ", ".join(f"{n} {v.value}" for v in Verdict if (n := seen.verdicts[v.value])) or "none"
    for (kind, reason), number in seen.reasons.most_common():
        yield kind, f"{number} {reason}"
    for title, names in (
        ("categories", seen.categories),
        ("by list", seen.lists),
        ("customers", seen.customers),
    ):
        if any(names):
            yield title, ", ".join(f"{name} {number}" for name, number in first_names(names, _COUNTED))


def _scan_lines(scan: Record) -> Iterator[tuple[str, str]]:
    from hashscan.timefmt import readable_time

    yield "scan", f"{scan['uuid']} on {scan['host']}, hashscan {scan['version']}"
    for target in scan["targets"]:
        yield "target", path_text(target)
    yield "began", readable_time(scan["started"])
    for info in scan["lists"]:
        problem = f"; {info['problem']}" if "problem" in info else ""
        text = f"{info['name']} {info['version']}, {info['state']}, {info['entries']} entries{problem}"
        yield "list", text


def _summary_lines(summary: Record) -> Iterator[tuple[str, str]]:
    from hashscan.timefmt import readable_time

    code = summary["exit_code"]
    yield "ended", readable_time(summary.get("ended", ""))
    yield "read", f"{plural(summary.get('files', 0), 'file')}, {human_bytes(summary['bytes'])}"
    yield "exit", f"{code} ({EXIT_MEANINGS.get(code, 'unknown')})"


def _findings(console: Console, seen: Overview) -> None:
    from rich.text import Text

    from hashscan.reports.common import reason_of

    title = plural(seen.total, "finding")
    if seen.total > len(seen.findings):
        title += f", {len(seen.findings)} of them here; --limit shows more"
    owned = any(seen.customers)
    rows = (
        (
            Text(printable(", ".join(filter(None, (verdict, remark)))), style=_STYLES.get(verdict, "")),
            *([record.get("customer", "")] if owned else []),
            path_text(record),
            reason_of(record),
        )
        for record in seen.findings
        for verdict, remark in (verdict_and_remark(record),)
    )
    console.print()
    console.print(make_table(title, ("verdict", *(("customer",) if owned else ()), "path", "because"), rows))


def _line(console: Console, name: str, text: str) -> None:
    from rich.text import Text

    label = Text(f"{name:13} ", style="bold red" if name == "incomplete" else "bold")
    console.print(label.append(printable(text), style="not bold"), soft_wrap=True)


@click.group(cls=HashscanGroup)
def command() -> None:
    """Show, convert, accept, merge and prune reports."""


command.add_command(show)


class _ConvertCommand(HashscanCommand):
    """A command whose help describes each format."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the formats above the exit codes."""
        with formatter.section("Formats"):
            formatter.write_dl([(row.name, row.summary) for row in REPORT_FORMATS.rows.values()])
        super().format_epilog(ctx, formatter)


@command.command(cls=_ConvertCommand, exit_codes=(0, 2, 12, 70), needs=RootRights.FILES)
@click.argument("report", metavar="REPORT", type=FILE)
@output_format_option(REPORT_FORMATS, None, "Format of the document.")
@output_option()
@site_option
@reporter_option
@state_option
def convert(
    report: Path,
    format_name: str | None,
    output: Path | None,
    sites: tuple[SiteRule, ...],
    reporter: Reporter | None,
    state: StateDir,
) -> None:
    """Convert a scan's REPORT to another format, also the incomplete one of a killed scan.

    Reports to authorities need digests; they come from the report if it has them, otherwise from --state.
    """
    from hashscan.reports.report import Report
    from hashscan.reports.report_file import convert as write
    from hashscan.scan.reporting.report_writer import report_context, with_digests

    chosen = REPORT_FORMATS[choose_format(format_name, output, REPORT_FORMATS, None)]
    if output is not None:
        _require_other(report, output, "the output would overwrite the report")
    bare = report_context(sites, reporter)
    with with_digests(bare, state if chosen.needs_digests else None) as context:
        left_out = write(Report(report, context), chosen, output)
    for reason, number in left_out.items():
        print_message(f"left out: {number} {reason}")


command.add_command(accept)


@command.command(exit_codes=(0, 1, 2, 3, 4, 11, 12, 70))
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...", type=FILE)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    callback=dash_to_none,
    metavar="FILE",
    help="File for the merged report; - is standard output.",
)
def merge(reports: tuple[Path, ...], output: Path | None) -> int:
    """Merge the reports of all shards of one scan into one.

    Each REPORT is written by `hashscan scan --shard INDEX/COUNT`, or is the .partial file of one that was
    killed. The merged report and the exit code equal those of a single scan. Missing and unfinished shards
    are named and make the exit code 3 or 4. Matches of entries that match too much, over all shards, are
    held. The number of bytes may be larger, because a file with names in several shards is read in each.
    """
    from hashscan.reports.report_file import PARTIAL, ReportFile
    from hashscan.scan.reporting.shard_merging import merge_reports

    if output is not None:
        for report, written in product(reports, (output, output.with_name(output.name + PARTIAL))):
            _require_other(report, written, f"the merged report would overwrite {report}")
    with ReportFile(output) as sink:
        if sink.set_aside is not None:
            print_message(f"an incomplete report of this name is kept as {sink.set_aside}")
        try:
            merged = merge_reports(reports, sink)
            sink.finish()
        except HashscanError:
            sink.discard()
            raise
    for message in merged.said:
        print_message(message)
    summary = merged.summary
    print_message(
        f"{plural(merged.shards, 'report')}, {plural(summary.files, 'file')}, "
        f"{human_bytes(summary.bytes_read)}: {summary.verdict_counts}; "
        f"exit {merged.exit_code} ({EXIT_MEANINGS[merged.exit_code]})"
    )
    if merged.shortcomings:
        print_message(f"incomplete: {', '.join(one.message for one in merged.shortcomings)}")
    if output is not None:
        print_message(f"report: {output}")
    return merged.exit_code


@command.command(
    exit_codes=(0, 2, 3, 11, 12, 70),
    meanings={
        0: "every old report without an open case is removed",
        3: "the age of a file can't be told: it was left",
    },
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    type=DURATION,
    callback=positive,
    required=True,
    metavar="TIME",
    help="Age of the oldest reports that are kept, such as 90d.",
)
@click.option("--dry-run", is_flag=True, help="Only show which reports would be removed.")
@state_option
def prune(paths: tuple[Path, ...], keep: float, dry_run: bool, state: StateDir) -> int:
    """Remove reports of scans that ended longer ago than --keep, and write their paths.

    PATH is a report in JSON Lines, or a folder of them. Default: the state folder's reports. A report that
    names the file of an open case is kept. The age is that of the end in the report, never that of the file:
    what has no end, such as the report of a killed scan, is named and left, and so are symlinks.
    """
    from hashscan.cases.report_pruning import Decision, prune_reports

    if not state.path.is_dir():
        raise UsageError(
            f"there is no state folder {state}, so it is not known which cases are open",
            advice="Name the state folder of the scans with --state.",
        )
    before = datetime.now(UTC) - timedelta(seconds=keep)
    counts: Counter[Decision] = Counter()
    with ScanLock(state), synced_ledger(state) as followed:
        if not followed.whole:
            raise OutputError(
                "not all cases are known, so no report is removed", advice="See the message above."
            )
        for result in prune_reports(followed.ledger, state.reports, paths, before, dry_run=dry_run):
            counts[result.decision] += 1
            if result.decision is Decision.REMOVED:
                write_stdout(printable(os.fsdecode(result.path)))
            elif result.decision is Decision.REFUSED:
                print_message(f"left: {result.path}: {result.reason}", ERROR)
    removed = f"{plural(counts[Decision.REMOVED], 'report')} {'would be removed' if dry_run else 'removed'}"
    print_message(
        f"{removed}; kept: {counts[Decision.RECENT]} recent, {counts[Decision.CASE]} with open cases, "
        f"{counts[Decision.REFUSED]} of unknown age"
    )
    return EXIT_INCOMPLETE if counts[Decision.REFUSED] else EXIT_CLEAN


def _require_other(report: Path, output: Path, message: str) -> None:
    """Refuse an output file that is the report itself, which would be lost."""
    if report.exists() and output.exists() and output.samefile(report):
        raise UsageError(message, advice="Name another --output.")


@command.command(exit_codes=(0, 2, 11, 12, 13, 70), needs=RootRights.FILES)
@click.argument("reports", nargs=-1, metavar="[REPORT]...", type=FILE)
@hub_client_options
@send_names_option
@state_option
def push(reports: tuple[Path, ...], hub: HubClientSettings | None, send_names: bool, state: StateDir) -> int:
    """Send reports in JSON Lines to the hub of this server.

    Without REPORT, those that wait in the state folder are sent: a scan with --push leaves its report there
    until the hub has all of it. A report may be sent any number of times, and counts once.
    """
    from hashscan.scan.reporting.push_spool import reports_to_push

    wanted = require_hub(hub)
    if reports:
        return push_reports(wanted, reports, names=send_names)
    return push_reports(wanted, reports_to_push(state), state, names=send_names)
