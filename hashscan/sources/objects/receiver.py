"""Download the bytes of one object with retries, all from the same state of the object."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from hashscan.errors import CredentialsError, UnreachableError
from hashscan.model import Item, Reason
from hashscan.sources.base import Acquire, FileError, StoredChecksum, no_rate_limit
from hashscan.sources.objects.checksums import Extend, extend_of, parse_checksum
from hashscan.sources.objects.store import UNKNOWN_SIZE, Chunk, ObjectStore, ObjectStream, RetryableError

T = TypeVar("T")

UNSIZED_MAX = 1 << 30
"""Maximum size in bytes of an object whose store doesn't declare its size."""


def bounded(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """Yield chunks unchanged; reject an object of unknown size that is too large."""
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if size == UNKNOWN_SIZE and total > UNSIZED_MAX:
            raise FileError(
                Reason.IO_ERROR, f"its size is not declared, and it has more than {UNSIZED_MAX} bytes"
            )
        yield chunk


TRIES = 6
"""Maximum number of tries without progress; with the pauses below they take some 6 seconds, after which a
busy server has either slowed us down or won't serve us."""

PATIENCE_SECONDS = 120.0
"""Seconds after the first of several failures without progress; then there are no more retries, because each
may take a minute to fail."""

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0

PROGRESS_BYTES = 1 << 20
"""Bytes received since the last failure that count as progress."""


class Tries:
    """The retries for one object."""

    def __init__(self, pause: Callable[[float], None]) -> None:
        """Store the function that waits a number of seconds; it may raise to cancel."""
        self._pause = pause
        self._failed = 0
        self._since = 0.0

    def failed(self, trouble: RetryableError, progress_bytes: int = 0) -> None:
        """Count a failure, and wait before the next try.

        Raises:
            FileError: it was the last try.
        """
        if progress_bytes >= PROGRESS_BYTES:
            self._failed = 0
        self._failed += 1
        now = time.monotonic()
        if self._failed == 1:
            self._since = now
        if self._failed >= TRIES or now - self._since > PATIENCE_SECONDS:
            raise FileError(trouble.reason, f"{trouble.detail}; {self._failed} tries") from trouble
        pause = _FIRST_PAUSE * 2 ** (self._failed - 1)
        # Random, so that the retries of many downloads don't reach a busy server at the same moment.
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - nothing to guess
        self._pause(min(max(pause, trouble.wait_seconds), _LONGEST_PAUSE))

    def run(self, step: Callable[[], T]) -> T:
        """Return the result of a step, which is repeated after each RetryableError.

        Raises:
            FileError: the last try failed.
        """
        while True:
            try:
                return step()
            except RetryableError as trouble:
                self.failed(trouble)


LONGEST_SECONDS = 24 * 3600.0
"""Maximum seconds for one object, with all retries: whatever a server does, a scan comes to an end."""

COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz"})
"""Names of compressions, as IANA has registered them for HTTP."""


_ASKED_AT_FIRST = 1 << 20
"""Bytes of an object that the rate limiter is asked for in advance: small objects come in one piece, many at
a time."""


class DownloadCancelled(Exception):
    """The error that a download was cancelled, because nothing waits for the object any more."""


class _RateAccount:
    """The bytes of one object that the rate limiter has not been asked for yet."""

    def __init__(self, spend: Acquire, listed: int) -> None:
        """Ask the rate limiter for an object, and for its first bytes if its size is known."""
        self._spend = spend
        self._paid = max(0, min(listed, _ASKED_AT_FIRST))
        spend(1, self._paid)

    def add(self, size: int) -> None:
        """Ask the rate limiter for bytes that have arrived; the next bytes are read after it returns."""
        covered = min(size, self._paid)
        self._paid -= covered
        if size > covered:
            self._spend(0, size - covered)


class Receiver:
    """The download of one object."""

    def __init__(
        self,
        store: ObjectStore,
        item: Item,
        pause: Callable[[float], None],
        restart: Callable[[], None] | None = None,
        spend: Acquire = no_rate_limit,
    ) -> None:
        """Prepare a download without sending anything.

        Args:
            pause: waits for a number of seconds; raises DownloadCancelled when nothing waits for the object.
            restart: discards what was received; None if that is not possible.
            spend: rate limiter, called before the object is fetched, and for its bytes as they arrive.
        """
        self.item = item
        """The item, with etag and version from the store's answer."""
        self.received = 0
        self.proven = True
        """True if the etag and version are proven to hold for all bytes."""
        self.compressed = ""
        """The encodings that viewers decompress; empty if there are none."""
        self.media_type = ""
        """The MIME type that the store states; empty if it states none."""
        self._stored: StoredChecksum | None = None
        self._extend: Extend | None = None
        self._crc = 0
        self._store = store
        self._pause = pause
        self._restart = restart
        self._spend = spend
        self._tries = Tries(pause)
        self._ends = time.monotonic() + LONGEST_SECONDS

    def chunks(self) -> Iterator[Chunk]:
        """Yield all bytes in order; after `restart` they begin again.

        Raises:
            FileError: they can't be read.
            DownloadCancelled: from `pause`.
        """
        bill = _RateAccount(self._spend, self.item.stat.size)
        while True:
            start = self.received
            try:
                for chunk in self._once():
                    yield chunk
                    bill.add(len(chunk))
            except RetryableError as trouble:
                resumable = bool(self.item.etag or self.item.version)
                # Bytes that are read again from the start are not progress.
                self._tries.failed(trouble, self.received - start if resumable else 0)
                if resumable:
                    continue
                # Without etag and version, the rest may be of another object.
                if self._restart is None:
                    if self.received:
                        raise FileError(Reason.IO_ERROR, trouble.detail) from trouble
                else:
                    self._restart()
                self.received = 0
            else:
                return

    def _once(self) -> Iterator[Chunk]:
        """Continue where the last try ended."""
        reading = self._begin()
        try:
            item = self.item = require_same_object(self.item, reading, begun=self.received > 0)
            self.compressed = compression_of(reading.encoding)
            self.media_type = reading.media_type
            if not self.received:
                self._begin_checksum(reading)
            size = item.stat.size if reading.size == UNKNOWN_SIZE else reading.size
            for chunk in reading.chunks:
                self._pause(0.0)
                if size != UNKNOWN_SIZE and self.received + len(chunk) > size:
                    raise FileError(Reason.IO_ERROR, "the store sends more bytes than it says")
                if time.monotonic() > self._ends:
                    raise FileError(Reason.SLOW, f"not complete after {LONGEST_SECONDS / 3600:.0f} hours")
                self.received += len(chunk)
                if self._extend is not None:
                    self._crc = self._extend(self._crc, bytes(chunk))
                yield chunk
        finally:
            reading.close()
        if size != UNKNOWN_SIZE and self.received < size:
            raise RetryableError(f"the connection ended after {self.received} of {size} bytes")
        self.proven = reading.proven

    def _begin_checksum(self, reading: ObjectStream) -> None:
        """Take the checksum that the store states, and prepare to compute it if it is a CRC."""
        self._stored = parse_checksum(reading.checksum) or self._store.checksum(self.item)
        self._extend, self._crc = None, 0
        if self._stored is not None:
            # Of an object with an ETag, the CRC is compared if the ETag turns out to be no MD5.
            listed, _, _ = self.item.checksum.partition(":")
            self._extend = extend_of(listed if self._stored.from_etag else self._stored.algorithm)

    @property
    def checksum(self) -> StoredChecksum | None:
        """The checksum of the whole object; call it after all bytes have arrived."""
        if self._stored is None or self._extend is None:
            return self._stored
        return self._stored._replace(received=self._crc.to_bytes(4))

    def _begin(self) -> ObjectStream:
        try:
            return self._store.read(self.item, self.received)
        except CredentialsError as error:
            raise FileError(Reason.CREDENTIALS, str(error)) from error
        except UnreachableError as error:
            raise RetryableError(str(error)) from error

    def check(self) -> None:
        """Ask the store whether the object is unchanged, if that is not proven.

        Raises:
            FileError: it has changed, or the store can't answer.
        """
        if not self.proven:
            Tries(self._pause).run(lambda: self._store.check(self.item))


def require_same_object(item: Item, reading: ObjectStream, *, begun: bool) -> Item:
    """Compare an answer with what was listed, or with the part that was read before. Return the item, with
    etag and version from the answer if the listing had none: later answers must have the same."""
    listed = item.stat.size
    same_size = UNKNOWN_SIZE in {listed, reading.size} or listed == reading.size
    known = bool(item.etag and reading.etag)
    if (known and normalize_etag(item.etag) != normalize_etag(reading.etag)) or (
        item.version and reading.version and item.version != reading.version
    ):
        raise FileError(Reason.CHANGED if begun else Reason.REPLACED)
    if not same_size:
        detail = f"listed with {listed} bytes, sent with {reading.size}"
        raise FileError(Reason.IO_ERROR if known else Reason.REPLACED, detail)
    return item._replace(etag=item.etag or reading.etag, version=item.version or reading.version)


def compression_of(encoding: str) -> str:
    """Return the compressions that a viewer removes for this encoding; unknown ones are left out."""
    names = [name.strip().lower() for name in encoding.split(",")]
    return ", ".join(name for name in names if name in COMPRESSIONS)


def normalize_etag(etag: str) -> str:
    """Return an etag without the marks that a store adds in some answers and not in others."""
    return etag.removeprefix("W/").strip('"')
