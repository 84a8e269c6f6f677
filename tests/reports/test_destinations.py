from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.errors import OutputError, UsageError
from hashscan.reports.report_file import require_destination


def test_a_file_that_is_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    (tmp_path / "link").symlink_to("there")
    for name in ("there", "link", "new", "n" * 300):
        require_destination(tmp_path / name)


def test_what_root_could_replace_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/null"), Path("/dev/stdout")):
        if path.is_file():
            continue
        with pytest.raises(UsageError, match="no regular file"):
            require_destination(path)


def test_a_folder_and_what_lies_in_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, message in (
        (tmp_path, "directory"), (tmp_path / "none" / "out", "No such file"),
        (tmp_path / "file" / "out", "Not a directory"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match=message):
            require_destination(path)


def test_a_folder_that_can_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, **options: False)
    with pytest.raises(OutputError, match="Permission denied"):
        require_destination(tmp_path / "out")
