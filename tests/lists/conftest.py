from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.lists.pulling import fetching as web_fetcher
from hashscan.lists.store import ListStore
from tests.lists.builders import Owner
from tests.web import WebServer, serving


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_fetcher, "PAUSES", (0.01, 0.02, 0.03))


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner.begin(tmp_path / "owner")


@pytest.fixture
def store(tmp_path: Path) -> ListStore:
    return ListStore(tmp_path / "state" / "lists")


@pytest.fixture
def web(owner: Owner) -> Iterator[WebServer]:
    with serving(owner.repository) as server:
        yield server
