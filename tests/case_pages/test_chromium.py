"""The local pages about cases in Chromium, served by the command: layout, forms, and nothing fetched."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from hashscan.cases.reviews import Decision
from hashscan.state_dir import StateDir
from tests.browser import chromium
from tests.case_pages.test_cases import decision_of, state
from tests.cli.conftest import COMMAND, environment
from tests.hub.pages.test_chromium import SCREENSHOTS, Look, opened

__all__ = ["state"]


@contextmanager
def serving(state: StateDir) -> Iterator[str]:
    """The command; the address that it prints."""
    command = [*COMMAND, "cases", "serve", "--listen", "tcp:127.0.0.1:0"]
    process = subprocess.Popen(
        command, env=environment(Path(state)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stderr is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found is not None
        yield found[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_pages_in_chromium(state: StateDir) -> None:
    keep = Path(SCREENSHOTS, "cases") if SCREENSHOTS else None
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with serving(state) as address, chromium() as browser:
        base = address.partition("/?")[0]
        rebound = urllib.request.Request(address, headers={"Host": "evil.example"})
        with pytest.raises(HTTPError, match="421"):
            urllib.request.urlopen(rebound, timeout=30)
        with opened(browser, base) as page:
            page.goto(address)
            assert page.url == f"{base}/"
            look = Look(page, keep)
            for path in ("/", "/queue", "/cases/1", "/cases/2", "/nowhere"):
                page.goto(base + path)
                look.at(path)
            page.goto(f"{base}/cases/1")
            page.get_by_label("Wrong").check()
            page.get_by_label("Reason").fill("an advertisement")
            page.get_by_role("button", name="Decide").click()
            page.get_by_label("Assignee").fill("Bob")
            page.get_by_role("button", name="Record").click()
            page.goto(f"{base}/cases/1")
            assert "Bob" in page.inner_text("main")
            look.at("decided")
    assert decision_of(state) is Decision.WRONG
    assert os.stat(Path(state) / "ledger.sqlite").st_mode & 0o077 == 0
