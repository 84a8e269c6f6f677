"""An anonymous notice from a browser, to the case with its deadline."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from hashscan.state_dir import StateDir
from tests.browser import LAYOUT, MODULES, barriers, chromium
from tests.cli.conftest import COMMAND, environment
from tests.notice_form.serving import serving

SCREENSHOTS = os.environ.get("TEST_SCREENSHOTS")
"""A folder for pictures of the pages, for people to look at; none by default."""


@pytest.mark.slow
def test_anonymous_notice(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serving(StateDir(state)) as form, chromium() as browser:
        page = browser.new_context(java_script_enabled=False).new_page()
        looking = browser.new_page()

        def look(name: str) -> None:
            """Look at a copy of the page that the browser without JavaScript shows."""
            looking.goto(form.origin)
            looking.set_content(page.content())
            for scheme in ("light", "dark"):
                looking.emulate_media(color_scheme=scheme)
                if MODULES in os.environ:
                    assert barriers(looking) == []
                for width in (320, 1440):
                    looking.set_viewport_size({"width": width, "height": 900})
                    assert looking.evaluate(LAYOUT) == []
                    if SCREENSHOTS:
                        path = Path(SCREENSHOTS, f"{name}-{width}-{scheme}.png")
                        looking.screenshot(path=path, full_page=True)

        page.goto(form.origin)
        look("form")
        page.get_by_label("Exact web addresses").fill("https://a.example/x.jpg\nnone\n")
        page.get_by_label("Sexual abuse of children", exact=True).check()
        page.get_by_label("Why it is illegal").fill("A child is abused.\n\u202eIt is.")
        page.get_by_label("good faith").check()
        page.get_by_role("button").click()
        assert page.get_by_role("alert").count() == 1
        look("refused")
        page.get_by_label("Exact web addresses").fill("https://a.example/x.jpg\nhttps://a.example/y.jpg")
        page.get_by_role("button").click()
        reference = page.locator("code").inner_text()
        assert re.fullmatch(r"N(-[A-Z2-7]{4}){4}", reference)
        look("receipt")
    ask = partial(subprocess.check_output, env=environment(state))
    cases = [json.loads(line) for line in ask([*COMMAND, "cases", "list", "--format", "json"]).splitlines()]
    assert [(case["verdict"], case["url"]) for case in cases] == [
        ("notice", "https://a.example/x.jpg"), ("notice", "https://a.example/y.jpg")
    ]  # fmt: skip
    assert all(case["due"] for case in cases)
    (shown,) = json.loads(ask([*COMMAND, "cases", "show", "1", "--format", "json"]))["notices"]
    assert shown["reference"] == reference
    assert shown["explanation"] == "A child is abused.\n\\u202eIt is."
