"""Rooms on one file system and across two."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.quarantine.folder import QuarantineFolders
from tests.quarantine.rooms import Room

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    (tmp_path / "files").mkdir()
    return Room(tmp_path / "state", tmp_path / "files")


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the tests' own."""
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system here")
    folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY, prefix="hashscan-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def far_room(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    """Its files lie on a file system that has no place of its own."""
    monkeypatch.setattr(QuarantineFolders, "_at_mount_point", lambda self, mount: None)
    return Room(tmp_path / "state", shared)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
