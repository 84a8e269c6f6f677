from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hashscan.lists.exchanges import pulling
from tests.lists.exchanges.servers import Served, ncmec_served
from tests.prefork import EXCHANGE_PREFORK, FETCHING, INTERPRETER


def fork_fetching(command: list[str], *, env: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Fork the process that talks to an exchange, as it takes half a second to import the library."""
    assert command == [sys.executable, "-P", "-m", FETCHING]
    # Those that act when an interpreter starts can't differ from ours, nor have they any effect.
    acting = {name: value for name, value in os.environ.items() if name.startswith(INTERPRETER)}
    others = {name: value for name, value in env.items() if not name.startswith(INTERPRETER)}
    return EXCHANGE_PREFORK.popen([sys.executable, "-m", FETCHING], env=acting | others, **options)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "PAUSES", (0.01, 0.01))


@pytest.fixture(autouse=True)
def _forked_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    forking = SimpleNamespace(**vars(subprocess) | {"Popen": fork_fetching})
    monkeypatch.setattr(pulling, "subprocess", forking)


@pytest.fixture
def started_fetches(_forked_fetches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the process that talks to an exchange as the program does."""
    monkeypatch.setattr(pulling, "subprocess", subprocess)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ncmec_served(tmp_path / "exchange") as served:
        yield served
