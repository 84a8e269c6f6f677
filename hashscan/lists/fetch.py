"""How a list's files are fetched, from a web server or from a folder, for tuf's client.

Importing this module imports tuf and urllib3, so others do so on first use.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote

import urllib3.exceptions
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

FOLDER_URL = "folder:///"
"""Stands for the folder of a `FolderFetcher` in the addresses it is given."""

_TIMEOUT = 30
"""Seconds to wait for a connection, and for each next piece of an answer."""
_CHUNK = 1 << 18
_NOT_FOUND = 404


class TooLongError(DownloadLengthMismatchError):
    """An answer is longer than it may be."""

    def __init__(self, url: str, max_length: int) -> None:
        super().__init__(f"{url} is longer than the {max_length} bytes it may have")
        self.unsigned = url.endswith(("/timestamp.json", ".root.json"))
        """Whether its limit is ours, and not a length that the list's owner signed."""


class _StagingFetcher(FetcherInterface):
    """Keeps a download in the staging folder until it is complete, and gives all its failures one root.

    tuf would use the system's folder for temporary files, which often is a small one in memory, and lets
    errors in the middle of an answer pass as they are.
    """

    staging: Path

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        with tempfile.TemporaryFile(dir=self.staging) as file:
            received = 0
            for chunk in self._pieces(url):
                received += len(chunk)
                if received > max_length:
                    raise TooLongError(url, max_length)
                file.write(chunk)
            file.seek(0)
            yield file

    def _pieces(self, url: str) -> Iterator[bytes]:
        try:
            yield from self.fetch(url)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise DownloadError(f"{url} broke off") from error


class HttpFetcher(_StagingFetcher, Urllib3Fetcher):
    """From a web server, by tuf's own fetcher; proxies come from the environment."""

    def __init__(self, staging: Path) -> None:
        super().__init__(socket_timeout=_TIMEOUT, chunk_size=_CHUNK, app_user_agent="hashscan")
        self.staging = staging


class FolderFetcher(_StagingFetcher):
    """From a folder, such as a mounted medium, by addresses under `FOLDER_URL`."""

    def __init__(self, folder: Path, staging: Path) -> None:
        self._folder = folder
        self.staging = staging

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = unquote(url.removeprefix(FOLDER_URL)).split("/")
        if not url.startswith(FOLDER_URL) or not all(_is_plain(part) for part in parts):
            raise DownloadError(f"{url} leads out of {self._folder}")
        path = self._folder.joinpath(*parts)
        try:
            # Not blocking, should somebody have put a FIFO there.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DownloadHTTPError(f"there is no {path}", _NOT_FOUND) from error
        return self._contents(descriptor, path)

    @staticmethod
    def _contents(descriptor: int, path: Path) -> Iterator[bytes]:
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DownloadError(f"{path} is no file")
            while chunk := file.read(_CHUNK):
                yield chunk


def _is_plain(part: str) -> bool:
    """Whether a part of a path names something in its folder, and nothing else."""
    return part not in {"", ".", ".."} and "\0" not in part
