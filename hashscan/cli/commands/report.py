"""`hashscan report`: show, convert and merge reports after a scan."""

from __future__ import annotations

from pathlib import Path

import click

from hashscan.cli.commands.report_accept import accept
from hashscan.cli.commands.report_show import show
from hashscan.cli.options.base import HashscanCommand, HashscanGroup, state_option
from hashscan.cli.options.context import reporter_option, site_option
from hashscan.cli.options.output import choose_format, output_format_option, output_option
from hashscan.cli.output.terminal import escape_control, human_bytes, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_MEANINGS, HashscanError, UsageError
from hashscan.model import Reporter, SiteRule
from hashscan.registry import REPORT_FORMATS


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
    state: Path,
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
