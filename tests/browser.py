"""Opens our pages in Chromium, and asks others' checkers about them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MODULES = "TEST_NODE_MODULES"
"""Variable that says where html-validate and axe-core are."""

_PROGRAM = shutil.which("chromium")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

CONTRAST = ("color-contrast",)
"""The only rule of axe-core that depends on the colour scheme."""

LAYOUT = Path(__file__).with_name("layout.js").read_text(encoding="utf-8")
"""To be run in a page: what is cut, lies upon its neighbour or makes the page scroll sideways, in words."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    if _PROGRAM is None:
        pytest.skip("there is no chromium here")
    from playwright.sync_api import sync_playwright

    with warnings.catch_warnings():
        # Playwright's own loop is left open by its own doing.
        warnings.simplefilter("ignore")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=_PROGRAM, args=list(_ARGUMENTS))
            try:
                yield browser
            finally:
                browser.close()


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """A page, of which nothing may be said on the console, nor anything be fetched but itself."""
    context = browser.new_context(**options)
    trouble: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))

    def dismiss(dialog: Any) -> None:
        trouble.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("request", lambda request: trouble.append(request.url) if request.url != path.as_uri() else None)
    try:
        page.goto(path.as_uri())
        yield page
        assert trouble == []
    finally:
        context.close()


def modules() -> Path:
    """Return the folder of the checkers; skip the test without them."""
    if MODULES not in os.environ:
        pytest.skip(f"{MODULES} is not set")
    return Path(os.environ[MODULES])


def faults(path: Path) -> list[str]:
    """Return the faults that html-validate finds in a page."""
    # It ends before a pipe has taken all that it says.
    with tempfile.TemporaryFile("w+") as said:
        program = [modules() / ".bin" / "html-validate", "--formatter", "json", path.name]
        subprocess.run(program, cwd=path.parent, stdout=said, timeout=120, check=False)
        said.seek(0)
        results = json.load(said)
    return [
        f"{message['line']}: {message['ruleId']}: {message['message']}"
        for result in results
        for message in result["messages"]
    ]


def barriers(page: Any, rules: tuple[str, ...] = ()) -> list[str]:
    """The violations that axe-core finds on a page, by some rules or by all."""
    script = (modules() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    # Not as a script in the page, which its policy forbids.
    if not page.evaluate("'axe' in window"):
        page.evaluate(script + "\n;0")
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("async options => (await axe.run(options)).violations", options)
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]
