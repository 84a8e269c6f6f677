"""The interface of object stores: list the objects of a container, read one object, interpret refusals.

A store is one container (a bucket, a host), used by one process. Its methods are called from several threads
at once. Nothing of a vendor's library is visible here: neither its types nor its errors, and no text of its
errors either, because servers repeat parts of the request, including credentials.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hashscan.errors import TargetError
from hashscan.model import FolderReason, Item, Reason
from hashscan.sources.base import FileError, StoredChecksum
from hashscan.sources.objects.checksums import parse_checksum

Chunk = bytes | memoryview

UNKNOWN_SIZE = -1
"""Value of `FileStat.size` if the store doesn't report the size before the object is read."""


class RetryableError(Exception):
    """An error after which a retry may succeed: the server is busy, or the connection was lost.

    The message goes into reports if no retry helped, so it contains no text of the server but codes.
    """

    def __init__(self, detail: str, wait_seconds: float = 0.0, reason: Reason = Reason.IO_ERROR) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason
        """The reason that is reported if no retry helps."""
        self.wait_seconds = wait_seconds
        """The wait that the server asks for; 0 if it doesn't say."""


class ListingError(Exception):
    """The error that a listing can't continue; the rest stays unseen, and the report says so."""

    def __init__(self, reason: FolderReason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason
        self.detail = detail

    @classmethod
    def of(cls, trouble: FileError | RetryableError) -> ListingError:
        """Return the listing error for an error about one object."""
        denied = isinstance(trouble, FileError) and trouble.reason is Reason.PERMISSION
        return cls(FolderReason.PERMISSION if denied else FolderReason.IO_ERROR, trouble.detail)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a listing; one version of it if versions were requested."""

    key: bytes
    size: int
    """Size in bytes; UNKNOWN_SIZE if the store doesn't report it."""
    modified_ns: int
    """Time when it was stored, in nanoseconds since 1970."""
    etag: str = ""
    """The store's identifier for the content; never used as a digest."""
    version: str = ""
    checksum: str = ""
    """See `Item.checksum`."""
    archived: bool = False
    """True in a storage class that must be restored before it can be read."""


@dataclass(frozen=True, slots=True)
class PrefixListing:
    """The objects and prefixes under a prefix, up to the next slash."""

    objects: Sequence[StoredObject]
    prefixes: Sequence[bytes]
    """Complete prefixes, each with its slash."""


@dataclass(frozen=True, slots=True)
class ObjectStream:
    """The bytes of one object while they are read, from one consistent state of it."""

    chunks: Iterator[Chunk]
    """Iterating may raise RetryableError; it ends early only by raising."""
    size: int = UNKNOWN_SIZE
    """Size of the whole object, whatever the offset of the first chunk."""
    etag: str = ""
    version: str = ""
    proven: bool = True
    """True if the answer's own headers prove that all chunks are of the object that `etag` or `version`
    names; otherwise `check` is called after they have been read."""
    checksum: str = ""
    """See `Item.checksum`; of the whole object."""
    encoding: str = ""
    """Content encoding that viewers receive; they decode it first (RFC 9110, 8.4)."""
    media_type: str = ""
    """MIME type that viewers receive."""
    close: Callable[[], None] = lambda: None
    """Close the answer without reading the rest."""


class ObjectStore(ABC):
    """One container of an object store."""

    @abstractmethod
    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        """Request the first object under a prefix, to detect general errors early.

        Raises:
            TargetError: wrong or missing credentials, no such container, or no right to list it; with the
                container's name and the remedy.
            UnreachableError: no server answers.
        """

    @abstractmethod
    def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
        """List every object whose key begins with a prefix, in pages; one page is in memory at a time.

        Args:
            prefix: plain bytes, not a folder.
            all_versions: list every version of every key instead of the current ones. Delete markers are not
                objects.

        Raises:
            ListingError: the listing can't continue.
        """

    def level(self, prefix: bytes, *, all_versions: bool) -> PrefixListing | None:
        """List the objects and prefixes under a prefix up to the next slash, in one request.

        Returns:
            None if one request doesn't return everything, or the store doesn't support it; the prefix is then
            listed by `pages`.

        Raises:
            ListingError: it can't be listed.
        """
        return None

    @abstractmethod
    def read(self, item: Item, offset: int) -> ObjectStream:
        """Begin to read an object, without retries.

        Args:
            item: as it was listed: `name` is the whole key, `version` the version to read if there is one,
                and `etag` the one it had; if the store supports it, the request has the condition that the
                etag is unchanged.
            offset: the first byte to read.

        Raises:
            FileError: it can't be read: VANISHED, REPLACED (another etag), PERMISSION, ARCHIVED, IO_ERROR.
            RetryableError: a retry may succeed.
        """

    def checksum(self, item: Item) -> StoredChecksum | None:
        """Return the checksum that the store has stated of an object; None if there is none.

        Args:
            item: with the etag of the reading.
        """
        return parse_checksum(item.checksum)

    def stated_checksum(self, item: Item) -> StoredChecksum | None:
        """Ask the store for the checksum of an object whose ETag is not the MD5 of the bytes.

        Returns:
            A checksum that was computed of the bytes, or the ETag if the store says that it is an MD5; None
            if it states neither.
        """
        return None

    def check(self, item: Item) -> None:
        """Check that an object is still as it was when it was read; only for readings that are not proven.

        Args:
            item: with the etag and version of the reading.

        Raises:
            FileError: it has changed, or is gone.
            RetryableError: a retry may succeed.
        """
        raise AssertionError("all readings of this store are proven")

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""


def key_text(key: bytes, service: str) -> str:
    """Return a key as the text that a request to a service needs."""
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        raise FileError(Reason.IO_ERROR, f"the key is not UTF-8, which {service} requires") from None


def prefix_text(prefix: bytes) -> str:
    """Return a prefix as the text that a request needs."""
    try:
        return prefix.decode("utf-8")
    except UnicodeDecodeError:
        raise ListingError(FolderReason.IO_ERROR, "the prefix is not UTF-8") from None


def extra_missing(url: str, extra: str, error: ModuleNotFoundError) -> TargetError:
    """Return the error that the Python packages of an extra are not installed."""
    return TargetError(
        f"{url} needs the Python package {error.name}",
        advice=f"Install it with `pip install 'hashscan[{extra}]'`.",
    )


def credentials_not_renewed(error: Exception) -> RetryableError:
    """Return the error for a failure to renew credentials; only the type of the cause is shown."""
    detail = f"credentials could not be renewed ({type(error).__name__})"
    return RetryableError(detail, reason=Reason.CREDENTIALS)


def read_pieces(read: Callable[[], bytes], failures: tuple[type[Exception], ...]) -> Iterator[Chunk]:
    """Yield the pieces of an answer up to the first empty one; after a failure, a retry may succeed."""
    try:
        while piece := read():
            yield piece
    except failures:
        raise RetryableError("the connection was cut") from None


def close_clients(owner: object, closed: Sequence[str], dropped: str) -> None:
    """Close the clients that are cached properties of an object; forget these, and `dropped`."""
    for name in closed:
        client = owner.__dict__.pop(name, None)
        if client is not None:
            client.close()
    owner.__dict__.pop(dropped, None)


_BUSY = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException"}
    | {"RequestLimitExceeded", "TooManyRequests", "ServerBusy", "OperationTimedOut"}
)
_NO_RIGHT = frozenset(
    {"AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
    | {"InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "AccountProblem"}
)
_ARCHIVED = frozenset({"InvalidObjectState", "BlobArchived"})

_PLAIN = re.compile(r"[A-Za-z0-9.]{1,64}")


def refused(status: int, code: str, *, begun: bool = False) -> FileError | RetryableError:
    """Return the error for an answer without the object, by its HTTP status and the service's code; `begun`
    if some of the object was read before."""
    code = code if _PLAIN.fullmatch(code) else ""
    detail = f"the server answers {code or status}"
    if code in _ARCHIVED:
        return FileError(Reason.ARCHIVED)
    if code in _BUSY or status in {408, 429} or status >= 500:
        return RetryableError(detail)
    if code in _NO_RIGHT or status in {401, 403}:
        return FileError(Reason.PERMISSION, detail)
    # 405: the version has become a delete marker.
    if status in {404, 405, 410}:
        return FileError(Reason.VANISHED)
    # 416: the object is shorter than the part that was read before.
    if status == 412 or (status == 416 and begun):
        return FileError(Reason.CHANGED if begun else Reason.REPLACED)
    return FileError(Reason.IO_ERROR, detail)
