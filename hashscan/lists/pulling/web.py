"""Fetches a list's files from a web server.

 * Credentials go to the list's own hosts alone: not to where one of them redirects, and never in the clear.
 * A redirect leads from https to https only, since what is on a list is nobody's business.
 * A server that is busy is asked again a few times, after the time it names, when that is short. All
   downloads wait for that, then go on one after the other.
 * A server that is slower than the floor of `pace` is given up.

Importing this module imports tuf and urllib3, so others do so on first use.
"""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from hashscan import __version__
from hashscan.errors import UsageError
from hashscan.lists.pulling.concurrency import AT_ONCE
from hashscan.lists.pulling.credentials import Credentials
from hashscan.lists.pulling.fetch import CHUNK, StagingFetcher
from hashscan.lists.pulling.location import checked_proxy, endpoint, is_loopback
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.pulling.request_slots import Turns
from hashscan.lists.pulling.throughput_guard import Pace
from hashscan.lists.pulling.tls import tls_context
from hashscan.lists.pulling.validators import Validators

TIMEOUT = 30.0
"""Seconds to wait for a connection, and for each next piece of an answer."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each further try at a busy server that doesn't say when to come back."""
LONGEST_PAUSE = 120.0
"""A server that asks for a longer one is given up for this time."""
PAUSES_IN_ALL = 600.0
"""Seconds that one pull waits for busy servers at most."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX = 5
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_TIMESTAMP = "/timestamp.json"


class HttpFetcher(StagingFetcher):
    """From a list's web servers, through a proxy where there is one."""

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
        """Fetch for one list.

        Args:
            origin: names the list's own hosts, and how they are reached.
            credentials: for them.
            staging: folder for downloads; None is the system's.
            validators: what is known of the servers' timestamps, to ask only for newer ones.
            received: told of each piece, how many bytes it has.
        """
        super().__init__(staging, received)
        self._origin = origin
        self._credentials = credentials
        self._validators = validators
        self._pace = Pace()
        self._turns = Turns(AT_ONCE)
        self._managers: dict[tuple[bool, str | None], urllib3.PoolManager] = {}
        self._making = threading.Lock()

    def _fetch(self, url: str) -> Iterator[bytes]:
        timestamp = url.endswith(_TIMESTAMP) and self._validators is not None
        conditions = self._validators.conditions(url) if timestamp and self._validators else {}
        with self._turns.taken(), self._pace.kept(url), closing(self._answer(url, conditions)) as response:
            if conditions and response.status == HTTPStatus.NOT_MODIFIED and self._validators:
                yield self._validators.timestamp
                return
            if response.status != HTTPStatus.OK:
                _discard(response)
                raise DownloadHTTPError(f"{url} {_said(response.status)}", response.status)
            whole = []
            while piece := response.read1(CHUNK, decode_content=False):
                self._pace.got(len(piece))
                if timestamp:
                    whole.append(piece)
                yield piece
        if timestamp and self._validators:
            self._validators.note(url, response.headers, b"".join(whole))

    def _answer(self, url: str, conditions: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer of a server that isn't busy, wherever it redirects to."""
        asked = url
        for _ in range(_REDIRECTS_MAX + 1):
            response = self._patient(asked, conditions)
            if response.status not in _REDIRECTS:
                return response
            _discard(response)
            asked = _redirected(asked, response.headers.get("Location", ""))
        raise DownloadError(f"{url} redirects too often")

    def _patient(self, url: str, conditions: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer to one address, asked again while its server is busy."""
        for pause in (*PAUSES, None):
            response = self._asked(url, conditions)
            if response.status not in _BUSY or pause is None:
                return response
            _discard(response)
            wanted = _retry_after(response.headers.get("Retry-After", ""))
            if wanted is not None and wanted > LONGEST_PAUSE:
                raise DownloadHTTPError(
                    f"{url} {_said(response.status)} and asks to come back in {wanted:.0f} seconds",
                    response.status,
                )
            seconds = pause if wanted is None else max(wanted, 0.0)
            if self._turns.put_off(seconds) > PAUSES_IN_ALL:
                return response
            with self._pace.resting():
                self._turns.rest()
            self._turns.resume()
        raise AssertionError("the last try returns")

    def _asked(self, url: str, conditions: dict[str, str]) -> urllib3.BaseHTTPResponse:
        scheme, host, port = endpoint(url)
        own = (scheme, host, port) in self._origin.endpoints and (scheme == "https" or is_loopback(host))
        headers = {"User-Agent": f"hashscan/{__version__}", "Accept-Encoding": "identity", **conditions}
        if own and self._credentials.authorization:
            headers["Authorization"] = self._credentials.authorization
        manager = self._manager(own, self._proxy(scheme, host))
        return manager.urlopen(
            "GET",
            url,
            headers=headers,
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(TIMEOUT),
            # Servers close connections that were kept for the next request, just when that comes.
            retries=urllib3.Retry(
                connect=0, read=1, redirect=0, status=0, other=0, respect_retry_after_header=False
            ),
        )

    def _proxy(self, scheme: str, host: str) -> str | None:
        """The proxy for a host; none for this machine, so that nothing meant for it leaves it."""
        if is_loopback(host):
            return None
        if self._origin.proxy:
            return self._origin.proxy
        proxies = urllib.request.getproxies()
        if urllib.request.proxy_bypass(host):
            return None
        return proxies.get(scheme) or proxies.get("all")

    def _manager(self, own: bool, proxy: str | None) -> urllib3.PoolManager:
        """Connections of one kind; those to strangers have no client certificate to show."""
        with self._making:
            if (own, proxy) not in self._managers:
                credentials = self._credentials if own else Credentials()
                context = tls_context(self._origin.ca_file, credentials.certificate, credentials.key)
                manager = (
                    _proxied(proxy, context)
                    if proxy
                    else urllib3.PoolManager(maxsize=AT_ONCE, ssl_context=context)
                )
                manager.pool_classes_by_scheme = self._pace.pools
                self._managers[own, proxy] = manager
            return self._managers[own, proxy]

    def give_up(self) -> None:
        """Have all downloads end soon, for good."""
        super().give_up()
        self._turns.give_up()
        self._pace.give_up()

    def close(self) -> None:
        """Close all connections."""
        for manager in self._managers.values():
            manager.clear()


def _proxied(proxy: str, context: object) -> urllib3.PoolManager:
    """Connections through a proxy, whose user and password may come from the environment's address of it."""
    address = urlsplit(proxy)
    login, _, place = address.netloc.rpartition("@")
    try:
        bare = checked_proxy(f"{address.scheme}://{place}")
    except UsageError as error:
        raise UsageError(
            "the proxy of the environment can't be used",
            advice="Set http_proxy and https_proxy, or unset them.",
        ) from error
    headers = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
    return urllib3.ProxyManager(bare, maxsize=AT_ONCE, ssl_context=context, proxy_headers=headers)


def _discard(response: urllib3.BaseHTTPResponse) -> None:
    """Make room for the next request on the same connection, where that costs less than a new one."""
    if response.length_remaining is not None and response.length_remaining <= CHUNK:
        response.drain_conn()
    else:
        response.close()


def _redirected(url: str, location: str) -> str:
    """Where an answer leads.

    Raises:
        DownloadError: to no place where a list may come from.
    """
    try:
        target = urljoin(url, location)
        scheme, host, _ = endpoint(target)
    except ValueError:
        raise DownloadError(f"{url} redirects to no web address") from None
    if not location or "@" in urlsplit(target).netloc:
        raise DownloadError(f"{url} redirects to no web address")
    if url.startswith("https://") and scheme != "https":
        raise DownloadError(f"{url} redirects to {host} without encryption")
    return target


def _retry_after(text: str) -> float | None:
    """Seconds that a server asks to wait, from a number or a date (RFC 9110, 10.2.3); None for neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return (parsedate_to_datetime(text).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None


def _said(status: int) -> str:
    """An answer's status for a person; a server's own words are not repeated."""
    try:
        return f"answers {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"answers {status}"
