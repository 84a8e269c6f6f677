"""Charts: what is in them and what is not, and that labels have room."""

from __future__ import annotations

import itertools
import re
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.cases.statistics.charts import (
    SHAPES,
    MissingChartsError,
    Series,
    draw,
    guide_values,
    short,
)

HOSTILE = '</svg><script>alert(1)</script><img src=x onerror="alert(2)">&amp;'
ALLOWED = {"svg", "g", "rect", "path", "text", "title"}


def drawn(labels: list[str], series: list[Series], *, stacked: bool = True) -> list[ET.Element]:
    return [ET.fromstring(str(draw(shape, labels, series, "words", stacked=stacked))) for shape in SHAPES]


@pytest.mark.parametrize("stacked", [True, False])
def test_there_are_bars_and_guides_and_nothing_that_could_act(stacked: bool) -> None:
    series = [Series(HOSTILE, "match", [1, 2]), Series("held", "held", [None, 3])]
    for shape in SHAPES:
        text = str(draw(shape, [HOSTILE, "2026-02"], series, HOSTILE, stacked=stacked))
        root = ET.fromstring(text)
        assert {node.tag for node in root.iter()} <= ALLOWED
        attributes = {key for node in root.iter() for key in node.attrib}
        assert attributes <= {
            "class",
            "viewBox",
            "role",
            "aria-label",
            "transform",
            "x",
            "y",
            "width",
            "height",
            "d",
        }
        assert not re.search(r"https?:|pygal|style|<script", text)
        assert root.attrib["aria-label"] == HOSTILE


def test_heights_are_as_the_values_and_zeros_have_no_bar() -> None:
    for root in drawn(["a", "b", "c"], [Series("match", "match", [2, 0, 4])]):
        bars = {bar[0].text: float(bar.attrib["height"]) for bar in root.iter("rect")}
        assert set(bars) == {"a, match: 2", "c, match: 4"}
        assert bars["c, match: 4"] == pytest.approx(2 * bars["a, match: 2"], rel=0.01)


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
    assert all(len(short(value)) <= 7 for value in values)


@settings(max_examples=25)
@given(st.integers(1, 400), st.sampled_from([7, 8, 10]))
def test_labels_do_not_touch(count: int, length: int) -> None:
    labels = [f"{number:0{length}}" for number in range(count)]
    for shape, root in zip(SHAPES, drawn(labels, [Series("x", "x", [1.0] * count)]), strict=True):
        axis = next(group for group in root.iter("g") if group.attrib.get("class") == "axis x")
        places = sorted(float(text.attrib["x"]) for text in axis.iter("text"))
        assert places, shape
        width = 6.7 * length
        assert all(after - before >= width for before, after in itertools.pairwise(places))


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)
    with pytest.raises(MissingChartsError) as caught:
        draw(SHAPES[0], ["a"], [Series("x", "x", [1])], "", stacked=True)
    assert "hashscan[charts]" in caught.value.remedy
