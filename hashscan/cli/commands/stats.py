"""`hashscan stats`: statistics of checks, detections and times until removal, by period."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable
from datetime import date, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.atomic_files import output_errors
from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.options.cases_and_alerts import deadline_options
from hashscan.cli.options.output import choose_format, output_format_option, output_option, write_output
from hashscan.errors import EXIT_CLEAN
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir

if TYPE_CHECKING:
    from hashscan.cases.deadlines import DeadlineCalculator
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.statistics.counting import Statistics
    from hashscan.cases.statistics.periods import Unit

_PUBLIC_MODE = 0o644
"""File mode of the output; counts are meant to be published."""
_FORMATS = ("table", "csv", "json", "html")


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
    "Tables with bars, CSV, JSON, or a page with charts.",
)
@output_option("may be read by everybody")
@deadline_options
@state_option
def command(
    by: str,
    since: str | None,
    until: str | None,
    zone: str,
    format_name: str | None,
    output: Path | None,
    deadlines: CaseSettings,
    state: StateDir,
) -> int:
    """Count checks and detections per day, week or month, and the times until removal.

    Counts come from the ledger of cases in the state folder, which is updated from scans and from the
    quarantine log, so they stay if reports are deleted. They name no file, customer or hash. Periods without
    events are included.
    """
    from hashscan.cases.deadlines import DeadlineCalculator
    from hashscan.cases.statistics.periods import Unit, days_of, zone_of
    from hashscan.cli.output.ledger_sync import require_state, synced_ledger
    from hashscan.reports.report_file import require_destination

    chosen = choose_format(format_name, output, _FORMATS, "table")
    unit, where, now = Unit(by), zone_of(zone), int(time.time())
    for day in filter(None, (since, until)):
        days_of(day)
    if output is not None:
        require_destination(output)
    require_state(state)
    with synced_ledger(state, deadlines) as followed:
        counted = _count(followed.ledger, DeadlineCalculator(deadlines), unit, since, until, where, now)
        if chosen == "table":
            _show(counted, unit, zone, output)
        else:
            write_output(output, _document(chosen, counted, unit, where, zone), _PUBLIC_MODE)
        return followed.exit_code(EXIT_CLEAN)


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
        write_output(output, (text.getvalue().encode(),), _PUBLIC_MODE)
