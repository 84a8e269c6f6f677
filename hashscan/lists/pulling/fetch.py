"""Fetchers for tuf's client: the common base of all downloads, and the fetcher for local folders.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from hashscan.lists.tuf_api import FetcherInterface

FOLDER_URL = "folder:///"
"""Represents the folder of a `FolderFetcher` in the addresses that it receives."""

CHUNK = 1 << 18
"""Number of bytes read at a time."""
_NOT_FOUND = 404


class TooLongError(DownloadLengthMismatchError):
    """An answer is longer than allowed."""

    def __init__(self, url: str, max_length: int) -> None:
        super().__init__(f"{url} is longer than the {max_length} bytes it may have")
        self.unsigned = url.endswith(("/timestamp.json", ".root.json"))
        """True if the limit is ours, False if it is a length that the list's owner signed."""


class StagingFetcher(FetcherInterface):
    """A fetcher that stores a download in the staging folder until it is complete.

    All its failures have one base class. tuf would use the system's folder for temporary files, which is
    often a small one in memory, and would not convert errors in the middle of an answer. Several threads may
    download at once.
    """

    failures: tuple[type[Exception], ...] = (OSError,)
    """Exceptions that a failing source raises in the middle of an answer."""

    def __init__(self, staging: Path | None, received: Callable[[int], None] | None = None) -> None:
        """Store downloads in `staging`, or in the system's temporary folder if it is None.

        Args:
            staging: an existing folder.
            received: called for each piece with its number of bytes.
        """
        self.staging = staging
        self._received = received
        self._given_up = False
        self._lock = threading.Lock()

    def give_up(self) -> None:
        """Make all downloads of other threads end soon; the fetcher can't be used afterwards."""
        with self._lock:
            self._given_up = True

    def close(self) -> None:
        """Close what is kept open between downloads."""

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the content of an address in a temporary file, as tuf's interface requires."""
        with tempfile.TemporaryFile(dir=self.staging) as file:
            received = 0
            with closing(self._pieces(url)) as pieces:
                for piece in pieces:
                    received += len(piece)
                    if received > max_length:
                        raise TooLongError(url, max_length)
                    self._came(url, len(piece))
                    file.write(piece)
            if self._given_up:
                # A connection that was shut down may look like the end of an answer.
                raise DownloadError(f"{url} is given up")
            file.seek(0)
            yield file

    def _came(self, url: str, count: int) -> None:
        """Report a received piece, unless the download was given up."""
        with self._lock:
            if self._given_up:
                raise DownloadError(f"{url} is given up")
            if self._received:
                self._received(count)

    def _pieces(self, url: str) -> Generator[bytes]:
        try:
            yield from self.fetch(url)
        except self.failures as error:
            raise DownloadError(f"{url} broke off") from error


class FolderFetcher(StagingFetcher):
    """A fetcher for a folder, such as a mounted medium, by addresses under `FOLDER_URL`."""

    def __init__(
        self, folder: Path, staging: Path | None, received: Callable[[int], None] | None = None
    ) -> None:
        super().__init__(staging, received)
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = unquote(url.removeprefix(FOLDER_URL)).split("/")
        if not url.startswith(FOLDER_URL) or not all(_is_plain(part) for part in parts):
            raise DownloadError(f"{url} leads out of {self._folder}")
        path = self._folder.joinpath(*parts)
        try:
            # Non-blocking, in case the file is a FIFO.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DownloadHTTPError(f"there is no {path}", _NOT_FOUND) from error
        return self._contents(descriptor, path)

    @staticmethod
    def _contents(descriptor: int, path: Path) -> Iterator[bytes]:
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DownloadError(f"{path} is no file")
            while chunk := file.read(CHUNK):
                yield chunk


def _is_plain(part: str) -> bool:
    """Return True if a part of a path names an item of its folder, and nothing else."""
    return part not in {"", ".", ".."} and "\0" not in part
