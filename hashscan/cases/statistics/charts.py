"""Draw bar charts as inline SVG: no scripts, styles or URLs; colours by CSS class."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from hashscan.errors import UsageError


class MissingChartsError(UsageError):
    """An error for the missing library that draws charts."""

    advice = "Install it with `pip install hashscan[charts]`, or ask for --format terminal, csv or json."


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a chart, in the units of its text size."""

    name: str
    """CSS class by which the page shows the shape that fits the screen."""
    width: int
    height: int


SHAPES = (Shape("broad", 640, 220), Shape("slim", 328, 220))
"""Each chart is drawn in both shapes: text that is scaled down with a chart can't be read on a phone."""

_TEXT = 12
_CHARACTER = 7.2
"""Width of a digit at that size, with a margin."""
_BESIDE = 40
"""Width of the space for the guides' values."""
_STEPS = (1, 2, 5)
_GUIDES = 4
_DRAWN = {
    "g": ("class", "transform"),
    "rect": ("class", "x", "y", "width", "height"),
    "path": ("class", "d"),
    "text": ("class", "x", "y"),
}
"""The SVG elements and attributes that are taken from the library's output."""


@dataclass(frozen=True, slots=True)
class Series:
    """Bars of one colour."""

    name: str
    tone: str
    """CSS class for the colour."""
    values: Sequence[float | None]
    """One value for each period, or None."""


def draw(
    shape: Shape, labels: Sequence[str], series: Sequence[Series], words: str, *, stacked: bool
) -> Markup:
    """Draw a chart.

    Args:
        shape: its size.
        labels: labels of the periods.
        series: from the bottom up if stacked, else from left to right.
        words: a description for screen readers.
        stacked: True to stack the bars of a period.

    Raises:
        MissingChartsError: the library is not installed.
    """
    pygal = _library()
    guides = guide_values(_highest(series, stacked=stacked))
    kind = pygal.StackedBar if stacked else pygal.Bar
    length = max(len(label) for label in labels)
    every = _every(shape, len(labels), length)
    # The first and last label extend beyond their bars by half their length.
    half = int(length * _CHARACTER / 2)
    chart: Any = kind(
        js=(),
        css=(),
        width=shape.width,
        height=shape.height,
        margin=4,
        margin_left=max(4, half - 28),
        margin_right=half,
        spacing=8,
        show_legend=False,
        x_labels=list(labels),
        x_labels_major_every=every,
        show_minor_x_labels=every == 1,
        truncate_label=-1,
        formatter=lambda value: f"{value:,.10g}".replace(",", "\N{NARROW NO-BREAK SPACE}"),
        y_labels=[{"value": value, "label": short(value)} for value in guides],
        range=(0, guides[-1]),
        style=pygal.style.Style(font_family="sans-serif", label_font_size=_TEXT, major_label_font_size=_TEXT),
    )
    for each in series:
        chart.add(each.name, list(each.values))
    tones = {f"serie-{number}": each.tone for number, each in enumerate(series)}
    names = {f"serie-{number}": each.name for number, each in enumerate(series)}
    graph = next(child for child in chart.render_tree() if "graph" in str(child.get("class")))
    drawn = Markup("").join(_filtered_svg(graph, tones, names, ""))
    return Markup('<svg class="plotted {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        shape.name, shape.width, shape.height, words, drawn
    )


def _library() -> Any:
    before = list(sys.meta_path)
    try:
        import pygal
    except ImportError:
        raise MissingChartsError("charts are drawn by pygal, which is not installed") from None
    # The library searches for plug-ins in a deprecated way, which causes a warning at every later import.
    sys.meta_path[:] = before
    return pygal


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


def _highest(series: Sequence[Series], *, stacked: bool) -> float:
    columns = zip(*(each.values for each in series), strict=True)
    most = sum if stacked else max
    return max((most(value or 0 for value in column) for column in columns), default=0)


def _every(shape: Shape, count: int, length: int) -> int:
    """Return the number of periods per label, so that labels don't overlap."""
    room = (shape.width - length * _CHARACTER - _BESIDE) / count
    return math.ceil((length * _CHARACTER + 6) / room)


def _filtered_svg(node: Any, tones: dict[str, str], names: dict[str, str], name: str) -> Iterator[Markup]:
    """Yield an SVG node and its children, limited to known elements and attributes."""
    kind = str(node.tag).rpartition("}")[2]
    classes = str(node.get("class") or "").split()
    if kind not in _DRAWN or "background" in classes or any(c.endswith("overlay") for c in classes):
        return
    for mark in tones.keys() & set(classes):
        classes.append(tones[mark])
        name = names[mark]
    if "bar" in classes:
        yield from _bar(node, name)
        return
    given = {key: str(node.get(key)) for key in _DRAWN[kind] if node.get(key)}
    if classes:
        given["class"] = " ".join(classes)
    attributes = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in given.items())
    inner = Markup("").join(part for child in node for part in _filtered_svg(child, tones, names, name))
    yield Markup("<{0}{1}>{2}{3}</{0}>").format(kind, attributes, (node.text or "").strip(), inner)


def _bar(node: Any, name: str) -> Iterator[Markup]:
    """Yield a bar, with a title that the browser shows under the pointer."""
    (rect,) = (child for child in node if str(child.tag).rpartition("}")[2] == "rect")
    if float(rect.get("height")) <= 0:
        return
    said = {str(child.get("class")): str(child.text) for child in node if child is not rect}
    sizes = Markup(" ").join(
        Markup('{}="{}"').format(key, round(float(rect.get(key)), 2)) for key in ("x", "y", "width", "height")
    )
    words = f"{said['x_label']}, {name}: {said['value']}"
    yield Markup("<rect {}><title>{}</title></rect>").format(sizes, words)
