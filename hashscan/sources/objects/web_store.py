"""A web host as an object store: request an object's headers before it is read, read it, and check again.

Web servers may send files that are being changed. If a server doesn't answer such requests, the bytes it
sends are accepted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from hashscan.errors import UnreachableError
from hashscan.model import Item, Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.receiving import normalize_etag
from hashscan.sources.objects.store import (
    UNKNOWN_SIZE,
    Chunk,
    ObjectStore,
    ObjectStream,
    RetryableError,
    StoredObject,
)
from hashscan.sources.objects.tries import Tries
from hashscan.sources.objects.unsized import bounded
from hashscan.sources.objects.web_address import WebAddress, parse
from hashscan.sources.objects.web_client import READ_SECONDS, WebClient, describe_status, next_piece

if TYPE_CHECKING:
    import urllib3

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


class _Header(Protocol):
    def get(self, name: str, /) -> str | None: ...


class WebStore(ObjectStore):
    """The store of one web host."""

    def __init__(self, origin: bytes, client: WebClient) -> None:
        self._origin = parse(origin)
        self._client = client

    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        """Check that the host answers; its answer for one URL says nothing about others.

        Raises:
            UnreachableError: it doesn't.
        """
        tries = Tries(time.sleep)
        try:
            while True:
                try:
                    self._client.reach(replace(self._origin, path=prefix))
                except RetryableError as trouble:
                    tries.failed(trouble)
                else:
                    return
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
            now_known = self._ask_patiently(address)
            if now_known is not None and known.differs(now_known):
                raise FileError(Reason.CHANGED)

    def _ask_patiently(self, address: WebAddress) -> _Properties | None:
        tries = Tries(time.sleep)
        while True:
            try:
                return self._ask_about(address)
            except RetryableError as trouble:
                tries.failed(trouble)

    def _ask_about(self, address: WebAddress) -> _Properties | None:
        """Request the properties of an object; return None if the server sends them only with the body.

        Raises:
            FileError: it is gone.
            Transient: a retry may succeed.
        """
        response = self._client.ask("HEAD", address, {})
        # There is no body, so the connection can be kept.
        response.drain_conn()
        known = _known(response.headers, partial=False)
        if response.status == HTTPStatus.OK and known.size:
            return known
        # Some servers answer HEAD with length 0 for every object.
        nought = response.status == HTTPStatus.OK
        if nought or response.status in _NO_HEAD:
            # A request for the first byte returns the same headers.
            response = self._client.ask("GET", address, {"Range": "bytes=0-0"})
            response.close()
            if nought and response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
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
    """Return the properties in the header of an answer, and the number of its first bytes to skip.

    Raises:
        FileError: the answer is not the object.
        Transient: a retry may succeed.
    """
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


def _refused(status: int, headers: _Header) -> FileError | RetryableError:
    if status in _TRANSIENT:
        wait = (headers.get("Retry-After") or "").strip()
        return RetryableError(
            describe_status(status), float(wait[:9]) if wait.isascii() and wait.isdigit() else 0.0
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return FileError(Reason.PERMISSION, describe_status(status))
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return FileError(Reason.VANISHED, describe_status(status))
    if status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
        return FileError(Reason.REPLACED, describe_status(status))
    return FileError(Reason.IO_ERROR, describe_status(status))


def _known(headers: _Header, *, partial: bool) -> _Properties:
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
