from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from hashscan.lists.pulling.fetching import FOLDER_URL, FolderFetcher


@pytest.fixture
def fetcher(tmp_path: Path) -> FolderFetcher:
    for name in ("source", "staging"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "file").write_bytes(b"content")
    (tmp_path / "secret").write_bytes(b"secret")
    return FolderFetcher(tmp_path / "source", tmp_path / "staging")


def test_a_file_of_the_folder_is_fetched(fetcher: FolderFetcher) -> None:
    assert fetcher.download_bytes(f"{FOLDER_URL}file", 7) == b"content"
    with pytest.raises(DownloadLengthMismatchError):
        fetcher.download_bytes(f"{FOLDER_URL}file", 6)
    assert fetcher.staging is not None
    assert not os.listdir(fetcher.staging)


@pytest.mark.parametrize("path", ["none", "file/none", "none/none"])
def test_what_isnt_there_is_not_found(fetcher: FolderFetcher, path: str) -> None:
    with pytest.raises(DownloadHTTPError) as caught:
        fetcher.download_bytes(FOLDER_URL + path, 100)
    assert caught.value.status_code == 404


@pytest.mark.parametrize(
    "path", ["../secret", "%2e%2e/secret", "..%2fsecret", "/file", "", ".", "a/../file", "file%00", "./file"]
)
def test_nothing_leads_out_of_the_folder(fetcher: FolderFetcher, path: str) -> None:
    with pytest.raises(DownloadError, match="leads out of"):
        fetcher.download_bytes(FOLDER_URL + path, 100)


@given(parts=st.lists(st.sampled_from(["..", ".", "", "secret", "file", "%2e%2e", "%2f"]), max_size=5))
@settings(deadline=None)
def test_no_path_at_all_gives_the_secret(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("fetch")
    (folder / "source").mkdir()
    (folder / "secret").write_bytes(b"secret")
    fetcher = FolderFetcher(folder / "source", folder)
    with pytest.raises(DownloadError):
        fetcher.download_bytes(FOLDER_URL + "/".join(parts), 100)


def test_other_things_than_files_are_refused_without_waiting(fetcher: FolderFetcher, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "source" / "fifo")
    (tmp_path / "source" / "folder").mkdir()
    (tmp_path / "source" / "zero").symlink_to("/dev/zero")
    for name in ("fifo", "folder", "zero"):
        with pytest.raises(DownloadError):
            fetcher.download_bytes(FOLDER_URL + name, 100)
