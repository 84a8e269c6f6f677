"""Charts: what is in them and what is not, and that labels have room."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.cases.statistics import web_page
from hashscan.cases.statistics.web_page import SHAPES, Series, guide_values, lay_out, short_number
from hashscan.reports.page.frame import Page
from tests.examples import examples

HOSTILE = '</svg><script>alert(1)</script><img src=x onerror="alert(2)">&amp;'
ELEMENTS = {"svg", "desc", "g", "rect", "path", "text", "title"}
ATTRIBUTES = {
    *("class", "viewBox", "role", "id", "aria-labelledby", "aria-describedby"),
    *("x", "y", "width", "height", "d"),
}


def drawn(
    labels: list[str], series: list[Series], words: str = "words", *, stacked: bool = True
) -> list[ET.Element]:
    page = Page(Path(web_page.__file__).parent / "templates", "chart.svg")
    drawings = [lay_out(shape, labels, series, stacked=stacked) for shape in SHAPES]
    return [
        ET.fromstring(b"".join(page.parts(title="", drawing=drawing, title_id="heading", words=words)))
        for drawing in drawings
    ]


@pytest.mark.parametrize("stacked", [True, False])
def test_there_are_bars_and_guides_and_nothing_that_could_act(stacked: bool) -> None:
    series = [Series(HOSTILE, HOSTILE, [1, 2]), Series("held", "held", [None, 3])]
    for root in drawn([HOSTILE, "2026-02"], series, HOSTILE, stacked=stacked):
        assert {node.tag for node in root.iter()} == ELEMENTS
        assert {key for node in root.iter() for key in node.attrib} == ATTRIBUTES
        assert len(list(root.iter("rect"))) == 3


def test_a_chart_has_the_name_of_its_heading_and_a_description_of_its_own() -> None:
    roots = drawn(["a"], [Series("one", "red", [2])], HOSTILE)
    for root in roots:
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-labelledby"] == "heading"
        description = root.find("desc")
        assert description is not None
        assert description.attrib["id"] == root.attrib["aria-describedby"]
        assert description.text == HOSTILE
    assert len({root.attrib["aria-describedby"] for root in roots}) == len(SHAPES)


def test_heights_are_as_the_values_and_zeros_have_no_bar() -> None:
    for root in drawn(["a", "b", "c"], [Series("match", "match", [2, 0, 4])]):
        bars = {bar[0].text: float(bar.attrib["height"]) for bar in root.iter("rect")}
        assert set(bars) == {"a, match: 2", "c, match: 4"}
        assert bars["c, match: 4"] == pytest.approx(2 * bars["a, match: 2"], rel=0.01)


@settings(max_examples=examples(25))
@given(
    st.lists(st.tuples(*[st.one_of(st.none(), st.floats(0, 1e15))] * 3), min_size=1, max_size=400),
    st.booleans(),
)
def test_bars_lie_between_the_guides_and_over_or_beside_each_other(
    rows: list[tuple[float | None, ...]], stacked: bool
) -> None:
    labels = [f"{number:07}" for number in range(len(rows))]
    series = [
        Series(name, name, list(values)) for name, values in zip("abc", zip(*rows, strict=True), strict=True)
    ]
    for shape in SHAPES:
        drawing = lay_out(shape, labels, series, stacked=stacked)
        top, base = drawing.guides[-1].y, drawing.guides[0].y
        bars = [bar for _, each in drawing.bars for bar in each]
        assert len(bars) == sum(value is not None and value > 0 for row in rows for value in row)
        for bar in bars:
            assert drawing.left <= bar.x <= bar.x + bar.width <= drawing.right + 0.01
            assert top - 0.02 <= bar.y <= bar.y + bar.height <= base + 0.02
        bars.sort(key=lambda bar: bar.text)
        for _, group in itertools.groupby(bars, lambda bar: bar.text.split(",")[0]):
            for one, other in itertools.pairwise(group):
                if stacked:
                    assert other.y + other.height == pytest.approx(one.y, abs=0.02)
                else:
                    assert one.x + one.width <= other.x + 0.02


def test_many_narrow_bars_have_no_gap_that_would_hide_them() -> None:
    for count, dense in ((12, False), (400, True)):
        for root in drawn([f"{number:07}" for number in range(count)], [Series("x", "x", [1] * count)]):
            assert ("dense" in root.attrib["class"].split()) is dense


def test_bars_have_the_colour_of_their_series() -> None:
    for root in drawn(["a"], [Series("one", "red", [2]), Series("two", "blue", [3])], stacked=False):
        groups = [group for group in root.iter("g") if "series" in group.attrib.get("class", "").split()]
        assert [group.attrib["class"].split()[-1] for group in groups] == ["red", "blue"]


@given(st.floats(0, 1e16))
def test_guides_are_few_round_and_reach_the_highest(highest: float) -> None:
    values = guide_values(highest)
    assert values[0] == 0
    assert values[-1] >= highest
    assert 2 <= len(values) <= 5
    assert len({after - before for before, after in itertools.pairwise(values)}) == 1
    assert str(values[1]).rstrip("0") in {"1", "2", "5"}
    assert all(len(short_number(value)) <= 7 for value in values)


@settings(max_examples=examples(25))
@given(st.integers(1, 400), st.sampled_from([7, 8, 10]))
def test_labels_do_not_touch(count: int, length: int) -> None:
    labels = [f"{number:0{length}}" for number in range(count)]
    for shape, root in zip(SHAPES, drawn(labels, [Series("x", "x", [1.0] * count)]), strict=True):
        places = [float(t.attrib["x"]) for t in root.iter("text") if t.attrib["class"] == "period"]
        assert places, shape
        width = 6.7 * length
        assert all(after - before >= width for before, after in itertools.pairwise(places))
