"""How files of a list come here for tuf's client, whatever they come from; and from a folder.

Importing this module imports tuf, so others do so on first use.
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
"""Stands for the folder of a `FolderFetcher` in the addresses it is given."""

CHUNK = 1 << 18
"""Bytes read at a time."""
_NOT_FOUND = 404


class TooLongError(DownloadLengthMismatchError):
    """An answer is longer than it may be."""

    def __init__(self, url: str, max_length: int) -> None:
        super().__init__(f"{url} is longer than the {max_length} bytes it may have")
        self.unsigned = url.endswith(("/timestamp.json", ".root.json"))
        """Whether its limit is ours, and not a length that the list's owner signed."""


class StagingFetcher(FetcherInterface):
    """Keeps a download in the staging folder until it is complete, and gives all its failures one root.

    tuf would use the system's folder for temporary files, which often is a small one in memory, and lets
    errors in the middle of an answer pass as they are. Several threads may download at once.
    """

    failures: tuple[type[Exception], ...] = (OSError,)
    """What trouble with a source raises in the middle of an answer."""

    def __init__(self, staging: Path | None, received: Callable[[int], None] | None = None) -> None:
        """Keep downloads in `staging`, or in the system's folder when it is None.

        Args:
            staging: an existing folder.
            received: told of each piece, how many bytes it has.
        """
        self.staging = staging
        self._received = received
        self._given_up = False
        self._lock = threading.Lock()

    def give_up(self) -> None:
        """Have all downloads that other threads have under way end soon, for good."""
        with self._lock:
            self._given_up = True

    def close(self) -> None:
        """Let go of what is held open between downloads."""

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """The content of an address, as tuf's interface says, in a file that goes with the body."""
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
                # A connection that was shut down may look like an answer's end.
                raise DownloadError(f"{url} is given up")
            file.seek(0)
            yield file

    def _came(self, url: str, count: int) -> None:
        """Tell of a piece, unless there is nobody any more to be told."""
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
    """From a folder, such as a mounted medium, by addresses under `FOLDER_URL`."""

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
            while chunk := file.read(CHUNK):
                yield chunk


def _is_plain(part: str) -> bool:
    """Whether a part of a path names something in its folder, and nothing else."""
    return part not in {"", ".", ".."} and "\0" not in part
