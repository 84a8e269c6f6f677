"""Render statistics as one self-contained HTML page, with bar charts as inline SVG and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from hashscan.cases.statistics.counting import Custody, Figures, Outcome, Statistics, Uploads
from hashscan.cases.statistics.periods import Period, Unit
from hashscan.cases.statistics.writer import hours
from hashscan.model import Verdict
from hashscan.reports.page.frame import Page, number
from hashscan.timefmt import format_time


@dataclass(frozen=True, slots=True)
class ChartShape:
    """The size of a chart, in the units of its text size."""

    name: str
    """CSS class by which the page shows the shape that fits the screen."""
    width: int
    height: int


SHAPES = (ChartShape("broad", 640, 220), ChartShape("slim", 328, 220))
"""Each chart is drawn in both shapes: text that is scaled down with a chart can't be read on a phone."""

_CHARACTER = 7.2
"""Width of a digit of the text, with a margin."""
_TOP, _BOTTOM = 8, 28
"""Height of the margins; the labels of the periods are in the lower one."""
_STACKED_PADDING, _GROUPED_PADDING = 0.06, 0.12
"""Space on each side of the bars of a period, as a share of its width."""
_DENSE = 4
"""Width of a bar below which a gap beside it would hide it."""
_STEPS = (1, 2, 5)
_GUIDES = 4


@dataclass(frozen=True, slots=True)
class Series:
    """Bars of one colour."""

    name: str
    tone: str
    """CSS class for the colour."""
    values: Sequence[float | None]
    """One value for each period, or None."""


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a place of the chart."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar and the text that a browser shows under the pointer."""

    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """The places of everything in a chart of one shape."""

    shape: ChartShape
    left: float
    right: float
    dense: bool
    """True if the bars are too narrow for gaps."""
    guides: Sequence[Label]
    """Values at the guides, from 0 up."""
    periods: Sequence[Label]
    bars: Sequence[tuple[str, Sequence[Bar]]]
    """CSS class and bars of each series; a bar for each value above 0."""


def lay_out(shape: ChartShape, labels: Sequence[str], series: Sequence[Series], *, stacked: bool) -> Drawing:
    """Return the places of all bars and labels.

    Args:
        labels: labels of the periods, at least one.
        series: from the bottom up if stacked, else from left to right.
    """
    steps = guide_values(_highest(series, stacked=stacked))
    base = shape.height - _BOTTOM
    scale = (base - _TOP) / steps[-1]
    label_width = max(map(len, labels)) * _CHARACTER
    # The first and last label extend beyond their bars by up to half their width.
    left = max(label_width / 2, max(len(short_number(value)) for value in steps) * _CHARACTER + 8)
    right = shape.width - label_width / 2
    slot = (right - left) / len(labels)
    padding = _STACKED_PADDING if stacked else _GROUPED_PADDING
    width = slot * (1 - 2 * padding) / (1 if stacked else len(series))
    below = [0.0] * len(labels)
    bars = []
    for column, each in enumerate(series):
        drawn = []
        for row, value in enumerate(each.values):
            if value and value > 0:
                x = left + slot * (row + padding) + (0 if stacked else width * column)
                y, height = base - (below[row] + value) * scale, value * scale
                text = f"{labels[row]}, {each.name}: {_exact(value)}"
                drawn.append(Bar(text, *(round(size, 2) for size in (x, y, width, height))))
                below[row] += value if stacked else 0
        bars.append((each.tone, drawn))
    every = math.ceil((label_width + 6) / slot)
    return Drawing(
        shape=shape,
        left=round(left, 2),
        right=round(right, 2),
        dense=width < _DENSE,
        guides=[
            Label(short_number(value), round(left - 5, 2), round(base - value * scale, 2)) for value in steps
        ],
        periods=[
            Label(labels[row], round(left + slot * (row + 0.5), 2), base + 18)
            for row in range(0, len(labels), every)
        ],
        bars=bars,
    )


def guide_values(highest: float) -> Sequence[int]:
    """Return round values from 0 to one that is not below the highest value."""
    step, magnitude = 1, 1
    while True:
        for first in _STEPS:
            step = first * magnitude
            if step * _GUIDES >= highest:
                count = max(1, -(-highest // step))
                return [step * number for number in range(int(count) + 1)]
        magnitude *= 10


def short_number(value: float) -> str:
    """Return a round value in few characters."""
    for size, letter in ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def _exact(value: float) -> str:
    return number(int(value)) if value == int(value) else f"{value:,.10g}"


def _highest(series: Sequence[Series], *, stacked: bool) -> float:
    columns = zip(*(each.values for each in series), strict=True)
    most = sum if stacked else max
    return max((most(value or 0 for value in column) for column in columns), default=0)


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
    description: str
    """The chart in one sentence for screen readers."""
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
UPLOADS = ChartDefinition(
    "uploads",
    "Uploads checked",
    (
        Column("let through", lambda f: f.uploads.checked - f.uploads.refused, "checked"),
        Column("refused", lambda f: f.uploads.refused, "accused"),
        Column("not checked", lambda f: f.uploads.unchecked, "failed"),
        Column("bytes", lambda f: f.uploads.bytes, form="bytes"),
        Column("digests asked about", lambda f: f.uploads.digests),
    ),
)
"""Drawn where uploads are checked."""
FOUND = (
    ChartDefinition(
        "findings",
        "New findings",
        (
            Column("match", lambda f: f.findings[Verdict.MATCH], "accused"),
            Column("held", lambda f: f.findings[Verdict.HELD], "withheld"),
            Column("review", lambda f: f.findings[Verdict.REVIEW], "doubtful"),
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
    """Yield the page in UTF-8, in pieces; `name` is that of the time zone in which the periods begin."""
    first, last = statistics.periods[0][0], statistics.periods[-1][0]
    totals = statistics.totals
    checked = CHECKED if totals.uploads == Uploads() else (*CHECKED, UPLOADS)
    page = Page(_TEMPLATES, "statistics.html", styles=("chart.css", "statistics.css"))
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
        found=Verdict,
        sections=[
            ("checked", "Checked", [_chart(plan, statistics, unit) for plan in checked]),
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
    description = _description(plan, columns, statistics, unit)
    drawn = [lay_out(shape, labels, series, stacked=plan.stacked) for shape in SHAPES]
    return Chart(plan, drawn, description, columns if len(columns) > 1 else ())


def _description(plan: ChartDefinition, columns: Sequence[Column], statistics: Statistics, unit: Unit) -> str:
    """Describe the chart in one sentence for screen readers; the table below it has all numbers."""
    parts: list[str] = []
    for column in columns:
        highest, label = max(
            ((column.value(figures) or 0, period.label) for period, figures in statistics.periods),
            key=lambda pair: pair[0],
        )
        over_all = column.value(statistics.totals) or 0
        part = f"{column.name} {over_all:,g}"
        if over_all and len(statistics.periods) > 1:
            part += f" (most in {label}: {highest:,g})"
        parts.append(part)
    measured = f" in {plan.unit}" if plan.unit else ""
    return f"Bars by {unit}{measured}. Over the whole time: {', '.join(parts)}."


def _shares(counts: Sequence[tuple[str, int]]) -> Sequence[dict[str, Any]]:
    most = max((count for _, count in counts), default=0)
    ordered = sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    return [
        {"label": name, "count": count, "share": round(100 * count / most, 2)}
        for name, count in ordered
        if count
    ]
