"""Write a report as an HTML page to read, sort and print; count its records for the charts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from hashscan.model import Verdict
from hashscan.reports.page.advice import exit_words, headline, shortcomings, steps
from hashscan.reports.page.frame import Page, duration, format_bytes, number
from hashscan.reports.page.rows import KINDS, KeptRows, Row, row_of
from hashscan.reports.records import FINDINGS, Record, path_text
from hashscan.reports.report import Report, ReportFormat
from hashscan.timefmt import readable_time

_DISTINCT = 100_000
"""Maximum distinct names that are counted separately; later ones are counted together."""
SHOWN = 12
_PLAIN = 200
"""Number of rows that are shown without JavaScript too."""
_TITLED = 40
"""Maximum characters of the host name in the title; browser tabs cut longer ones."""
_TARGETS = 20
_EXCEPTED = 1000
_FAILS_ON = {"match": "matches", "review": "matches and reviews", "never": "no finding"}


@dataclass(frozen=True, slots=True)
class _Column:
    field: str
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
                if record["type"] == "scan":
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
    end: Record = summary or {}
    counts = verdicts_of(summary, tally)
    standing = tally.further["standing"]
    line = headline(summary, counts, standing)
    host = scan["host"]
    shard = scan.get("shard")
    targets = [path_text(target) for target in scan["targets"]]
    return {
        "title": _title(host, scan["started"]),
        "headline": line,
        "host": host,
        "shard": f"shard {shard['index']} of {shard['count']}" if shard else "",
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
    files = end.get("files")
    seconds = end.get("seconds")
    read = end.get("bytes")
    unchanged = end.get("unchanged")
    doubts = end.get("ctime", {})
    again = sum(doubts.get(name, 0) for name in ("filesystem", "writer"))
    unproven = sum(doubts.get(name, 0) for name in ("unproven", "on_trust"))
    known = [count for count in counts.values() if count is not None]
    facts = [
        ("Files", f"at least {number(sum(known))}" if files is None else number(files)),
        ("Read", "" if read is None else format_bytes(read)),
        ("Unchanged, so not read again", number(unchanged) if unchanged else ""),
        ("Read again by the next scan, whatever their ctime", number(again) if again else ""),
        ("Unchanged only by an unproven ctime", number(unproven) if unproven else ""),
        ("Began", readable_time(scan["started"])),
        ("Ended", readable_time(end.get("ended", ""))),
        ("Took", "" if seconds is None else duration(seconds)),
        ("Exit code", exit_words(summary)),
    ]
    return [fact for fact in facts if fact[1]]


def _conditions(scan: Record, summary: Record | None) -> dict[str, Any]:
    keys = ("entry", "list", "category", "until", "by", "reason")
    return {
        "lists": [
            {
                "name": info["name"],
                "state": info["state"],
                "problem": info.get("problem", ""),
                "version": info["version"],
                "entries": info["entries"],
                "expires": readable_time(info.get("expires", "")),
                "categories": ", ".join(info.get("categories", ())),
            }
            for info in scan["lists"]
        ],
        "excepted": [{key: entry[key] for key in keys} for entry in scan["excepted"][:_EXCEPTED]],
        "excepted_contents": scan.get("excepted_contents", [])[:_EXCEPTED],
        "settings": _settings(scan, summary or {}),
        "version": scan["version"],
    }


def _settings(scan: Record, end: Record) -> list[tuple[str, str]]:
    sandbox = end.get("sandbox") or scan["sandbox"]
    level = sandbox.get("level", "")
    thresholds = scan.get("thresholds", {})
    owners, files = scan["breaker"]["owners"], scan["breaker"]["files"]
    passed = end.get("passed", {})
    settings = [
        ("Sandbox", f"{level} ({sandbox['mode']})" if level else sandbox["mode"]),
        ("Algorithms", ", ".join(scan.get("algorithms", ()))),
        ("Thresholds", ", ".join(f"{name} {most}" for name, most in sorted(thresholds.items()))),
        ("Pictures also compared", ", ".join(scan.get("variants", ()))),
        ("Exit code tells of", _FAILS_ON.get(scan["fail_on"], scan["fail_on"])),
        ("Undecoded pictures make it incomplete", "yes" if scan.get("strict") else ""),
        (
            "Held if one entry hits more than",
            f"{number(owners)} owners or {number(files)} files",
        ),
        ("Passed by", ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in passed.items() if n)),
        (
            "Files not read, only matched",
            "all, as earlier scans have read them" if scan.get("known") else "",
        ),
        ("Scan", scan["uuid"]),
    ]
    return [setting for setting in settings if setting[1]]


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


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart."""

    label: str
    count: int
    share: float
    """Length in percent of the longest bar."""
    tone: str = ""
    """Verdict that sets its colour."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A titled bar chart, which is also a table."""

    title: str
    explained: str
    bars: tuple[Bar, ...]


class Names:
    """Counts of names, in bounded memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.late = 0
        """Count of names that came after the limit of distinct names."""

    def add(self, name: str) -> None:
        if name in self.counts or len(self.counts) < _DISTINCT:
            self.counts[name] += 1
        else:
            self.late += 1

    def chart(self, title: str, explained: str, *, unnamed: str) -> Chart:
        """Return a chart of the most frequent names; the others are one bar; `unnamed` is the empty name."""
        most = self.counts.most_common(SHOWN if len(self.counts) <= SHOWN else SHOWN - 1)
        bars = [(name or unnamed, count) for name, count in most]
        others = self.counts.total() + self.late - sum(count for _, count in bars)
        if others:
            number = len(self.counts) - len(most)
            bars.append((f"{'more than ' if self.late else ''}{number} others", others))
        return Chart(title, explained, _bars(bars))


class Tally:
    """The counts of the records between the first and the last."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.folders: Counter[str] = Counter()
        self.further: Counter[str] = Counter()
        """Records that are not about a file of this scan, by type."""
        self.categories = Names()
        self.customers = Names()
        self.lists = Names()

    def count(self, row: Row) -> None:
        if row.kind not in _VERDICTS:
            self.further[row.kind] += 1
            if row.kind == "folder":
                self.folders[row.why] += 1
            return
        self.verdicts[row.kind] += 1
        if row.kind in FINDINGS:
            self.categories.add(row.category)
            self.customers.add(row.customer)
            self.lists.add(row.list_name)
        elif len(self.reasons) < _DISTINCT:
            self.reasons[row.kind, row.why] += 1

    def charts(self) -> list[Chart]:
        verdicts = [
            (verdict.value, self.verdicts[verdict]) for verdict in Verdict if verdict is not Verdict.CLEAN
        ]
        charts = [
            Chart(
                "Verdicts",
                "files that are not clean",
                _bars([(name, n) for name, n in verdicts if n], toned=True),
            ),
            self.categories.chart("Categories", "findings, by the match that weighs most", unnamed="none"),
            self.customers.chart("Customers", "findings, by who must act", unnamed="no customer known")
            if self.has_customers
            else Chart("Customers", "", ()),
            self.lists.chart("Lists", "findings, by the match that weighs most", unnamed="none"),
            Chart("Reasons", "files and folders not checked in full", _bars(self._reason_counts())),
        ]
        return [chart for chart in charts if chart.bars]

    @property
    def has_customers(self) -> bool:
        return any(self.customers.counts)

    def _reason_counts(self) -> list[tuple[str, int]]:
        counted = [(f"{kind}: {why}" if why else kind, n) for (kind, why), n in self.reasons.items()]
        counted += [(f"folder: {why}" if why else "folder", n) for why, n in self.folders.items()]
        counted.sort(key=lambda pair: -pair[1])
        if len(counted) <= SHOWN:
            return counted
        rest = counted[SHOWN - 1 :]
        return [*counted[: SHOWN - 1], (f"{len(rest)} other reasons", sum(n for _, n in rest))]


_VERDICTS = frozenset(verdict.value for verdict in Verdict)


def _bars(counts: list[tuple[str, int]], *, toned: bool = False) -> tuple[Bar, ...]:
    longest = max((count for _, count in counts), default=0)
    return tuple(
        Bar(name, count, round(100 * count / longest, 2), name if toned else "") for name, count in counts
    )


def verdicts_of(summary: Record | None, tally: Tally) -> dict[str, int | None]:
    """Return the number of files by verdict; without a summary the number of clean files is not known."""
    if summary is None:
        return {
            verdict.value: None if verdict is Verdict.CLEAN else tally.verdicts[verdict]
            for verdict in Verdict
        }
    return {verdict.value: summary["verdicts"].get(verdict, 0) for verdict in Verdict}
