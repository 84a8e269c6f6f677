"""`hashscan report show`: show a report on the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.output.terminal import ROWS_SHOWN, human_bytes
from hashscan.errors import EXIT_CLEAN, EXIT_MEANINGS
from hashscan.model import Verdict
from hashscan.reports.records import Record
from hashscan.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from hashscan.reports.common import Overview
    from hashscan.reports.report import Report

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
def show(report: Path | None, limit: int, state: Path) -> int:
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
