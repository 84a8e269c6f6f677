"""The source for single objects on web servers, by `http://` and `https://`: one URL is one object.

A server can't list anything, so each URL is requested when it is to be listed.

Web servers may send files that are being changed, so an object's headers are requested again after it was
read. If a server doesn't answer such requests, the bytes it sends are accepted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import ClassVar

import urllib3

from hashscan.errors import TargetError, UnreachableError, UsageError
from hashscan.model import DIRECT, Access, Batch, Item, Reason
from hashscan.sources.base import (
    Acquire,
    FileError,
    Gathering,
    Listing,
    ListingOptions,
    Opener,
    SkippedFile,
    Source,
    UnreadableName,
    no_rate_limit,
    strip_secrets,
)
from hashscan.sources.objects.download import ObjectOpener
from hashscan.sources.objects.listing import Sieve
from hashscan.sources.objects.receiver import Tries, bounded, normalize_etag
from hashscan.sources.objects.source import NamedObject, item_of, list_named, owner_of
from hashscan.sources.objects.store import (
    UNKNOWN_SIZE,
    Chunk,
    ObjectStore,
    ObjectStream,
    RetryableError,
    StoredObject,
)
from hashscan.sources.objects.web.client import READ_SECONDS, WebClient, next_piece
from hashscan.web_address import WebAddress, parse
from hashscan.web_transport import describe_status, retry_after

CHUNK = 256 << 10

SLOWEST = 1024
"""Minimum bytes per second, over a minute; slower downloads are cancelled, or a server could block a scan
without end."""

_ETAG_MAX = 256
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_HEAD = frozenset({401, 403, 405, 501})
"""Answers of servers that support only GET, or whose signed URLs are for GET."""


@dataclass(frozen=True, slots=True)
class _Properties:
    """The properties of an object in an answer's header; nothing else is compared."""

    size: int = UNKNOWN_SIZE
    etag: str = ""
    modified_ns: int = 0

    def differs(self, other: _Properties) -> bool:
        """Return True if both can't be of the same content."""
        if self.etag and other.etag:
            return self.etag != other.etag
        sizes, times = {self.size, other.size}, {self.modified_ns, other.modified_ns}
        return (len(sizes) > 1 and UNKNOWN_SIZE not in sizes) or (len(times) > 1 and 0 not in times)


_Headers = Mapping[str, str]


class WebStore(ObjectStore):
    """The store of one web host."""

    def __init__(self, origin: bytes, client: WebClient) -> None:
        self._origin = parse(origin)
        self._client = client

    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        """Check that the host answers; its answer for one URL says nothing about others."""
        try:
            Tries(time.sleep).run(lambda: self._client.reach(replace(self._origin, path=prefix)))
        except FileError as trouble:
            if trouble.reason is Reason.SLOW:
                # It may answer other requests faster.
                return
            raise UnreachableError(
                f"{self._origin.origin.decode()} can't be asked: {trouble.detail}",
                advice="Check the address, the network and, for https, the server's certificate.",
            ) from None

    def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
        """Not supported: raise AssertionError."""
        raise AssertionError("web servers list nothing")

    def look(self, address: WebAddress) -> StoredObject:
        """Return the properties of an object before it is read; an error here will appear again then."""
        try:
            known = self._ask_about(address)
        except (RetryableError, FileError):
            known = None
        known = known or _Properties()
        return StoredObject(address.name, known.size, known.modified_ns, known.etag)

    def read(self, item: Item, offset: int) -> ObjectStream:
        """Request an object, on condition that it is unchanged."""
        address = self._address(item)
        headers = {}
        if item.etag:
            headers["If-Match"] = f'"{item.etag}"'
            if offset:
                headers["Range"] = f"bytes={offset}-"
        response = self._client.ask("GET", address, headers)
        try:
            known, skip = _begun(response, offset)
            expected = _Properties(item.stat.size, item.etag, item.stat.mtime_ns)
            # If the sizes differ, the caller chooses the reason.
            if expected.differs(replace(known, size=UNKNOWN_SIZE)):
                raise FileError(Reason.CHANGED if offset else Reason.REPLACED)
        except BaseException:
            response.close()
            raise
        return ObjectStream(
            bounded(self._chunks(address, response, known, skip), known.size),
            size=known.size,
            etag=known.etag,
            media_type=response.headers.get("content-type", ""),
            close=response.close,
        )

    def _chunks(
        self, address: WebAddress, response: urllib3.BaseHTTPResponse, known: _Properties, skip: int
    ) -> Iterator[Chunk]:
        window = 0
        began = time.monotonic()
        while chunk := next_piece(response, CHUNK):
            window += len(chunk)
            now = time.monotonic()
            if now - began >= READ_SECONDS:
                if window < SLOWEST * (now - began):
                    raise FileError(Reason.SLOW, f"it came slower than {SLOWEST} bytes a second")
                began, window = now, 0
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            yield memoryview(chunk)[skip:]
            skip = 0
        # Check here and not after hashing: downloads wait for servers in parallel.
        if known != _Properties():
            now_known = Tries(time.sleep).run(lambda: self._ask_about(address))
            if now_known is not None and known.differs(now_known):
                raise FileError(Reason.CHANGED)

    def _ask_about(self, address: WebAddress) -> _Properties | None:
        """Request the properties of an object; return None if the server sends them only with the body."""
        response = self._client.ask("HEAD", address, {})
        # There is no body, so the connection can be kept.
        response.drain_conn()
        known = _known(response.headers, partial=False)
        if response.status == HTTPStatus.OK and known.size:
            return known
        # Some servers answer HEAD with length 0 for every object.
        empty = response.status == HTTPStatus.OK
        if empty or response.status in _NO_HEAD:
            # A request for the first byte returns the same headers.
            response = self._client.ask("GET", address, {"Range": "bytes=0-0"})
            response.close()
            if empty and response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return known
        if response.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return _known(response.headers, partial=response.status == HTTPStatus.PARTIAL_CONTENT)
        trouble = _refused(response.status, response.headers)
        if isinstance(trouble, RetryableError) or trouble.reason is Reason.VANISHED:
            raise trouble
        return None

    def _address(self, item: Item) -> WebAddress:
        origin = self._origin
        if not item.hidden:
            return replace(origin, path=item.name)
        return replace(origin, path=item.name.rpartition(b"?")[0], query=item.hidden)

    def close(self) -> None:
        """Close the connections, those to other hosts too."""
        self._client.close()


def _begun(response: urllib3.BaseHTTPResponse, offset: int) -> tuple[_Properties, int]:
    """Return the properties in the header of an answer, and the number of its first bytes to skip."""
    headers = response.headers
    if headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        # Its bytes would be hashed in compressed form, and a picture in them would not be found.
        raise FileError(Reason.IO_ERROR, "the server sends it compressed, though asked not to")
    if response.status == HTTPStatus.OK:
        return _known(headers, partial=False), offset
    if response.status == HTTPStatus.PARTIAL_CONTENT and offset:
        if not (headers.get("Content-Range") or "").startswith(f"bytes {offset}-"):
            raise FileError(Reason.IO_ERROR, "the server sends another part than was asked for")
        return _known(headers, partial=True), 0
    raise _refused(response.status, headers)


_REASONS: dict[int, Reason] = {
    HTTPStatus.UNAUTHORIZED: Reason.PERMISSION,
    HTTPStatus.FORBIDDEN: Reason.PERMISSION,
    HTTPStatus.NOT_FOUND: Reason.VANISHED,
    HTTPStatus.GONE: Reason.VANISHED,
    HTTPStatus.PRECONDITION_FAILED: Reason.REPLACED,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: Reason.REPLACED,
}


def _refused(status: int, headers: _Headers) -> FileError | RetryableError:
    detail = f"the server {describe_status(status)}"
    if status in _TRANSIENT:
        return RetryableError(detail, retry_after(headers.get("Retry-After") or "") or 0.0)
    return FileError(_REASONS.get(status, Reason.IO_ERROR), detail)


def _known(headers: _Headers, *, partial: bool) -> _Properties:
    length = headers.get("Content-Length") or ""
    if partial:
        length = (headers.get("Content-Range") or "").rpartition("/")[2]
    size = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else UNKNOWN_SIZE
    etag = headers.get("ETag") or ""
    # A weak etag doesn't identify bytes (RFC 9110, 8.8.3).
    weak = etag.startswith("W/") or not etag.isascii() or not etag.isprintable() or len(etag) > _ETAG_MAX
    return _Properties(
        size, "" if weak else normalize_etag(etag), _nanoseconds(headers.get("Last-Modified") or "")
    )


def _nanoseconds(date: str) -> int:
    try:
        return max(int(parsedate_to_datetime(date).astimezone(UTC).timestamp()), 0) * 10**9
    except (TypeError, ValueError, OverflowError):
        return 0


def _named(address: WebAddress, stored: StoredObject, sieve: Sieve) -> NamedObject:
    origin = address.origin
    item = item_of(stored, owner_of(origin))._replace(hidden=address.query)
    # Patterns apply to paths; the digest that replaces a query is not part of a path.
    return origin, item, sieve.reason(replace(stored, key=address.path))


class HttpSource(Source):
    """The source for objects by URL, without encryption."""

    name: ClassVar[str] = "http"
    libraries: ClassVar[tuple[str, ...]] = ("urllib3",)

    def __init__(self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT) -> None:
        """Parse the URLs; if all are of one host, check that it answers.

        Args:
            targets: URLs; each is one object.
            access: number of parallel requests. There is no endpoint here, and all requests are anonymous.

        Raises:
            UsageError: a URL contains a user or password.
            TargetError: a URL is not valid.
            UnreachableError: the only host doesn't answer.
        """
        self._options = options
        self._access = access
        self._addresses = tuple(dict.fromkeys(parse(target) for target in targets))
        for address in self._addresses:
            if address.scheme != self.name:
                raise TargetError(f"{address.shown.decode(errors='replace')!r} is no {self.name} address")
        if len(self.targets) == 1:
            store = WebStore(self.targets[0], WebClient(1))
            try:
                store.probe(self._addresses[0].path, all_versions=False)
            finally:
                store.close()

    @property
    def targets(self) -> tuple[bytes, ...]:
        """The hosts, each once."""
        return tuple(dict.fromkeys(address.origin for address in self._addresses))

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The URLs; queries, which may be signatures, are replaced by a digest."""
        return tuple(address.shown for address in self._addresses)

    def listings(self) -> Iterator[Listing]:
        """Request the headers of each URL; each batch is of one host."""
        sieve = Sieve(b"", self._options)
        waiting: dict[bytes, Gathering] = {}
        for address, stored in self._answered():
            origin, item, reason = _named(address, stored, sieve)
            if reason is not None:
                yield SkippedFile(origin, b"", item, reason)
            else:
                gathering = waiting.setdefault(origin, Gathering(self._options))
                yield from gathering.add(Batch(self.name, origin, b"", 0, 0, ()), item)
        for gathering in waiting.values():
            yield from gathering.flush()

    def listings_by_name(self, names: Iterator[bytes]) -> Iterator[Listing]:
        """List objects by URL; nothing is requested before they are read, so their sizes are unknown."""
        sieve = Sieve(b"", self._options)
        targets = frozenset(self._addresses)

        def look_up(name: bytes) -> NamedObject | Listing:
            try:
                address = parse(name)
            except UsageError as error:
                return UnreadableName(strip_secrets(name), b"", b"", Reason.NO_NAME, str(error))
            if targets and address not in targets:
                return UnreadableName(address.shown, b"", b"", Reason.OUTSIDE, "")
            return _named(address, StoredObject(address.name, UNKNOWN_SIZE, 0), sieve)

        return list_named(self.name, names, self._options, look_up)

    def _answered(self) -> Iterator[tuple[WebAddress, StoredObject]]:
        """Yield the URLs in order, with the servers' answers; several are requested in parallel."""
        threads = self._access.concurrency
        client = WebClient(threads)
        pending: deque[tuple[WebAddress, Future[StoredObject]]] = deque()
        executor = ThreadPoolExecutor(threads)
        try:
            for address in self._addresses:
                store = WebStore(address.origin, client)
                pending.append((address, executor.submit(store.look, address)))
                if len(pending) > 2 * threads:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            executor.shutdown(cancel_futures=True)
            client.close()

    @classmethod
    def opener(cls, access: Access, spend: Acquire = no_rate_limit) -> Opener:
        """Return an object that downloads objects."""
        return ObjectOpener(partial(WebStore, client=WebClient(access.concurrency)), access, spend)


class HttpsSource(HttpSource):
    """The source for objects by URL, over TLS."""

    name: ClassVar[str] = "https"
