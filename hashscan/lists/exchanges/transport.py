"""Bounded requests for the library's clients: an adapter that is mounted into each of their sessions.

An answer is read here, whole, before the library sees it: at most `SIZE_MAX` bytes, in at most `SECONDS_MAX`
seconds, not compressed. Requests go to the exchange's own server only: a page that names another server as
the next one, and any redirect, ends the fetch. So neither credentials nor requests reach another host, in a
private network or elsewhere. Login files (`.netrc`) and the environment's proxies are not used unseen: the
proxy comes with the request. A server's own text is not repeated in errors.
"""

from __future__ import annotations

import io
import signal
import ssl
import time
from collections.abc import Iterator, Sized
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from hashscan import __version__
from hashscan.errors import UsageError
from hashscan.web_address import parse
from hashscan.web_transport import describe_status, retry_after

SIZE_MAX = 16 << 20
"""Largest answer in bytes: sixteen kilobytes for each of the 1,000 records of a page."""
SECONDS_MAX = 300.0
"""Longest time for the header of an answer, and for its body."""
TIMEOUT = 30.0
"""Seconds to wait for a connection, and for each next piece of an answer."""
LONGEST_PAUSE = 120.0
PAUSES_IN_ALL = 600.0
"""Longest waits in seconds for a busy server: at once, and in one pull."""
CLOCKS_MAY_DIFFER = 300.0
"""Seconds. A fetch overlaps the one before by more."""
EMPTY_PAGES_MAX = 100
"""Pages without an entry that may follow each other."""
_CHUNK = 1 << 16
_TAKEN = frozenset({HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
"""Statuses of answers to what is sent, besides 200."""
_BUSY = frozenset({429, 500, 502, 503, 504})
_OUT_OF_TIME = frozenset({9, 10})
"""OpenSSL's codes for a certificate that is not yet or no longer valid."""
_KEEP = "the last good version stays in use."
CHECK_CREDENTIALS = f"Check the credentials, and that they are for this environment; {_KEEP}"
ASK_EXCHANGE = f"If it stays so, ask the exchange; {_KEEP}"


class FetchError(Exception):
    """The exchange gives no usable answer; the message is for people, and holds nothing of the answer."""

    def __init__(self, message: str, advice: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.advice = advice
        self.status = status
        """Status of the answer; 0 if there was none."""


class Transport:
    """The requests of one fetch."""

    def __init__(
        self, base: str, *, proxy: str | None, ca_file: str | None, pauses: tuple[float, ...]
    ) -> None:
        """Allow requests to the server of the address `base` only; for `pauses` see `Request`."""
        self.endpoint = parse(base.encode()).endpoint
        self.host = self.endpoint[1]
        self.skew: float | None = None
        """Seconds by which the server's clock is ahead of this machine's; None before the first answer."""
        self._proxy = proxy
        paths = ssl.get_default_verify_paths()
        self._verify: str | bool = ca_file or paths.cafile or paths.capath or True
        self._pauses = pauses
        self._waited = 0.0

    def mount(self, session: requests.Session) -> requests.Session:
        """Replace the adapters of a session of the library, and return the session."""
        session.trust_env = False
        session.verify = self._verify
        session.proxies = {"http": self._proxy, "https": self._proxy} if self._proxy else {}
        session.headers.update({"User-Agent": f"hashscan/{__version__}", "Accept-Encoding": "identity"})
        session.adapters.clear()
        session.mount("", _Adapter(self))
        return session

    def mount_everywhere(self) -> None:
        """Bound the requests of all sessions of this process, also of those that libraries make."""
        adapter, begin = _Adapter(self), requests.Session.__init__

        def begun(session: requests.Session, *args: Any, **options: Any) -> None:
            begin(session, *args, **options)
            self.mount(session)

        def chosen(*_: Any, **__: Any) -> HTTPAdapter:
            return adapter

        for name, replacement in (("__init__", begun), ("get_adapter", chosen)):
            setattr(requests.Session, name, replacement)

    def check_clock(self) -> None:
        """Compare this machine's clock with the server's; a wrong one would ask for other times than those in
        which records have changed."""
        if self.skew is None:
            raise FetchError(f"{self.host} does not say what time it is", ASK_EXCHANGE)
        if abs(self.skew) > CLOCKS_MAY_DIFFER:
            side = "behind" if self.skew > 0 else "ahead of"
            raise FetchError(
                f"this machine's clock is {abs(self.skew):.0f} seconds {side} that of {self.host}",
                f"Set this machine's clock, and pull again; {_KEEP}",
            )

    def note(self, response: requests.Response) -> None:
        """Compare the clocks by an answer's header."""
        try:
            theirs = parsedate_to_datetime(response.headers.get("Date", "")).astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            return
        self.skew = (theirs - datetime.now(UTC)).total_seconds()

    def rest(self, response: requests.Response | None, pause: float) -> None:
        """Wait before a retry, as long as the server asks for, or for `pause`.

        Raises:
            FetchError: the server asks for a longer wait than is allowed.
        """
        wanted = None if response is None else retry_after(response.headers.get("Retry-After", ""))
        seconds = pause if wanted is None else wanted
        self._waited += seconds
        if seconds > LONGEST_PAUSE or self._waited > PAUSES_IN_ALL:
            raise FetchError(
                f"{self.host} is busy and asks to come back in {seconds:.0f} seconds",
                "Pull again then; what came so far is kept.",
            )
        time.sleep(seconds)

    @property
    def pauses(self) -> tuple[float | None, ...]:
        """Pauses before retries; None after the last try."""
        return *self._pauses, None


class _Adapter(HTTPAdapter):
    """The adapter of the module's description."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def send(  # type: ignore[override]  # callers name all options
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """Send a request, and return the answer, whose body has been read."""
        transport = self._transport
        try:
            endpoint = parse(str(request.url).encode()).endpoint
        except UsageError:
            endpoint = ("", "", 0)
        if endpoint != transport.endpoint:
            raise FetchError(f"{transport.host} names another server as the next one", ASK_EXCHANGE)
        options = {**options, "stream": True, "timeout": TIMEOUT}
        for pause in transport.pauses:
            response = None
            try:
                with _deadline(transport.host):
                    response = super().send(request, **options)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                if pause is None or _certificate_error(error) is not None:
                    raise _unreachable(transport.host, error) from None
            else:
                transport.note(response)
                if response.status_code not in _BUSY or pause is None:
                    break
                response.close()
            transport.rest(response, pause)
        assert response is not None
        with closing(response.raw), _deadline(transport.host):
            body = self._body(response)
        response.raw = io.BytesIO(body)
        return response

    def _body(self, response: requests.Response) -> bytearray:
        host, status = self._transport.host, response.status_code
        if status != HTTPStatus.OK and (response.request.method == "GET" or status not in _TAKEN):
            refused = status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
            advice = CHECK_CREDENTIALS if refused else ASK_EXCHANGE
            raise FetchError(f"{host} {describe_status(status)}", advice, status)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchError(f"{host} sends a compressed answer, which was not asked for", ASK_EXCHANGE)
        body = bytearray()
        try:
            for piece in response.raw.stream(_CHUNK, decode_content=False):
                body += piece
                if len(body) > SIZE_MAX:
                    raise FetchError(
                        f"{host} sends an answer of more than {SIZE_MAX >> 20} MiB", ASK_EXCHANGE
                    )
        except (urllib3.exceptions.HTTPError, OSError):
            raise FetchError(f"the answer of {host} broke off") from None
        return body


@contextmanager
def _deadline(host: str) -> Iterator[None]:
    """End the body after `SECONDS_MAX` seconds; runs in the main thread only. A server that sends a byte now
    and then, or one interim answer after the other, starts the timeout of the socket again and again."""

    def end(*_: object) -> None:
        raise FetchError(f"{host} takes more than {SECONDS_MAX:.0f} seconds for an answer", ASK_EXCHANGE)

    before = signal.signal(signal.SIGALRM, end)
    # Again each second, in case the first error is lost in a destructor.
    signal.setitimer(signal.ITIMER_REAL, SECONDS_MAX, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class PageGuard:
    """Ends a fetch whose pages lead back to an earlier one, or have no entries."""

    def __init__(self, host: str, first: str | None = None) -> None:
        """Begin before the first page, whose name is `first` if it has one."""
        self._host = host
        self._seen = set() if first is None else {hash(first)}
        self._empty = 0

    def check(self, entries: Sized, next_page: object) -> None:
        """Check a page that was fetched.

        Args:
            entries: those of the page.
            next_page: the name by which the server asks for the next page; None if this is the last one.

        Raises:
            FetchError: the next page was fetched already, or too many pages without an entry follow each
                other.
        """
        if next_page is not None:
            if not isinstance(next_page, str) or not next_page or hash(next_page) in self._seen:
                raise FetchError(f"{self._host} names a page again that was fetched already", ASK_EXCHANGE)
            self._seen.add(hash(next_page))
        self._empty = 0 if entries else self._empty + 1
        if self._empty > EMPTY_PAGES_MAX:
            raise FetchError(f"{self._host} sends page after page without an entry", ASK_EXCHANGE)


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return the certificate error that an exception was made of; None if there is none."""
    seen: list[BaseException] = [error]
    for each in seen:
        if isinstance(each, ssl.SSLCertVerificationError):
            return each
        wrapped = (getattr(each, "reason", None), each.__cause__, each.__context__, *each.args)
        seen += [inner for inner in wrapped if isinstance(inner, BaseException) and inner not in seen]
    return None


def _unreachable(host: str, error: BaseException) -> FetchError:
    certificate = _certificate_error(error)
    if certificate is None:
        timeout = isinstance(error, requests.Timeout)
        return FetchError(f"{host} does not answer in time" if timeout else f"{host} can't be reached")
    if certificate.verify_code in _OUT_OF_TIME:
        advice = f"Check this machine's clock. If it is right, tell the exchange; {_KEEP}"
    else:
        advice = "If a proxy of yours certifies the server, name its authority with --ca-file."
    return FetchError(f"the certificate of {host} does not verify", advice)
