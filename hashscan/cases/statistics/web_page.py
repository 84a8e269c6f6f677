"""Render statistics as one self-contained HTML page, with charts and tables of their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from hashscan.cases.statistics.charts import SHAPES, Drawing, Series, lay_out
from hashscan.cases.statistics.counting import Figures, Statistics
from hashscan.cases.statistics.events import Custody, FindingVerdict, Outcome
from hashscan.cases.statistics.periods import Period, Unit
from hashscan.cases.statistics.writer import hours
from hashscan.reports.page.frame import Page
from hashscan.reports.page.text import number
from hashscan.timefmt import format_time

_TEMPLATES = Path(__file__).parent / "templates"

Value = Callable[[Figures], float | None]


@dataclass(frozen=True, slots=True)
class Column:
    """A number of each period."""

    name: str
    value: Value
    tone: str = ""
    """CSS class for the colour of its bars; a column without one is not drawn."""
    form: str = "number"
    """Number format: `number`, `bytes`, `hours` or `share`."""


@dataclass(frozen=True, slots=True)
class ChartDefinition:
    """The definition of a chart."""

    name: str
    title: str
    columns: Sequence[Column]
    stacked: bool = True
    unit: str = ""
    """Unit of the bars, if they are not counts."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its numbers."""

    plan: ChartDefinition
    drawn: Sequence[Drawing]
    """The chart in each shape; empty if there are no values."""
    words: str
    legend: Sequence[Column]


CHECKED = (
    ChartDefinition(
        "files",
        "Files checked",
        (
            Column("files", lambda f: f.files, "checked"),
            Column("bytes read", lambda f: f.bytes, form="bytes"),
        ),
    ),
    ChartDefinition(
        "scans",
        "Scans",
        (
            Column("complete", lambda f: f.scans[Outcome.COMPLETE], "complete"),
            Column("incomplete", lambda f: f.scans[Outcome.INCOMPLETE], "incomplete"),
            Column("failed", lambda f: f.scans[Outcome.FAILED], "failed"),
        ),
    ),
)
FOUND = (
    ChartDefinition(
        "findings",
        "New findings",
        (
            Column("match", lambda f: f.findings[FindingVerdict.MATCH], "accused"),
            Column("held", lambda f: f.findings[FindingVerdict.HELD], "withheld"),
            Column("review", lambda f: f.findings[FindingVerdict.REVIEW], "doubtful"),
        ),
    ),
    ChartDefinition("notices", "Notices received", (Column("notices", lambda f: f.notices, "noticed"),)),
)
REMOVED = (
    ChartDefinition(
        "removal",
        "What became of cases, by when they began",
        (
            Column("removed in time", lambda f: f.removal.within, "complete"),
            Column("removed late", lambda f: f.removal.removed - f.removal.within, "incomplete"),
            Column("overdue", lambda f: f.removal.overdue, "failed"),
            Column("open, with time left", lambda f: f.removal.open - f.removal.overdue, "waiting"),
            Column("closed without removal", lambda f: f.removal.otherwise, "otherwise"),
            Column("in time", lambda f: f.removal.share, form="share"),
        ),
    ),
    ChartDefinition(
        "hours",
        "Hours until removal, by when cases began",
        (
            Column("median", lambda f: hours(f.removal.median), "checked", "hours"),
            Column("nine of ten within", lambda f: hours(f.removal.ninth_tenth), "slowest", "hours"),
        ),
        stacked=False,
        unit="hours",
    ),
)
EVIDENCE = (
    ChartDefinition(
        "custody",
        "Quarantine",
        (
            Column("moved there", lambda f: f.custody[Custody.QUARANTINED], "checked"),
            Column("restored", lambda f: f.custody[Custody.RESTORED], "complete"),
            Column("destroyed or handed over", lambda f: f.custody[Custody.RELEASED], "otherwise"),
        ),
        stacked=False,
    ),
)
"""Charts of the sections of the page."""


def html_parts(statistics: Statistics, unit: Unit, zone: tzinfo, name: str) -> Iterator[bytes]:
    """Yield the page in UTF-8, in pieces.

    Args:
        statistics: the numbers.
        unit: length of the periods.
        zone: time zone in which they begin.
        name: name of the zone.
    """
    first, last = statistics.periods[0][0], statistics.periods[-1][0]
    totals = statistics.totals
    page = Page(_TEMPLATES, "statistics.html", styles=("statistics.css",))
    return page.parts(
        title="hashscan: checks and detections",
        span=_span(first, last, zone),
        made=format_time(statistics.now),
        zone=name,
        unit=unit.value,
        periods=[(label, figures) for label, figures in _labelled(statistics)],
        totals=totals,
        files=_in_words(totals.files),
        unfinished=[period.label for period, _ in statistics.periods if period.end > statistics.now],
        found=FindingVerdict,
        sections=[
            ("checked", "Checked", [_chart(plan, statistics, unit) for plan in CHECKED]),
            ("found", "Found", [_chart(plan, statistics, unit) for plan in FOUND]),
            ("removed", "Removed", [_chart(plan, statistics, unit) for plan in REMOVED]),
            ("evidence", "Kept as evidence", [_chart(plan, statistics, unit) for plan in EVIDENCE]),
        ],
        shares=[
            ("By list", _shares([(name, totals.lists[name]) for name in statistics.lists])),
            ("By category", _shares([(name, totals.categories[name]) for name in statistics.categories])),
        ],
        median=totals.removal.median,
    )


def _span(first: Period, last: Period, zone: tzinfo) -> tuple[str, str]:
    """Return the first and last day as text."""
    days = (datetime.fromtimestamp(moment, zone) for moment in (first.begin, last.end - 1))
    begin, end = (f"{day.day} {day:%B} {day.year}" for day in days)
    return begin, end


def _in_words(count: int) -> str:
    """Return a count that fits a tile, such as `12 million`."""
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if count >= 10 * size or (size > 10**6 and count >= size):
            return f"{count / size:,.3g} {word}"
    return number(count)


def _labelled(statistics: Statistics) -> Iterator[tuple[tuple[str, str], Figures]]:
    """Yield the label of each period with a remark if needed, and its numbers."""
    for period, figures in statistics.periods:
        remark = "so far" if period.end > statistics.now else "" if period.whole else "in part"
        yield (period.label, remark), figures


def _chart(plan: ChartDefinition, statistics: Statistics, unit: Unit) -> Chart:
    labels = [period.label for period, _ in statistics.periods]
    columns = [column for column in plan.columns if column.tone]
    series = [
        Series(column.name, column.tone, [column.value(figures) for _, figures in statistics.periods])
        for column in columns
    ]
    if not any(value for each in series for value in each.values):
        return Chart(plan, (), "", ())
    words = _words(plan, columns, statistics, unit)
    drawn = [lay_out(shape, labels, series, stacked=plan.stacked) for shape in SHAPES]
    return Chart(plan, drawn, words, columns if len(columns) > 1 else ())


def _words(plan: ChartDefinition, columns: Sequence[Column], statistics: Statistics, unit: Unit) -> str:
    """Describe the chart in one sentence for screen readers; the table below it has all numbers."""
    said: list[str] = []
    for column in columns:
        highest, label = max(
            ((column.value(figures) or 0, period.label) for period, figures in statistics.periods),
            key=lambda pair: pair[0],
        )
        over_all = column.value(statistics.totals) or 0
        part = f"{column.name} {over_all:,g}"
        if over_all and len(statistics.periods) > 1:
            part += f" (most in {label}: {highest:,g})"
        said.append(part)
    measured = f" in {plan.unit}" if plan.unit else ""
    return f"Bars by {unit}{measured}. Over the whole time: {', '.join(said)}."


def _shares(counts: Sequence[tuple[str, int]]) -> Sequence[dict[str, Any]]:
    most = max((count for _, count in counts), default=0)
    ordered = sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    return [
        {"label": name, "count": count, "share": round(100 * count / most, 2)}
        for name, count in ordered
        if count
    ]
