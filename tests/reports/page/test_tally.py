"""Counts for the charts."""

from __future__ import annotations

from collections import Counter

import pytest

from hashscan.reports.page import html
from hashscan.reports.page.html import Names, Tally, verdicts_of
from hashscan.reports.page.rows import row_of
from tests.reports.documents import finding, unreadable


def counted(*names: str) -> Names:
    found = Names()
    for name in names:
        found.add(name)
    return found


def test_few_names_have_a_bar_each() -> None:
    chart = counted("b", "a", "b", "").chart("T", "e", unnamed="nobody")
    assert [(bar.label, bar.count, bar.share) for bar in chart.bars] == [
        ("b", 2, 100.0),
        ("a", 1, 50.0),
        ("nobody", 1, 50.0),
    ]


def test_of_many_names_the_others_are_one_bar() -> None:
    names = [f"n{number}" for number in range(40) for _ in range(number + 1)]
    bars = counted(*names).chart("T", "e", unnamed="").bars
    assert len(bars) == html.SHOWN
    assert bars[0].label == "n39"
    assert bars[-1].label == "29 others"
    assert sum(bar.count for bar in bars) == len(names)


def test_names_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "_DISTINCT", 3)
    found = counted("a", "b", "c", "d", "e", "a")
    assert found.counts == Counter({"a": 2, "b": 1, "c": 1})
    bars = found.chart("T", "e", unnamed="").bars
    assert (bars[-1].label, bars[-1].count) == ("more than 0 others", 2)
    assert sum(bar.count for bar in bars) == 6


def test_charts_that_have_nothing_are_left_out() -> None:
    made = Tally()
    assert made.charts() == []
    for record in (finding(b"/a"), finding(b"/b", "review"), unreadable(b"/c")):
        row = row_of(record, "", lambda _: "")
        assert row is not None
        made.count(row)
    assert [chart.title for chart in made.charts()] == ["Verdicts", "Categories", "Lists", "Reasons"]


def test_nobody_knows_what_is_clean_without_a_summary() -> None:
    assert verdicts_of(None, Tally())["clean"] is None
    assert verdicts_of({"verdicts": {"clean": 4}}, Tally())["clean"] == 4
