"""Lay out bar charts; `templates/chart.svg` draws them as inline SVG, with colours by CSS class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hashscan.reports.page.text import number


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a chart, in the units of its text size."""

    name: str
    """CSS class by which the page shows the shape that fits the screen."""
    width: int
    height: int


SHAPES = (Shape("broad", 640, 220), Shape("slim", 328, 220))
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

    shape: Shape
    left: float
    """Start of the guides."""
    right: float
    """End of the guides."""
    dense: bool
    """True if the bars are too narrow for gaps."""
    guides: Sequence[Label]
    """Values at the guides, from 0 up."""
    periods: Sequence[Label]
    bars: Sequence[tuple[str, Sequence[Bar]]]
    """CSS class and bars of each series; a bar for each value above 0."""


def lay_out(shape: Shape, labels: Sequence[str], series: Sequence[Series], *, stacked: bool) -> Drawing:
    """Return the places of all bars and labels.

    Args:
        shape: size of the chart.
        labels: labels of the periods, at least one.
        series: from the bottom up if stacked, else from left to right.
        stacked: True to stack the bars of a period.
    """
    steps = guide_values(_highest(series, stacked=stacked))
    base = shape.height - _BOTTOM
    scale = (base - _TOP) / steps[-1]
    label_width = max(map(len, labels)) * _CHARACTER
    # The first and last label extend beyond their bars by up to half their width.
    left = max(label_width / 2, max(len(short(value)) for value in steps) * _CHARACTER + 8)
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
        guides=[Label(short(value), round(left - 5, 2), round(base - value * scale, 2)) for value in steps],
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


def short(value: float) -> str:
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
