"""Web servers of a list's owner, and of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.web import WebServer, serving


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(b"content")
    return tmp_path / "served"


@pytest.fixture
def server(folder: Path) -> Iterator[WebServer]:
    with serving(folder) as server:
        yield server


@pytest.fixture
def other(folder: Path) -> Iterator[WebServer]:
    """A second server, which the list's owner doesn't run."""
    with serving(folder) as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")
