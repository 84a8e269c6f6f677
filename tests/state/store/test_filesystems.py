from __future__ import annotations

import os
from pathlib import Path

from hashscan.state.store.filesystems import name_of, type_of


def test_one_filesystem_has_one_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    device = tmp_path.stat().st_dev
    name = name_of(os.fsencode(tmp_path), device)
    assert name
    assert name_of(os.fsencode(tmp_path / "a"), device) == name
    assert name.startswith((b"uuid ", b"mount "))


def test_another_filesystem_has_another_name(tmp_path: Path) -> None:
    proc = os.stat("/proc").st_dev
    assert name_of(b"/proc", proc) not in {None, name_of(os.fsencode(tmp_path), tmp_path.stat().st_dev)}


def test_files_on_another_device_than_their_folder_are_apart(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    assert name_of(os.fsencode(tmp_path), device + 1) != name_of(os.fsencode(tmp_path), device)


def test_what_is_gone_has_no_name(tmp_path: Path) -> None:
    assert name_of(os.fsencode(tmp_path / "gone"), 1) is None


def test_types() -> None:
    assert type_of(b"/proc") == "proc"
