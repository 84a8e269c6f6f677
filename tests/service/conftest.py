"""A state folder with a list, for services in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.lists.store import ListStore
from hashscan.state_dir import StateDir
from tests.pictures import encoded, scene
from tests.service.engine.serving import entry_of


@pytest.fixture
def listed() -> bytes:
    return encoded(scene(5), quality=90)


@pytest.fixture
def prepared_state(tmp_path: Path, listed: bytes) -> Path:
    ListStore(StateDir(tmp_path / "state").lists).import_entries("ours", [entry_of(listed)], "test")
    return tmp_path / "state"
