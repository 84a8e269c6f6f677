from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.lists.location import checked_location


def test_web_addresses_end_in_a_slash() -> None:
    assert checked_location("https://lists.example/a") == "https://lists.example/a/"
    assert checked_location("http://127.0.0.1:8000/") == "http://127.0.0.1:8000/"


def test_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert checked_location("a b") == str(tmp_path / "a b")
    assert checked_location((tmp_path / "a b").as_uri()) == str(tmp_path / "a b")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "no such folder",
        "ftp://lists.example/",
        "https://",
        "https://user:secret@lists.example/",
        "https://lists.example/?token=1",
        "https://lists.example/#top",
        "https://lists.example/a b",
        "https://lists.example/\x1b[2J",
        "https://lists.example:99999/",
        "https://[::1/",
        "file://elsewhere/etc",
        "file:///no/such/folder",
        "nul\0://x",
    ],
)
def test_what_is_no_source_is_refused(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        checked_location(source)


@given(st.text(max_size=30), st.sampled_from(["", "http://", "https://", "file://", "file:///"]))
def test_any_text_gives_a_source_or_the_one_kind_of_error(text: str, scheme: str) -> None:
    try:
        found = checked_location(scheme + text)
    except UsageError:
        return
    assert found.startswith(("http://", "https://", "/"))
