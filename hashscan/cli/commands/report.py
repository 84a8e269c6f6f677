"""`hashscan report`: show, convert and merge reports after a scan."""

from __future__ import annotations

from pathlib import Path

import click

from hashscan.cli.commands.report_accept import accept
from hashscan.cli.commands.report_show import show
from hashscan.cli.options.base import HashscanCommand, HashscanGroup, output_option, state_option
from hashscan.cli.options.context import reporter_option, site_option
from hashscan.cli.output.terminal import escape_control, human_bytes, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_MEANINGS, HashscanError, UsageError
from hashscan.model import Reporter, SiteRule
from hashscan.registry import REPORT_FORMATS


@click.group(cls=HashscanGroup)
def command() -> None:
    """Show a report, make other documents of it, and join the reports of a sweep's shards."""


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
@click.option("--to", "form", required=True, type=click.Choice(list(REPORT_FORMATS)), help="What to make.")
@output_option()
@site_option
@reporter_option
@state_option
def convert(
    report: Path,
    form: str,
    output: Path,
    site_rules: tuple[SiteRule, ...] | None,
    reporter: Reporter | None,
    state: Path,
) -> int:
    """Make a document of another format from a sweep's REPORT, whole or as a killed sweep left it.

    Digests, which reports to authorities need, come from the report if it has them, and else from --state.
    """
    from hashscan.reports.conversion import convert as write
    from hashscan.reports.report import Report
    from hashscan.scan.reporting.context import report_context, with_digests

    destination = None if str(output) == "-" else output
    if destination is not None:
        _require_other(report, output, "the document can't take the place of the report it is made from")
    chosen = REPORT_FORMATS[form]
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
    help="Where the joined report goes; - is standard output.",
)
def merge(reports: tuple[Path, ...], output: Path) -> int:
    """Join the reports of all shards of one sweep into one.

    Each REPORT is what `hashscan scan --shard INDEX/COUNT` wrote, or the .partial file that it left when it
    was killed. The new one says what one sweep would have said, and so does the exit code; shards that are
    missing or were not finished are named and make it 3 or 4. What one entry hits too much of, over all
    shards, is held. Bytes may be more, since a file with names in
    several shards is read in each.
    """
    from hashscan.reports.sink import PARTIAL, ReportFile
    from hashscan.scan.sharding.merging import merge_reports

    destination = None if str(output) == "-" else output
    for report in reports if destination is not None else ():
        for grown in (output, output.with_name(output.name + PARTIAL)):
            _require_other(report, grown, f"the joined report can't take the place of {report}")
    with ReportFile(destination) as sink:
        if sink.set_aside is not None:
            print_message(f"hashscan: an unfinished report was in its place; it is kept as {sink.set_aside}")
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
