"""The tests' searches of pages find the elements that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import LAYOUT, barriers, chromium, modules, opened

SOUND = "<!DOCTYPE html><html lang=en><title>T</title><main><h1>One</h1><p>two <b>three</b></main>"
LAYOUTS = {
    "scrolls sideways": '<div style="width: 5000px">wide</div>',
    "outside the window": '<div style="margin-left: -50px">left</div>',
    "lies over": '<p>under</p><p style="margin-top: -2.2em">over</p>',
    "cut off": '<div style="overflow: hidden; height: 1em; font: 20px/2 serif">some<br>more</div>',
}


@pytest.mark.slow
def test_what_is_cut_or_overlaps_is_found(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with chromium() as browser:
        path.write_text(SOUND)
        with opened(browser, path) as page:
            assert page.evaluate(LAYOUT) == []
        for expected, markup in LAYOUTS.items():
            path.write_text(SOUND + markup)
            with opened(browser, path) as page:
                assert any(expected in fault for fault in page.evaluate(LAYOUT)), expected


@pytest.mark.slow
def test_a_page_that_acts_is_found(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with chromium() as browser:
        for script in (
            "alert(1)",
            "console.log('c')",
            "new Image().src = 'http://127.0.0.1:9/a'",
            "throw Error('e')",
        ):
            path.write_text(f"{SOUND}<script>{script}</script>")
            with pytest.raises(AssertionError), opened(browser, path):
                pass


@pytest.mark.slow
def test_what_keeps_people_out_is_found(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(SOUND + "<input>")
    modules()
    with chromium() as browser, opened(browser, path) as page:
        assert any("label" in fault for fault in barriers(page))
