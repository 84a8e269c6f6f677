"""Download a list's files from a folder or a web server, for tuf's client, and convert the errors of sources.

Rules for web servers:
 * Credentials are sent only to the list's own hosts: not to the target of a redirect, and never unencrypted.
 * A redirect from https is followed to https only, since the content of a list is confidential; one from a
   public host into a private network only to the list's own hosts.
 * If a server is busy, the request is retried a few times, after the time that the server names if that is
   short. All downloads wait during that time, and then run one at a time.
 * A server that is slower than the minimum speed of `transfer_limits` is given up.

Importing this module imports tuf and urllib3, so other modules import it on first use.
"""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.parse import unquote

import urllib3
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)

from hashscan.errors import ListTrustError, UnreachableError
from hashscan.lists.pulling.assembly import AT_ONCE
from hashscan.lists.pulling.origin import Origin, Validators
from hashscan.lists.pulling.transfer_limits import RequestSlots, ThroughputGuard
from hashscan.lists.storage.tuf_api import DeserializationError, FetcherInterface
from hashscan.secret_files import Credentials
from hashscan.timefmt import utc_now
from hashscan.web_address import WebAddress, parse
from hashscan.web_connection import WEB, environment_proxy, is_loopback, proxy_and_login, tls_context
from hashscan.web_transport import (
    RedirectError,
    close_pools,
    describe_status,
    follow_redirects,
    pool_classes,
    retry_after,
    send,
)

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
        """Store downloads in `staging`, or in the system's temporary folder if it is None; `received` gets
        the number of bytes of each piece."""
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
                    with self._lock:
                        self._check(url)
                        if self._received:
                            self._received(len(piece))
                    file.write(piece)
            # A connection that was shut down may look like the end of an answer.
            self._check(url)
            file.seek(0)
            yield file

    def _check(self, url: str) -> None:
        if self._given_up:
            raise DownloadError(f"{url} is given up")

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
    """Convert the errors of a source: UnreachableError if there was no answer, or none in TUF's form;
    ListTrustError if it is not what the list's owner signed. `hidden` masks secrets in a text."""
    try:
        yield
    except DownloadError as error:
        if isinstance(error, TooLongError) and not error.unsigned:
            raise _untrusted(location, error, hidden) from error
        cause = _innermost(error)
        message = _shown(str(cause) or "no answer in time", hidden)
        raise UnreachableError(
            f"{location} gives no usable answer: {message}", advice=_advice(error, cause)
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


TIMEOUT = 30.0
"""Seconds to wait for a connection, and for each next piece of an answer."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each retry at a busy server that names no time."""
LONGEST_PAUSE = 120.0
"""Longest wait in seconds; a server that asks for a longer one is given up for this pull."""
PAUSES_IN_ALL = 600.0
"""Largest total of seconds that one pull waits for busy servers."""
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_TIMESTAMP = "/timestamp.json"


class HttpFetcher(StagingFetcher):
    """A fetcher for a list's web servers, through a proxy if there is one."""

    failures = (OSError, urllib3.exceptions.HTTPError)

    def __init__(
        self,
        origin: Origin,
        credentials: Credentials,
        staging: Path | None,
        *,
        validators: Validators | None = None,
        received: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(staging, received)
        self._origin = origin
        self._credentials = credentials
        self._validators = validators
        self._speed = ThroughputGuard()
        self._slots = RequestSlots(AT_ONCE)
        self._managers: dict[tuple[bool, bool, str | None], urllib3.PoolManager] = {}
        self._making = threading.Lock()

    def _fetch(self, url: str) -> Iterator[bytes]:
        timestamp = url.endswith(_TIMESTAMP) and self._validators is not None
        conditions = self._validators.conditions(url) if timestamp and self._validators else {}
        with self._slots.taken(), self._speed.kept(url), closing(self._answer(url, conditions)) as response:
            if conditions and response.status == HTTPStatus.NOT_MODIFIED and self._validators:
                yield self._validators.timestamp
                return
            if response.status != HTTPStatus.OK:
                _discard(response)
                raise DownloadHTTPError(f"{url} {describe_status(response.status)}", response.status)
            whole = []
            while piece := response.read1(CHUNK, decode_content=False):
                self._speed.got(len(piece))
                if timestamp:
                    whole.append(piece)
                yield piece
        if timestamp and self._validators:
            self._validators.note(url, response.headers, b"".join(whole))

    def _answer(self, url: str, conditions: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Return the answer to a request, following redirects and retrying while a server is busy."""
        try:
            return follow_redirects(
                parse(url.encode()), partial(self._patient, conditions=conditions), _discard
            )
        except RedirectError as error:
            raise DownloadError(f"{url} is {error}") from None

    def _patient(
        self, address: WebAddress, public_only: bool, conditions: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer to a request at one address, with retries while its server is busy."""
        for pause in (*PAUSES, None):
            response = self._asked(address, public_only, conditions)
            if response.status not in _BUSY or pause is None:
                return response
            _discard(response)
            wanted = retry_after(response.headers.get("Retry-After", ""))
            if wanted is not None and wanted > LONGEST_PAUSE:
                raise DownloadHTTPError(
                    f"{address.url} {describe_status(response.status)} and asks to come back in "
                    f"{wanted:.0f} seconds",
                    response.status,
                )
            seconds = pause if wanted is None else wanted
            if self._slots.put_off(seconds) > PAUSES_IN_ALL:
                return response
            with self._speed.resting():
                self._slots.rest()
            self._slots.resume()
        raise AssertionError("the last try returns")

    def _asked(
        self, address: WebAddress, public_only: bool, conditions: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        scheme, host, _ = address.endpoint
        own = address.endpoint in self._origin.endpoints
        trusted = own and (scheme == "https" or is_loopback(host))
        headers = dict(conditions)
        if trusted and self._credentials.authorization:
            headers["Authorization"] = self._credentials.authorization
        # An own host may be in a private network: the administrator named it.
        manager = self._manager(trusted, public_only and not own, self._proxy(scheme, host))
        return send(manager, "GET", address.url, headers, urllib3.Timeout(TIMEOUT))

    def _proxy(self, scheme: str, host: str) -> str | None:
        """Return the proxy for a host; None for this machine, so that no request to it leaves it."""
        if is_loopback(host):
            return None
        return self._origin.proxy or environment_proxy(scheme, host)

    def _manager(self, trusted: bool, public_only: bool, proxy: str | None) -> urllib3.PoolManager:
        """Return the connection pool of one kind; only those for trusted hosts have a client certificate."""
        kind = trusted, public_only, proxy
        with self._making:
            if kind not in self._managers:
                credentials = self._credentials if trusted else Credentials()
                context = tls_context(self._origin.ca_file, credentials.certificate, credentials.key)
                manager = (
                    _proxied(proxy, context)
                    if proxy
                    else urllib3.PoolManager(maxsize=AT_ONCE, ssl_context=context)
                )
                manager.pool_classes_by_scheme = pool_classes(
                    *self._speed.connections, public_only=public_only
                )
                self._managers[kind] = manager
            return self._managers[kind]

    def give_up(self) -> None:
        """Make all downloads end soon; the fetcher can't be used afterwards."""
        super().give_up()
        self._slots.give_up()
        self._speed.give_up()

    def close(self) -> None:
        for manager in self._managers.values():
            close_pools(manager)


def _proxied(proxy: str, context: object) -> urllib3.PoolManager:
    """Return a connection pool through a proxy; the environment's address may contain user and password."""
    address, login = proxy_and_login(proxy)
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    return urllib3.ProxyManager(address, maxsize=AT_ONCE, ssl_context=context, proxy_headers=headers)


def _discard(response: urllib3.BaseHTTPResponse) -> None:
    """Free the connection for the next request; read the rest if that costs less than a new connection."""
    if response.length_remaining is not None and response.length_remaining <= CHUNK:
        response.drain_conn()
    else:
        response.close()


def fetcher_for(
    location: str,
    origin: Origin,
    credentials: Credentials,
    staging: Path | None,
    *,
    validators: Validators | None = None,
    received: Callable[[int], None] | None = None,
) -> tuple[str, StagingFetcher]:
    """Return the address of a location (the source or a mirror) for its fetcher, and the fetcher. Without
    `staging` it downloads into the system's temporary folder; `validators` are those of the servers'
    timestamps; `received` gets the number of bytes of each piece."""
    if location.startswith(WEB):
        return location, HttpFetcher(origin, credentials, staging, validators=validators, received=received)
    return FOLDER_URL, FolderFetcher(Path(location), staging, received)
