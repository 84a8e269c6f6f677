"""What the tests look for in pages is found where it is."""

from __future__ import annotations

from pathlib import Path

from tests.browser import Watched, accessibility_faults, chromium, layout_faults, needs_axe, needs_chromium

SOUND = "<!DOCTYPE html><html lang=en><title>T</title><main><h1>One</h1><p>two <b>three</b></main>"
LAYOUTS = {
    "the page is": '<div style="width: 5000px">wide</div>',
    "outside the window": '<div style="margin-left: -50px">left</div>',
    "lies over": '<p>under</p><p style="margin-top: -2.2em">over</p>',
    "cut off": '<div style="overflow: hidden; height: 1em; font: 20px/2 serif">some<br>more</div>',
}

pytestmark = needs_chromium


def test_faults_are_found(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with chromium() as browser:
        path.write_text(SOUND)
        with Watched(browser, path) as watched:
            assert layout_faults(watched.page) == []
            assert watched.misdeeds == []
        for words, markup in LAYOUTS.items():
            path.write_text(SOUND + markup)
            with Watched(browser, path) as watched:
                assert any(words in fault for fault in layout_faults(watched.page)), words
        path.write_text(
            SOUND + "<script>alert(1); console.log('c'); open('about:blank');"
            " new Image().src = 'http://127.0.0.1:9/a'; throw Error('e')</script>"
        )
        with Watched(browser, path) as watched:
            watched.page.wait_for_timeout(200)
            kinds = {deed.partition(":")[0] for deed in watched.misdeeds}
            assert kinds >= {"dialog", "console", "error", "request"}


@needs_axe
def test_what_is_inaccessible_is_found(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(SOUND + "<input>")
    with chromium() as browser, Watched(browser, path, bypass_csp=True) as watched:
        assert any("label" in fault for fault in accessibility_faults(watched.page))
