from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.errors import OutputError, UsageError
from hashscan.settings.file import write_new
from tests.sources.children import needs_root


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    assert write_new(path, b"content", force=False) is None
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@needs_root
def test_a_group_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    before = os.umask(0o077)
    try:
        write_new(path, b"content", force=False, group=54321, trusted=True)
    finally:
        os.umask(before)
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 54321, 0o640)
    assert path.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("what", ["file", "link", "dangling"])
def test_nothing_is_replaced_unasked(tmp_path: Path, what: str) -> None:
    path = tmp_path / "file"
    (tmp_path / "other").write_bytes(b"old")
    if what == "file":
        path.write_bytes(b"old")
    else:
        path.symlink_to("other" if what == "link" else "nowhere")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="is there already"):
        write_new(path, b"new", force=False)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "other").read_bytes() == b"old"


def test_what_was_there_is_kept_each_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for number, kept in enumerate([None, "file.bak", "file.bak1", "file.bak2"]):
        found = write_new(path, b"%d" % number, force=True)
        assert found == (None if kept is None else tmp_path / kept)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        "file": b"3",
        "file.bak": b"0",
        "file.bak1": b"1",
        "file.bak2": b"2",
    }


def test_a_link_is_kept_as_one(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"old")
    (tmp_path / "file").symlink_to("other")
    assert write_new(tmp_path / "file", b"new", force=True) == tmp_path / "file.bak"
    assert (tmp_path / "file.bak").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"old"


def test_a_folder_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_bytes(b"")
    with pytest.raises(OutputError, match="can't be written"):
        write_new(tmp_path / "no-folder" / "file", b"", force=False)
