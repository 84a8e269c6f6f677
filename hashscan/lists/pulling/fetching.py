"""Fetchers for tuf's client: the base of all downloads, the one for folders, and errors of sources.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)

from hashscan.errors import ListTrustError, UnreachableError
from hashscan.lists.storage.tuf_api import DeserializationError, FetcherInterface
from hashscan.timefmt import utc_now

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


CHECK_CLOCK = (
    "Check this machine's clock. If it is right, ask the list's owner to release anew; the last good version "
    "stays in use."
)
_CREDENTIALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_OUT_OF_TIME = frozenset({9, 10})
"""OpenSSL's codes for a certificate that is not yet or no longer valid."""


@contextmanager
def source_errors(location: str, hidden: Callable[[str], str] = str) -> Iterator[None]:
    """Convert the errors of a source.

    Args:
        location: location of the source, for the message.
        hidden: masks secrets in a text.

    Raises:
        UnreachableError: there was no answer, or it is not TUF metadata.
        ListTrustError: the answer is not what the list's owner signed.
    """
    try:
        yield
    except DownloadError as error:
        if isinstance(error, TooLongError) and not error.unsigned:
            raise _untrusted(location, error, hidden) from error
        cause = _innermost(error)
        words = _shown(str(cause) or "no answer in time", hidden)
        raise UnreachableError(
            f"{location} gives no usable answer: {words}", advice=_advice(error, cause)
        ) from error
    except DeserializationError as error:
        raise UnreachableError(
            f"{location} answers with something else than a list's metadata",
            advice="Check the address, and that no proxy or login page answers in its place.",
        ) from error
    except ExpiredMetadataError as error:
        raise ListTrustError(
            f"what {location} offers has expired by this machine's clock, {utc_now()}: "
            f"{_shown(str(error), hidden)}",
            advice=CHECK_CLOCK,
        ) from error
    except RepositoryError as error:
        raise _untrusted(location, error, hidden) from error


def _untrusted(location: str, error: Exception, hidden: Callable[[str], str]) -> ListTrustError:
    return ListTrustError(f"what {location} offers can't be trusted: {_shown(str(error), hidden)}")


def _advice(error: DownloadError, cause: BaseException) -> str | None:
    """Return advice for a source without a usable answer; None for the default advice."""
    if isinstance(error, DownloadHTTPError) and error.status_code in _CREDENTIALS:
        return "Check the list's credentials and the address; the last good version stays in use."
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in _OUT_OF_TIME:
            return (
                "Check this machine's clock. If it is right, tell the list's owner to renew the certificate."
            )
        return "Check the address. If the server is certified by an authority of its own, name its --ca-file."
    return None


def _innermost(error: BaseException) -> BaseException:
    """Return the root cause of a failure; urllib3 wraps exceptions in three ways."""
    while True:
        wrapped = (getattr(error, "reason", None), error.__cause__, *error.args[:1])
        inner = next((each for each in wrapped if isinstance(each, BaseException)), None)
        if inner is None:
            return error
        error = inner


def _shown(text: str, hidden: Callable[[str], str]) -> str:
    """Return a text, of which a server may have written a part, as one printable line without secrets."""
    return ascii(hidden(text))[1:-1]
