"""Statistics on a terminal: tables with bars, in 80 columns, readable without colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from hashscan.cases.statistics.counting import FOUND, Custody, Figures, Outcome, Statistics, Uploads
from hashscan.cases.statistics.periods import Unit
from hashscan.text import human_bytes, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH = 80
"""Smallest width of the output, in columns."""

_MARKS = ("█", "▓", "░")
_PLAIN_MARKS = ("#", "=", ".")
_LABEL = 30
"""Width of the longest label; longer ones are folded."""
_SHORTEST, _LONGEST = 6, 40
"""Limits for the length of the longest bar."""
_BETWEEN = 3
"""Screen columns between two columns of a table."""
_COLOURS = ("red", "yellow", "magenta")

Cells = Sequence[str]
Parts = Sequence[int]


def show_statistics(statistics: Statistics, unit: Unit, zone: str, stream: TextIO) -> None:
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    # In fewer columns numbers would be left out, so on a narrower terminal lines are wrapped.
    console.width = max(WIDTH, console.width) if stream.isatty() else WIDTH
    first, last = statistics.periods[0][0], statistics.periods[-1][0]
    span = first.label if first is last else f"{first.label} to {last.label}"
    over = ", not over yet" if last.end > statistics.now else ""
    console.print(f"Checks and detections by {unit.value}, {span}{over} ({printable(zone)})", markup=False)
    _table(
        console,
        "Checked",
        (unit.value, "complete", "incomplete", "failed", "files", "read"),
        statistics,
        lambda f: (*(_count(f.scans[result]) for result in Outcome), _count(f.files), human_bytes(f.bytes)),
        ("files",),
        lambda f: (f.files,),
    )
    if statistics.totals.uploads != Uploads():
        _table(
            console,
            "Uploads checked",
            (unit.value, "checked", "refused", "unchecked", "read", "digests"),
            statistics,
            lambda f: (
                *map(_count, (f.uploads.checked, f.uploads.refused, f.uploads.unchecked)),
                human_bytes(f.uploads.bytes),
                _count(f.uploads.digests),
            ),
            ("checked",),
            lambda f: (f.uploads.checked,),
        )
    verdicts = tuple(verdict.value for verdict in FOUND)
    _table(
        console,
        "New findings",
        (unit.value, *verdicts, "notices"),
        statistics,
        lambda f: (*(_count(f.findings[verdict]) for verdict in FOUND), _count(f.notices)),
        verdicts,
        lambda f: tuple(f.findings[verdict] for verdict in FOUND),
    )
    _names(console, "list", statistics.lists, statistics.totals.lists)
    _names(console, "category", statistics.categories, statistics.totals.categories)
    if statistics.totals.removal.cases:
        _removed(console, statistics, unit)
    if statistics.totals.custody.total():
        _table(
            console,
            "Quarantine",
            (unit.value, *(event.value for event in Custody)),
            statistics,
            lambda f: tuple(_count(f.custody[event]) for event in Custody),
        )


def _removed(console: Console, statistics: Statistics, unit: Unit) -> None:
    _table(
        console,
        "Time until removal, by when cases began",
        (unit.value, "cases", "in time", "late", "overdue", "open", "closed", "median", "90 %"),
        statistics,
        lambda f: (
            _count(f.removal.cases),
            _count(f.removal.within),
            _count(f.removal.removed - f.removal.within),
            _count(f.removal.overdue),
            _count(f.removal.open - f.removal.overdue),
            _count(f.removal.otherwise),
            _hours(f.removal.median),
            _hours(f.removal.ninth_tenth),
        ),
    )
    share = statistics.totals.removal.share
    if share is not None:
        console.print(f"{100 * share:.0f} % of the cases that were due were removed in time", markup=False)


def _table(
    console: Console,
    title: str,
    columns: Cells,
    statistics: Statistics,
    cells: Callable[[Figures], Cells],
    legend: Cells = (),
    parts: Callable[[Figures], Parts] | None = None,
) -> None:
    """Draw a row for each period and one for the total; if there are parts, with a bar for each period."""
    rows = [(period.label, cells(figures)) for period, figures in statistics.periods]
    rows.append(("in all", cells(statistics.totals)))
    bars = [] if parts is None else [parts(figures) for _, figures in statistics.periods]
    _draw(console, title, columns, rows, bars, legend, total=True)


def _names(console: Console, kind: str, names: Cells, counts: dict[str, int]) -> None:
    """Draw the matches of each list, or of each category, the most frequent first."""
    ordered = sorted(names, key=lambda name: (-counts[name], name))
    rows = [(printable(name), (_count(counts[name]),)) for name in ordered]
    if rows:
        bars = [(counts[name],) for name in ordered]
        _draw(console, f"Matches by {kind}", (kind, "matches"), rows, bars, ("matches",), total=False)


def _draw(
    console: Console,
    title: str,
    columns: Cells,
    rows: Sequence[tuple[str, Cells]],
    bars: Sequence[Parts],
    legend: Cells,
    *,
    total: bool,
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    plain = console.options.ascii_only
    table = Table(
        box=None if plain else SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    first = min(_LABEL, max(len(label) for label, _ in [(columns[0], ()), *rows]))
    table.add_column(columns[0], overflow="fold", min_width=first, max_width=_LABEL)
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    marks = _PLAIN_MARKS if plain else _MARKS
    cells = [columns[1:], *(row for _, row in rows)]
    taken = first + sum(max(len(row[place]) for row in cells) for place in range(len(columns) - 1))
    room = min(_LONGEST, console.width - taken - _BETWEEN * len(columns))
    if room < _SHORTEST:
        bars = ()
    head = Text(title, style="bold")
    if bars:
        table.add_column(no_wrap=True, overflow="crop")
        if len(legend) > 1:
            keys = (f"{mark} {name}" for mark, name in zip(marks, legend, strict=False))
            head.append(f"   {'  '.join(keys)}", style="not bold")
    most = max((sum(parts) for parts in bars), default=0)
    for number, (label, row) in enumerate(rows):
        if total and number == len(rows) - 1:
            table.add_section()
        drawn = [_bar(bars[number], most, room, marks)] if number < len(bars) else []
        table.add_row(Text(label), *(Text(cell) for cell in row), *drawn)
    console.print()
    console.print(head)
    console.print(table)


def _bar(parts: Parts, most: int, room: int, marks: Cells) -> Text:
    """Return a bar of marks; each part above 0 has one, so that one finding is seen among thousands."""
    from rich.text import Text

    bar = Text()
    for part, mark, colour in zip(parts, marks, _COLOURS, strict=False):
        if part:
            bar.append(mark * max(1, round(part * room / most)), style=colour if len(parts) > 1 else "blue")
    bar.truncate(room)
    return bar


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ") if number < 10**13 else f"{number:.3g}"


def _hours(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 3600:.1f} h"
