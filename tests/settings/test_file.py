from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.settings.file import read_file


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no settings file"):
        read_file(tmp_path / "none.toml", {})


def test_the_variable_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text("workers = 3\n")
    assert read_file(None, {"HASHSCAN_CONFIG": str(file)}) == (file, file.read_text(), {"workers": 3})


@pytest.mark.parametrize("content", [b"workers = ", b"\xff\xfe"])
def test_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "h.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"h\.toml"):
        read_file(file, {})
