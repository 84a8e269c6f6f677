"""Write a report as an HTML page to read, sort and print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from hashscan.reports.page.advice import exit_words, headline, lists_of, shortcomings, steps
from hashscan.reports.page.frame import Page, duration, format_bytes, number
from hashscan.reports.page.rows import KINDS, KeptRows, int_or_none, path_of, row_of, table, text
from hashscan.reports.page.tally import Tally, verdicts_of
from hashscan.reports.records import Record
from hashscan.reports.report import Report, ReportFormat
from hashscan.timefmt import readable_time

_PLAIN = 200
"""Number of rows that are shown without JavaScript too."""
_TITLED = 40
"""Maximum characters of the host name in the title; browser tabs cut longer ones."""
_TARGETS = 20
_EXCEPTED = 1000
"""Maximum number of excepted entries that are listed."""
_FAILS_ON = {"match": "matches", "review": "matches and reviews", "never": "no finding"}


@dataclass(frozen=True, slots=True)
class _Column:
    field: str
    """Name of the field of a row."""
    label: str
    number: bool = False


_COLUMNS = (
    _Column("kind", "Verdict"),
    _Column("name", "File"),
    _Column("customer", "Customer"),
    _Column("category", "Category"),
    _Column("list_name", "List"),
    _Column("entry", "Entry"),
    _Column("why", "Why"),
    _Column("changed", "Changed"),
    _Column("uid", "Owner", number=True),
)


class Html(ReportFormat):
    """One self-contained file; charts count all records, the table is limited to what browsers can handle."""

    name = "html"
    suffix = ".html"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write the page; its rows are kept in a temporary file meanwhile."""
        tally = Tally()
        scan: Record = {}
        summary: Record | None = None
        with KeptRows(_PLAIN) as rows:
            for record in report.records():
                if record["type"] == "sweep":
                    scan = record
                elif record["type"] == "summary":
                    summary = record
                elif row := row_of(record, report.customer(record), report.context.url_of):
                    tally.count(row)
                    rows.take(row)
            parts = _page().parts(
                **_summary(scan, summary, tally),
                **_conditions(scan, summary),
                **_table(rows, tally),
                record=report.name,
            )
            for part in parts:
                stream.write(part)


@cache
def _page() -> Page:
    return Page(Path(__file__).parent, "scan.html", styles=("scan.css",), scripts=("scan.js",))


def _summary(scan: Record, summary: Record | None, tally: Tally) -> dict[str, Any]:
    """Return the values for the top of the page."""
    end: Record = summary or {}
    counts = verdicts_of(summary, tally)
    standing = tally.further["standing"]
    line = headline(summary, counts, standing)
    host = text(scan, "host")
    shard = table(scan, "shard")
    targets = [path_of(target) for target in scan.get("targets") or () if isinstance(target, dict)]
    return {
        "title": _title(host, text(scan, "started")),
        "headline": line,
        "host": host,
        "shard": f"shard {shard.get('index')} of {shard.get('count')}" if shard else "",
        "killed": summary is None,
        "shortcomings": shortcomings(summary),
        "only_test": bool(end.get("only_test_entries")),
        "counts": counts,
        "facts": list(_facts(scan, end, summary, counts)),
        "targets": targets[:_TARGETS],
        "more_targets": max(0, len(targets) - _TARGETS),
        "steps": steps(scan, summary, counts, standing),
        "charts": tally.charts(),
    }


def _title(host: str, started: str) -> str:
    of = f" of {host[:_TITLED]}" if host else ""
    return f"Scan{of}{', ' if started else ''}{readable_time(started)[:10]}"


def _facts(
    scan: Record, end: Record, summary: Record | None, counts: Mapping[str, int | None]
) -> list[tuple[str, str]]:
    files = int_or_none(end, "files")
    seconds = end.get("seconds")
    read = int_or_none(end, "bytes")
    unchanged = int_or_none(end, "unchanged")
    ctime = end.get("ctime")
    doubts = ctime if isinstance(ctime, dict) else {}
    again = sum(int_or_none(doubts, name) or 0 for name in ("filesystem", "writer"))
    unproven = sum(int_or_none(doubts, name) or 0 for name in ("unproven", "on_trust"))
    known = [count for count in counts.values() if count is not None]
    facts = [
        ("Files", f"at least {number(sum(known))}" if files is None else number(files)),
        ("Read", "" if read is None else format_bytes(read)),
        ("Unchanged, so not read again", number(unchanged) if unchanged else ""),
        ("Read again by the next scan, whatever their ctime", number(again) if again else ""),
        ("Unchanged only by an unproven ctime", number(unproven) if unproven else ""),
        ("Began", readable_time(text(scan, "started"))),
        ("Ended", readable_time(text(end, "ended"))),
        ("Took", duration(seconds) if isinstance(seconds, int | float) else ""),
        ("Exit code", exit_words(summary)),
    ]
    return [fact for fact in facts if fact[1]]


def _conditions(scan: Record, summary: Record | None) -> dict[str, Any]:
    """Return the lists, exceptions and settings of the scan."""
    excepted = scan.get("excepted")
    excepted = [entry for entry in excepted if isinstance(entry, dict)] if isinstance(excepted, list) else []
    keys = ("entry", "list", "category", "until", "by", "reason")
    return {
        "lists": [
            {
                "name": text(info, "name"),
                "state": text(info, "state"),
                "problem": text(info, "problem"),
                "version": int_or_none(info, "version") or 0,
                "entries": int_or_none(info, "entries") or 0,
                "expires": readable_time(text(info, "expires")),
                "categories": _joined(info.get("categories")),
            }
            for info in lists_of(scan)
        ],
        "excepted": [{key: text(entry, key) for key in keys} for entry in islice(excepted, _EXCEPTED)],
        "settings": _settings(scan, summary or {}),
        "version": text(scan, "version"),
    }


def _settings(scan: Record, end: Record) -> list[tuple[str, str]]:
    sandbox = table(end, "sandbox") or table(scan, "sandbox")
    level = text(sandbox, "level")
    thresholds = table(scan, "thresholds")
    breaker = table(scan, "breaker")
    owners, files = int_or_none(breaker, "owners"), int_or_none(breaker, "files")
    passed = table(end, "passed")
    settings = [
        ("Sandbox", f"{level} ({text(sandbox, 'mode')})" if level else text(sandbox, "mode")),
        ("Algorithms", _joined(scan.get("algorithms"))),
        ("Thresholds in bits", ", ".join(f"{name} {bits}" for name, bits in sorted(thresholds.items()))),
        ("Pictures also compared", _joined(scan.get("variants"))),
        ("Exit code tells of", _FAILS_ON.get(text(scan, "fail_on"), text(scan, "fail_on"))),
        ("Undecoded pictures make it incomplete", "yes" if scan.get("strict") else ""),
        (
            "Held if one entry hits more than",
            f"{number(owners)} owners or {number(files)} files" if owners and files else "",
        ),
        ("Passed by", ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in passed.items() if n)),
        (
            "Files not read, only matched",
            "all, as earlier scans have read them" if scan.get("known") else "",
        ),
        ("Scan", text(scan, "uuid")),
    ]
    return [setting for setting in settings if setting[1]]


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else ""


def _table(rows: KeptRows, tally: Tally) -> dict[str, Any]:
    has_customers = tally.has_customers
    # The customer must act; if no customer is known, the file's owner is shown instead.
    without = "uid" if has_customers else "customer"
    return {
        "offered": rows.offered,
        "kept": rows.kept,
        "first": rows.first(),
        "lines": rows.lines(),
        "columns": [column for column in _COLUMNS if column.field != without],
        "has_customers": has_customers,
        "kinds": KINDS,
        "kinds_json": json.dumps(KINDS),
    }
