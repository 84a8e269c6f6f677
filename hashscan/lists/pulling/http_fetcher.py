"""Download a list's files from a web server, with retries, redirects, proxies and credentials.

 * Credentials are sent only to the list's own hosts: not to the target of a redirect, and never unencrypted.
 * A redirect from https is followed to https only, since the content of a list is confidential.
 * If a server is busy, the request is retried a few times, after the time that the server names if that is
   short. All downloads wait during that time, and then run one at a time.
 * A server that is slower than the minimum speed of `transfer_limits` is given up.

Importing this module imports tuf and urllib3, so other modules import it on first use.
"""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from hashscan.errors import UsageError
from hashscan.lists.pulling.concurrency import AT_ONCE
from hashscan.lists.pulling.credentials import Credentials, tls_context
from hashscan.lists.pulling.fetching import CHUNK, FOLDER_URL, FolderFetcher, StagingFetcher
from hashscan.lists.pulling.origin import WEB, Origin, checked_proxy, is_loopback
from hashscan.lists.pulling.pull_state import Validators
from hashscan.lists.pulling.transfer_limits import RequestSlots, ThroughputGuard
from hashscan.web_address import WebAddress, parse, split_url
from hashscan.web_transport import (
    RedirectError,
    close_pools,
    describe_status,
    follow_redirects,
    retry_after,
    send,
)

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
        """Prepare to download for one list.

        Args:
            origin: the list's own hosts and their connection settings.
            credentials: credentials for these hosts.
            staging: folder for downloads; None means the system's temporary folder.
            validators: HTTP validators of the servers' timestamps, to request only newer ones.
            received: called for each piece with its number of bytes.
        """
        super().__init__(staging, received)
        self._origin = origin
        self._credentials = credentials
        self._validators = validators
        self._pace = ThroughputGuard()
        self._turns = RequestSlots(AT_ONCE)
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
                raise DownloadHTTPError(f"{url} {describe_status(response.status)}", response.status)
            whole = []
            while piece := response.read1(CHUNK, decode_content=False):
                self._pace.got(len(piece))
                if timestamp:
                    whole.append(piece)
                yield piece
        if timestamp and self._validators:
            self._validators.note(url, response.headers, b"".join(whole))

    def _answer(self, url: str, conditions: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Return the answer to a request, following redirects and retrying while a server is busy."""
        try:
            return follow_redirects(
                parse(url.encode()), lambda address: self._patient(address, conditions), _discard
            )
        except RedirectError as error:
            raise DownloadError(f"{url} is {error}") from None

    def _patient(self, address: WebAddress, conditions: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Return the answer to a request at one address, with retries while its server is busy."""
        for pause in (*PAUSES, None):
            response = self._asked(address, conditions)
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
            if self._turns.put_off(seconds) > PAUSES_IN_ALL:
                return response
            with self._pace.resting():
                self._turns.rest()
            self._turns.resume()
        raise AssertionError("the last try returns")

    def _asked(self, address: WebAddress, conditions: dict[str, str]) -> urllib3.BaseHTTPResponse:
        scheme, host, _ = address.endpoint
        own = address.endpoint in self._origin.endpoints and (scheme == "https" or is_loopback(host))
        headers = dict(conditions)
        if own and self._credentials.authorization:
            headers["Authorization"] = self._credentials.authorization
        manager = self._manager(own, self._proxy(scheme, host))
        return send(manager, "GET", address.url, headers, urllib3.Timeout(TIMEOUT))

    def _proxy(self, scheme: str, host: str) -> str | None:
        """Return the proxy for a host; None for this machine, so that no request to it leaves it."""
        if is_loopback(host):
            return None
        if self._origin.proxy:
            return self._origin.proxy
        proxies = urllib.request.getproxies()
        if urllib.request.proxy_bypass(host):
            return None
        return proxies.get(scheme) or proxies.get("all")

    def _manager(self, own: bool, proxy: str | None) -> urllib3.PoolManager:
        """Return the connection pool of one kind; pools for foreign hosts have no client certificate."""
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
        """Make all downloads end soon; the fetcher can't be used afterwards."""
        super().give_up()
        self._turns.give_up()
        self._pace.give_up()

    def close(self) -> None:
        """Close all connections."""
        for manager in self._managers.values():
            close_pools(manager)


def _proxied(proxy: str, context: object) -> urllib3.PoolManager:
    """Return a connection pool through a proxy; the environment's address may contain user and password."""
    try:
        login = (split_url(proxy.encode()).user or b"").decode()
        bare = checked_proxy(proxy.replace(f"{login}@", "", 1))
    except (UsageError, ValueError) as error:
        raise UsageError(
            "the proxy of the environment can't be used",
            advice="Set http_proxy and https_proxy, or unset them.",
        ) from error
    headers = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
    return urllib3.ProxyManager(bare, maxsize=AT_ONCE, ssl_context=context, proxy_headers=headers)


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
    """Return the address of a location for its fetcher, and the fetcher.

    Args:
        location: the source or a mirror of `origin`.
        origin: the list's origin.
        credentials: credentials for its web servers.
        staging: folder for downloads; None means the system's temporary folder.
        validators: HTTP validators of the servers' timestamps.
        received: called for each piece with its number of bytes.
    """
    if location.startswith(WEB):
        return location, HttpFetcher(origin, credentials, staging, validators=validators, received=received)
    return FOLDER_URL, FolderFetcher(Path(location), staging, received)
