"""`hashscan stats`: statistics of checks, detections and times until removal, and transparency reports."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable
from datetime import date, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from hashscan.atomic_files import PUBLIC_FILE, output_errors, write_folder
from hashscan.cli.options.base import HashscanCommand, argument_option, gather_options, state_option
from hashscan.cli.options.cases_and_alerts import deadline_options
from hashscan.cli.options.output import choose_format, output_format_option, output_option, write_output
from hashscan.cli.options.tables import reporter_option
from hashscan.cli.output.logs import print_message
from hashscan.errors import EXIT_CLEAN, UsageError
from hashscan.model import CATEGORIES, KNOWN_GOOD_CATEGORY, Reporter
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir

if TYPE_CHECKING:
    from hashscan.cases.deadlines import DeadlineCalculator
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.statistics.counting import Statistics
    from hashscan.cases.statistics.periods import Unit

_DSA = "dsa"
_FORMATS = ("table", "csv", "json", "html", _DSA)


class _Report(NamedTuple):
    """The options of a transparency report."""

    year: int | None
    service: str
    terms: tuple[str, ...]
    generated: tuple[str, ...]
    complete: bool
    explain: bool


_report_options = gather_options(
    "report",
    _Report,
    argument_option(
        "--year",
        type=click.IntRange(1970, 2999),
        metavar="YEAR",
        help="Year of a report in format dsa; --since and --until may name a part of it.",
    ),
    click.option("--service", default="", metavar="NAME", help="Name of the service, for format dsa."),
    click.option(
        "--by-terms",
        multiple=True,
        type=click.Choice([name for name in CATEGORIES if name != KNOWN_GOOD_CATEGORY]),
        help="Category that is removed on the basis of your terms and conditions and not of the law, for "
        "format dsa; repeatable.",
    ),
    click.option(
        "--generated",
        multiple=True,
        metavar="LIST",
        help="List of generated material (deepfakes), for format dsa; repeatable.",
    ),
    click.option(
        "--complete",
        is_flag=True,
        help="State that the cases are all orders, notices and measures of the service, so that format dsa "
        "writes 0 for none; else it leaves blanks.",
    ),
    click.option(
        "--explain",
        is_flag=True,
        help="Print, as CSV, the cases and notices that each figure of format dsa counts.",
    ),
)


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.option(
    "--by", type=click.Choice(["day", "week", "month"]), default="month", show_default=True,
    help="Length of a period; weeks are those of ISO 8601.",
)  # fmt: skip
@click.option(
    "--since",
    metavar="TIME",
    help="First day: 2026-11-26, 2026-W48, 2026-11 or 2026. Default: the first of the last 12 "
    "months, 26 weeks or 30 days with any event.",
)
@click.option("--until", metavar="TIME", help="Last day, in the same syntax. Default: today.")
@click.option(
    "--timezone", "zone", default="UTC", show_default=True, metavar="NAME",
    help="Time zone of the days, such as Europe/Amsterdam.",
)  # fmt: skip
@output_format_option(
    _FORMATS,
    "table",
    "Tables with bars, CSV, JSON, a page with charts, or the folder of a transparency report (DSA).",
)
@output_option("may be read by everybody")
@_report_options
@reporter_option
@deadline_options
@state_option
def command(
    by: str,
    since: str | None,
    until: str | None,
    zone: str,
    format_name: str | None,
    output: Path | None,
    report: _Report,
    reporter: Reporter | None,
    deadlines: CaseSettings,
    state: StateDir,
) -> int:
    """Count checks and detections per day, week or month, and the times until removal.

    Counts come from the ledger of cases in the state folder, which is updated from scans and from the
    quarantine log, so they stay if reports are deleted. They name no file, customer or hash. Periods without
    events are included.

    Format `dsa` makes a folder with the eleven files of a transparency report of a hosting service, in the
    form of Implementing Regulation (EU) 2024/2835, and not-filled.txt, which says what is blank and why.
    """
    from hashscan.cases.deadlines import DeadlineCalculator
    from hashscan.cases.statistics.periods import Unit, days_of, zone_of
    from hashscan.cli.output.ledger_sync import require_state, synced_ledger
    from hashscan.reports.report_file import require_destination

    chosen = choose_format(format_name, output, _FORMATS, "table")
    unit, where, now = Unit(by), zone_of(zone), int(time.time())
    for day in filter(None, (since, until)):
        days_of(day)
    if chosen == _DSA:
        span = _span(report.year, since, until)
        folder = _new_folder(output)
        require_state(state)
        with synced_ledger(state, deadlines) as followed:
            _write_report(followed.ledger, report, reporter, deadlines.review_by, span, where, now, folder)
            return followed.exit_code(EXIT_CLEAN)
    if report != _Report(None, "", (), (), False, False):
        raise UsageError("these options are for a transparency report", advice="Add --format dsa.")
    if output is not None:
        require_destination(output)
    require_state(state)
    with synced_ledger(state, deadlines) as followed:
        counted = _count(followed.ledger, DeadlineCalculator(deadlines), unit, since, until, where, now)
        if chosen == "table":
            _show(counted, unit, zone, output)
        else:
            write_output(output, _document(chosen, counted, unit, where, zone), PUBLIC_FILE)
        return followed.exit_code(EXIT_CLEAN)


def _span(year: int | None, since: str | None, until: str | None) -> tuple[date, date]:
    """Return the first and last day of a report."""
    from hashscan.cases.statistics.periods import days_of

    if year is None:
        raise UsageError("--year is missing", advice="Name the year of the report, such as --year 2026.")
    first = date(year, 1, 1) if since is None else days_of(since)[0]
    last = date(year, 12, 31) if until is None else days_of(until)[1]
    if not date(year, 1, 1) <= first <= last <= date(year, 12, 31):
        raise UsageError(
            f"{first} to {last} is no part of {year}", advice="A report covers a calendar year at most."
        )
    return first, last


def _new_folder(output: Path | None) -> Path:
    """Return the folder of a report, which must not exist."""
    if output is None:
        raise UsageError("--output is missing", advice="Name a new folder for the files of the report.")
    if output.exists() or output.is_symlink():
        raise UsageError(
            f"{output} exists already", advice="Name a new folder: all versions of a report are to be kept."
        )
    return output


def _write_report(
    ledger: Ledger,
    options: _Report,
    reporter: Reporter | None,
    review_by: int,
    span: tuple[date, date],
    zone: tzinfo,
    now: int,
    folder: Path,
) -> None:
    from hashscan.cases.statistics.counting import begun
    from hashscan.cases.statistics.dsa.figures import Choices, activity_of
    from hashscan.cases.statistics.dsa.report import NOT_FILLED, About, explained, files, notes, parts
    from hashscan.cases.statistics.dsa.template import csv_text
    from hashscan.cases.statistics.periods import whole_span

    choices = Choices(frozenset(options.terms), frozenset(options.generated), review_by)
    provider = "" if reporter is None else reporter.organisation
    about = About(*span, provider, options.service, options.complete, choices)
    with ledger.reading():
        found = activity_of(ledger, whole_span(*span, zone, now), choices)
        said = notes(found, about, begun(ledger), now)
    made = parts(found, about)
    with output_errors(f"can't write {folder}"):
        write_folder(folder, files(made, said, about))
    print_message(f"{folder / NOT_FILLED} says in {len(said)} notes what is blank and why: read it first")
    if options.explain:
        write_output(None, (csv_text(explained(made, about)).encode(),))


def _count(
    ledger: Ledger,
    deadlines: DeadlineCalculator,
    unit: Unit,
    since: str | None,
    until: str | None,
    zone: tzinfo,
    now: int,
) -> Statistics:
    from hashscan.cases.statistics.counting import begun, count, facts_of
    from hashscan.cases.statistics.periods import day_of, days_of, periods

    with ledger.reading():
        last = day_of(now, zone) if until is None else days_of(until)[1]
        first = _default_first_day(unit, last, begun(ledger), zone) if since is None else days_of(since)[0]
        return count(facts_of(ledger, deadlines), periods(unit, first, last, zone, now), now)


def _default_first_day(unit: Unit, last: date, begun: int | None, zone: tzinfo) -> date:
    """Return the default first day: that of the first of the usual periods with any event."""
    from hashscan.cases.statistics.periods import USUAL, day_of, earlier

    usual = earlier(unit, last, USUAL[unit] - 1)
    ever = last if begun is None else min(last, day_of(begun, zone))
    return max(usual, earlier(unit, ever, 0))


def _document(format_name: str, counted: Statistics, unit: Unit, zone: tzinfo, name: str) -> Iterable[bytes]:
    from hashscan.cases.statistics.web_page import html_parts
    from hashscan.cases.statistics.writer import csv_lines, json_text

    if format_name == "html":
        return html_parts(counted, unit, zone, name)
    lines = csv_lines(counted) if format_name == "csv" else (json_text(counted, unit, name),)
    return (line.encode() for line in lines)


def _show(counted: Statistics, unit: Unit, zone: str, output: Path | None) -> None:
    from hashscan.cli.output.statistics import show_statistics

    if output is None:
        with output_errors("can't write to standard output"):
            show_statistics(counted, unit, zone, sys.stdout)
            sys.stdout.flush()
    else:
        text = io.StringIO()
        show_statistics(counted, unit, zone, text)
        write_output(output, (text.getvalue().encode(),), PUBLIC_FILE)
