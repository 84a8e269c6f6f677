"""`hashscan report accept`: add findings of a report to a baseline for CI."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from hashscan.cli.commands.lists_except import invoking_user
from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.output.terminal import escape_control, print_message
from hashscan.errors import EXIT_CLEAN, UsageError
from hashscan.settings.values import parse_until


@click.command("accept", cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.argument("report", metavar="REPORT", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--reason", required=True, metavar="TEXT", help="Why; included in every report from then on.")
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
    state: Path,
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
