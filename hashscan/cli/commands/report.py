"""`hashscan report`: show reports, convert them, merge those of shards, accept findings in a baseline."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.commands.lists_except import invoking_user
from hashscan.cli.options.base import HashscanCommand, HashscanGroup, state_option
from hashscan.cli.options.output import choose_format, output_format_option, output_option
from hashscan.cli.options.tables import reporter_option, site_option
from hashscan.cli.output.terminal import ROWS_SHOWN, escape_control, human_bytes, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_MEANINGS, HashscanError, UsageError
from hashscan.model import Reporter, SiteRule, Verdict
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.records import Record
from hashscan.settings.values import parse_until
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from hashscan.reports.common import Overview
    from hashscan.reports.report import Report


@click.command("accept", cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.argument("report", metavar="REPORT", type=click.Path(path_type=Path, dir_okay=False))
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
    type=click.Path(path_type=Path, dir_okay=False),
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
    help=(
        "Accept only findings whose complete path or URL matches this pattern, or that lie in a "
        "folder which matches; repeatable."
    ),
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
) -> int:
    """Accept findings of REPORT for a time, for `hashscan scan --baseline`.

    A finding is accepted as the pair of entry and content, wherever the file lies: other content that the
    entry matches, and other entries that match this content, are still found. The content comes from the
    report if it was written with --with-digests, otherwise from the --state of its scan. Accept only findings
    that an authorised person has examined: they are still reported, but no longer fail a job.
    """
    from hashscan.reports.report import BARE, Report
    from hashscan.scan.baseline import key_of, matches_to_accept, read_baseline, write_baseline
    from hashscan.scan.reporting.report_writer import with_digests

    now, end = datetime.now(UTC), parse_until(until)
    if end <= now:
        raise UsageError(f"{until} is in the past", advice="Name a time in the future.")
    with with_digests(BARE, state) as context:
        found = matches_to_accept(Report(report, context), reason, end, invoking_user(), now, entries, paths)
    if not found.matches:
        raise UsageError(
            "there is nothing to accept: " + (found.words or "the report has no such finding"),
            advice="Name a report with findings, and the --state of its scan unless it has their digests.",
        )
    before = {key_of(one): one for one in read_baseline(output)} if output.exists() else {}
    taken = {key_of(one): one for one in found.matches}
    write_baseline(output, {**before, **taken}.values())
    renewed = len(before.keys() & taken.keys())
    anew = f", {renewed} of them anew" if renewed else ""
    both = len(before.keys() | taken.keys())
    print_message(
        f"hashscan: {len(taken)} accepted until {found.matches[0].until}{anew}; {output} accepts {both}"
    )
    if found.words:
        print_message(f"hashscan: not accepted: {escape_control(found.words)}")
    return EXIT_CLEAN


_COUNTED = 10
"""Customers and lists that are named; of the others, only the numbers are shown."""

_STYLES = {Verdict.MATCH.value: "bold red", Verdict.HELD.value: "yellow", Verdict.REVIEW.value: "cyan"}


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.argument("report", required=False, metavar="[REPORT]", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=ROWS_SHOWN,
    show_default=True,
    help="Number of findings to show, matches first; 0 shows only counts.",
)
@state_option
def show(report: Path | None, limit: int, state: StateDir) -> int:
    """Show a scan's REPORT: targets, counts and the first findings.

    Also reads the report of a killed scan. Default: the newest complete report of the state folder. The exit
    code is always 0; the one of the scan is shown.
    """
    from rich.console import Console

    from hashscan.lists.storage.atomic_files import output_errors
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
        for name, words in _beginning(opened, seen):
            _line(console, name, words)
        if seen.findings:
            _findings(console, seen)
    return EXIT_CLEAN


def _beginning(report: Report, seen: Overview) -> Iterator[tuple[str, str]]:
    from hashscan.reports.common import remark_on_tests, shortcomings
    from hashscan.reports.records import path_text

    scan, summary = report.scan, report.summary
    yield "scan", f"{scan.get('uuid', '')} on {scan.get('host', '')}, hashscan {scan.get('version', '')}"
    for target in scan.get("targets", ()):
        if "path" in target:
            yield "target", path_text(target)
    yield "began", _when(scan.get("started", ""))
    for info in scan.get("lists", ()):
        problem = f"; {info['problem']}" if "problem" in info else ""
        yield (
            "list",
            (
                f"{info.get('name', '')} {info.get('version', '')}, {info.get('state', '')}, "
                f"{info.get('entries', 0)} entries{problem}"
            ),
        )
    if summary is not None:
        yield "ended", _when(summary.get("ended", ""))
        yield "read", f"{summary.get('files', 0)} files, {human_bytes(summary.get('bytes', 0))}"
        code = summary.get("exit_code", 0)
        yield "exit", f"{code} ({EXIT_MEANINGS.get(code, 'unknown')})"
    for words in shortcomings(report):
        yield "incomplete", words
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
        if set(names) - {""}:
            yield title, ", ".join(_most(names))


def _when(moment: str) -> str:
    from hashscan.timefmt import readable_time

    return readable_time(moment)


def _most(names: Counter[str]) -> Iterator[str]:
    first = names.most_common(_COUNTED)
    for name, number in first:
        yield f"{name or '(not known)'} {number}"
    if len(names) > len(first):
        rest = names.total() - sum(number for _, number in first)
        yield f"{len(names) - len(first)} more {rest}"


def _findings(console: Console, seen: Overview) -> None:
    from rich.table import Table
    from rich.text import Text

    from hashscan.text import printable

    title = f"{seen.total} findings" if seen.total > 1 else "1 finding"
    if seen.total > len(seen.findings):
        title += f", {len(seen.findings)} of them here; --limit shows more"
    with_customers = bool(set(seen.customers) - {""})
    table = Table(title=title, title_justify="left")
    for column in ("verdict", *(("customer",) if with_customers else ()), "path", "because"):
        table.add_column(column, overflow="fold")
    for record in seen.findings:
        verdict, *others = _finding(record, with_customers)
        style = _STYLES.get(verdict.partition(",")[0], "")
        # Text, not str: a name with square brackets must not be read as markup.
        table.add_row(Text(printable(verdict), style=style), *(Text(printable(cell)) for cell in others))
    console.print()
    console.print(table)


def _finding(record: Record, with_customers: bool) -> list[str]:
    from hashscan.reports.common import OPEN_EARLIER, reason_of, verdict_of
    from hashscan.reports.records import path_text

    moved = record.get("quarantine", {}).get("outcome")
    verdict = verdict_of(record)
    if "accepted" in record:
        verdict += ", accepted"
    elif record["type"] == OPEN_EARLIER:
        verdict += ", still open"
    elif moved is not None:
        verdict += ", moved" if moved == "done" else f", NOT moved: {moved}"
    return [
        verdict,
        *([record.get("customer", "")] if with_customers else []),
        path_text(record),
        reason_of(record),
    ]


def _line(console: Console, name: str, text: str) -> None:
    from rich.text import Text

    from hashscan.text import printable

    label = Text(f"{name:13} ", style="bold red" if name == "incomplete" else "bold")
    console.print(label.append(printable(text), style="not bold"), soft_wrap=True)


@click.group(cls=HashscanGroup)
def command() -> None:
    """Show, convert, accept and merge reports."""


command.add_command(show)


class _ConvertCommand(HashscanCommand):
    """A command whose help describes each format."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the formats above the exit codes."""
        with formatter.section("Formats"):
            formatter.write_dl([(row.name, row.summary) for row in REPORT_FORMATS.rows.values()])
        super().format_epilog(ctx, formatter)


@command.command(cls=_ConvertCommand, exit_codes=(0, 2, 12, 70))
@click.argument("report", metavar="REPORT", type=click.Path(path_type=Path, dir_okay=False))
@output_format_option(REPORT_FORMATS, None, "Format of the document.")
@output_option()
@site_option
@reporter_option
@state_option
def convert(
    report: Path,
    format_name: str | None,
    output: Path,
    site_rules: tuple[SiteRule, ...] | None,
    reporter: Reporter | None,
    state: StateDir,
) -> int:
    """Convert a scan's REPORT to another format, also the incomplete one of a killed scan.

    Reports to authorities need digests; they come from the report if it has them, otherwise from --state.
    """
    from hashscan.reports.report import Report
    from hashscan.reports.report_file import convert as write
    from hashscan.scan.reporting.report_writer import report_context, with_digests

    chosen = REPORT_FORMATS[choose_format(format_name, output, REPORT_FORMATS, None)]
    destination = None if str(output) == "-" else output
    if destination is not None:
        _require_other(report, output, "the output would overwrite the report")
    bare = report_context(site_rules or (), reporter)
    with with_digests(bare, state if chosen.needs_digests else None) as context:
        left_out = write(Report(report, context), chosen, destination)
    for reason, number in left_out.items():
        print_message(f"hashscan: left out: {number} {reason}")
    return EXIT_CLEAN


command.add_command(accept)


@command.command(exit_codes=(0, 1, 2, 3, 4, 11, 12, 70))
@click.argument(
    "reports", nargs=-1, required=True, metavar="REPORT...", type=click.Path(path_type=Path, dir_okay=False)
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    metavar="FILE",
    help="File for the merged report; - is standard output.",
)
def merge(reports: tuple[Path, ...], output: Path) -> int:
    """Merge the reports of all shards of one scan into one.

    Each REPORT is written by `hashscan scan --shard INDEX/COUNT`, or is the .partial file of one that was
    killed. The merged report and the exit code equal those of a single scan. Missing and unfinished shards
    are named and make the exit code 3 or 4. Matches of entries that match too much, over all shards, are
    held. The number of bytes may be larger, because a file with names in several shards is read in each.
    """
    from hashscan.reports.report_file import PARTIAL, ReportFile
    from hashscan.scan.reporting.shard_merging import merge_reports

    destination = None if str(output) == "-" else output
    for report in reports if destination is not None else ():
        for grown in (output, output.with_name(output.name + PARTIAL)):
            _require_other(report, grown, f"the merged report would overwrite {report}")
    with ReportFile(destination) as sink:
        if sink.set_aside is not None:
            print_message(f"hashscan: an incomplete report of this name is kept as {sink.set_aside}")
        try:
            merged = merge_reports(reports, sink)
            sink.finish()
        except HashscanError:
            sink.discard()
            raise
    for words in merged.said:
        print_message(f"hashscan: {escape_control(words)}")
    summary = merged.summary
    counts = ", ".join(
        f"{number} {verdict}" for verdict, number in sorted(summary.verdicts.items()) if number
    )
    print_message(
        f"hashscan: {merged.shards} reports, {summary.files} files, {human_bytes(summary.bytes_read)}: "
        f"{counts or 'nothing'}; exit {merged.exit_code} ({EXIT_MEANINGS[merged.exit_code]})"
    )
    if merged.shortcomings:
        print_message(f"hashscan: incomplete: {escape_control(', '.join(merged.shortcomings))}")
    if destination is not None:
        print_message(f"hashscan: report: {destination}")
    return merged.exit_code


def _require_other(report: Path, output: Path, words: str) -> None:
    """Refuse an output file that is the report itself, which would be lost."""
    if report.exists() and output.exists() and output.samefile(report):
        raise UsageError(words, advice="Name another --output.")
