from __future__ import annotations

import logging
import os
import pty
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.cli.output import progress
from hashscan.cli.output.progress import ComparisonProgress, PullProgress
from tests.cli.commands.test_lists import published, released, root  # noqa: F401 - fixtures
from tests.cli.conftest import COMMAND, Run, environment
from tests.prefork import PREFORK
from tests.web import WebServer, serving


@pytest.fixture
def server(published: Path) -> Iterator[WebServer]:  # noqa: F811
    with serving(published) as server:
        yield server


def test_a_bar_on_a_terminal(run: Run, server: WebServer, root: Path, state: Path) -> None:  # noqa: F811
    run("lists", "add", "national", server.url, "--root", root)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [*COMMAND, "lists", "pull"]
    process = PREFORK.popen(command, env=environment(state), stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.wait(30) == 0
    assert b"national:" in shown
    assert b"B/s" in shown
    assert b"version 1" in shown


def test_a_record_now_and_then_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hashscan")
    with PullProgress("national") as transfer:
        transfer.received(500)
        assert not caplog.messages
        monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
        transfer.received(1000)
        transfer.expect(2_000_000)
        transfer.received(1_000_000)
    assert caplog.messages == [
        "list national: 1.5 kB downloaded",
        "list national: 1.0 MB of 2.0 MB downloaded",
    ]
    assert capsys.readouterr().out == ""


def test_records_while_entries_are_compared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hashscan")
    with ComparisonProgress("national") as compared:
        compared.watch(0, 3_000_000)
        assert not caplog.messages
        monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
        compared.watch(1_000_000, 3_000_000)
    (message,) = caplog.messages
    assert "1000000 of 3000000" in message
