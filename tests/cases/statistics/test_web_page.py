"""The page: all numbers are on it, nothing on it can act, and others' checkers have nothing against it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from hashscan.cases.statistics.counting import Statistics
from hashscan.cases.statistics.periods import Unit
from hashscan.cases.statistics.web_page import html_parts
from tests.browser import CONTRAST, LAYOUT, barriers, chromium, faults, opened
from tests.cases.statistics.made import NOTHING, counted, few, year

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m"


def written(statistics: Statistics, unit: Unit = Unit.MONTH) -> str:
    return b"".join(html_parts(statistics, unit, UTC, "UTC")).decode()


def all_kinds() -> dict[str, tuple[Statistics, Unit]]:
    return {
        "none": (counted(NOTHING), Unit.MONTH),
        "few": (counted(few(), Unit.WEEK, days=11), Unit.WEEK),
        "year": (counted(year()), Unit.MONTH),
        "weeks": (counted(year(), Unit.WEEK), Unit.WEEK),
        "days": (counted(year(), Unit.DAY, days=90), Unit.DAY),
    }


def plain(cell: str) -> str:
    return re.sub(r"<[^>]*>|[\u202f\xa0 ]", "", cell)


def test_each_period_has_its_numbers_in_a_table() -> None:
    made = counted(year())
    text = written(made)
    table = text[text.index('id="findings"') :]
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", table[: table.index("</table>")])
    shown = {
        plain(label): [plain(c) for c in re.findall("<td.*?>(.*?)</td>", cells)] for label, cells in rows
    }
    assert shown == {
        **{p.label: [str(f.findings[v]) for v in ("match", "held", "review")] for p, f in made.periods},
        "inall": [str(made.totals.findings[v]) for v in ("match", "held", "review")],
    }


def test_where_no_scan_was_the_page_says_so() -> None:
    assert "No scan in this time" in written(counted(NOTHING))
    assert "No scan in this time" not in written(counted(few()))


def test_names_of_lists_can_do_nothing() -> None:
    text = written(counted(few(HOSTILE)))
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize("kind", ["none", "few", "year", "weeks", "days"])
def test_it_names_no_address_and_has_no_style_or_handler(kind: str) -> None:
    text = written(*all_kinds()[kind])
    assert not re.search(r"https?:|<link|<img|<script| style=| on[a-z]+=|url\(|@import", text)
    assert "script-src 'none'" in text.replace("&#39;", "'")


@pytest.mark.integration
def test_a_validator_finds_no_fault(tmp_path: Path) -> None:
    (tmp_path / "few.html").write_text(written(*all_kinds()["few"]))
    assert faults(tmp_path / "few.html") == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "few", "year", "days"])
def test_on_any_screen_nothing_is_cut_or_keeps_people_out(browser: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.html"
    path.write_text(written(*all_kinds()[kind]))
    assert faults(path) == []
    # Colours alone depend on the scheme.
    for scheme, widths in (("light", (320, 768, 1440)), ("dark", (320,))):
        with opened(browser, path, color_scheme=scheme) as page:
            for folded in (True, False):
                for width in widths:
                    page.set_viewport_size({"width": width, "height": 900})
                    assert page.evaluate(LAYOUT) == [], (width, scheme, folded)
                    drawn = page.evaluate(
                        "[...document.querySelectorAll('svg.plotted')].map(s => s.getClientRects().length)"
                    )
                    assert sum(drawn) * 2 == len(drawn), "each chart is there once of two"
                if folded:
                    assert barriers(page, CONTRAST if scheme == "dark" else ()) == [], scheme
                    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")


@pytest.mark.slow
def test_on_paper_the_numbers_are_there(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "year.html"
    path.write_text(written(*all_kinds()["year"]))
    with opened(browser, path) as page:
        page.emulate_media(media="print")
        heights = "[...document.querySelectorAll('details table')].map(t => t.getBoundingClientRect().height)"
        assert min(page.evaluate(heights)) > 50
        # As wide as A4 between its margins.
        page.set_viewport_size({"width": 680, "height": 1000})
        assert page.evaluate(LAYOUT) == []
        assert page.pdf(format="A4")[:5] == b"%PDF-"
