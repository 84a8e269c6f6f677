from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.state.store.folder_rows import files_in, is_file_gone, is_folder_gone


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "folder" / "leads").symlink_to("file")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "file", "folder"),
    [
        ("folder", True, False),
        ("folder/inner", True, False),
        ("folder/file", False, True),
        ("folder/file/beneath", True, True),
        ("folder/leads", True, True),
        ("link", True, True),
        ("link/inner", True, True),
        ("link/file", True, True),
        ("nowhere", True, True),
        ("nowhere/file", True, True),
        ("n" * 300, True, True),
        ("n/" * 3000 + "n", True, True),
    ],
)
def test_what_is_not_there_by_that_path_is_gone(tree: Path, path: str, file: bool, folder: bool) -> None:
    place = os.fsencode(tree / path)
    assert (is_file_gone(place), is_folder_gone(place)) == (file, folder)


def test_what_can_not_be_looked_at_is_not_gone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hashscan.state.store.folder_rows.open_absolute", fail)
    place = os.fsencode(tree / "nowhere")
    assert not is_file_gone(place)
    assert not is_folder_gone(place)
    assert files_in(place) is None


def test_links_and_folders_are_no_files(tree: Path) -> None:
    assert files_in(os.fsencode(tree / "folder")) == {b"file"}
    for nowhere in ("folder/file", "link", "nowhere"):
        assert files_in(os.fsencode(tree / nowhere)) == frozenset()
