from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan import atomic_files
from hashscan.errors import OutputError


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_files.replace_file(path, b"old")
    atomic_files.replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    atomic_files.replace_file(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_files.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_content_is_synced_before_it_gets_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def record(descriptor: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), (tmp_path / "file").exists()))

    monkeypatch.setattr(os, "fsync", record)
    atomic_files.replace_file(tmp_path / "file", b"data")
    (aside, named_before), folder = synced
    assert aside.parent == tmp_path
    assert not named_before
    assert folder == (tmp_path, True)


def test_links_are_replaced_and_leftovers_removed(tmp_path: Path) -> None:
    atomic_files.replace_link(tmp_path / "link", "one")
    atomic_files.replace_link(tmp_path / "link", "two")
    (tmp_path / ".tmp-0123").write_bytes(b"")
    atomic_files.remove_leftovers(tmp_path)
    assert os.readlink(tmp_path / "link") == "two"
    assert os.listdir(tmp_path) == ["link"]


def test_system_errors_become_ours(tmp_path: Path) -> None:
    message = r"it failed: No such file or directory \(.*/none\)"
    with pytest.raises(OutputError, match=message), atomic_files.output_errors("it failed"):
        (tmp_path / "none").read_bytes()


def test_a_folder_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(OSError, match="absent"):
        atomic_files.write_folder(folder, {"a": b"1", "absent/b": b"2"})
    assert os.listdir(tmp_path) == []
    atomic_files.write_folder(folder, {"a": b"1", "b": b"2"})
    with pytest.raises(OSError, match="not empty"):
        atomic_files.write_folder(folder, {"a": b"3"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"1", "b": b"2"}
    assert os.listdir(tmp_path) == ["folder"]
