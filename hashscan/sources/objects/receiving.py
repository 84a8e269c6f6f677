"""Receives the bytes of one object, over as many tries as it takes, all of one state of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from hashscan.errors import CredentialsError, UnreachableError
from hashscan.model import Item, Reason
from hashscan.sources.base import FileTrouble, Spend, unlimited
from hashscan.sources.objects.store import UNKNOWN_SIZE, Chunk, ObjectStore, Reading, Transient
from hashscan.sources.objects.tries import Tries

LONGEST_SECONDS = 24 * 3600.0
"""For one object, all tries together: whatever a server does, a sweep comes to an end."""

COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz"})
"""By the names that IANA has registered for HTTP."""


_ASKED_AT_FIRST = 1 << 20
"""Bytes of an object that are asked for with it: small ones come in one piece, many at a time."""


class GivenUp(Exception):
    """Nobody waits for this object any more."""


class _Bill:
    """What one object's bytes are still to be asked for."""

    def __init__(self, spend: Spend, listed: int) -> None:
        """Ask for an object, and for its first bytes if it is known how many it has."""
        self._spend = spend
        self._paid = max(0, min(listed, _ASKED_AT_FIRST))
        spend(1, self._paid)

    def add(self, size: int) -> None:
        """Ask for what has come; the next bytes come when this returns."""
        covered = min(size, self._paid)
        self._paid -= covered
        if size > covered:
            self._spend(0, size - covered)


class Receiver:
    """One object on its way."""

    def __init__(
        self,
        store: ObjectStore,
        item: Item,
        pause: Callable[[float], None],
        restart: Callable[[], None] | None = None,
        spend: Spend = unlimited,
    ) -> None:
        """Ask for nothing yet.

        Args:
            store: where it is.
            item: as it was listed.
            pause: waits so many seconds; raises GivenUp when nobody waits for the object any more.
            restart: forgets what was received; None where that can't be done.
            spend: asked before the object is fetched, and for its bytes as they come.
        """
        self.item = item
        """With what the store said of it once it was asked."""
        self.received = 0
        """Bytes."""
        self.proven = True
        """Whether what the store said is known to hold for all bytes."""
        self.compressed = ""
        """What viewers decompress the bytes by; empty where they show them as they are."""
        self._store = store
        self._pause = pause
        self._restart = restart
        self._spend = spend
        self._tries = Tries(pause)
        self._ends = time.monotonic() + LONGEST_SECONDS

    def chunks(self) -> Iterator[Chunk]:
        """All bytes in order; after `restart` they begin anew.

        Raises:
            FileTrouble: they can't be had.
            GivenUp: from `pause`.
        """
        bill = _Bill(self._spend, self.item.stat.size)
        while True:
            start = self.received
            try:
                for chunk in self._once():
                    yield chunk
                    bill.add(len(chunk))
            except Transient as trouble:
                resumable = bool(self.item.etag or self.item.version)
                # What is read again from the start is no progress.
                self._tries.failed(trouble, self.received - start if resumable else 0)
                if resumable:
                    continue
                # Nothing says that what follows would be of the same object.
                if self._restart is None:
                    if self.received:
                        raise FileTrouble(Reason.IO_ERROR, trouble.detail) from trouble
                else:
                    self._restart()
                self.received = 0
            else:
                return

    def _once(self) -> Iterator[Chunk]:
        """Read on from where the last try ended."""
        reading = self._begin()
        try:
            item = self.item = expect(self.item, reading, begun=self.received > 0)
            self.compressed = compression_of(reading.encoding)
            size = item.stat.size if reading.size == UNKNOWN_SIZE else reading.size
            for chunk in reading.chunks:
                self._pause(0.0)
                if size != UNKNOWN_SIZE and self.received + len(chunk) > size:
                    raise FileTrouble(Reason.IO_ERROR, "the store sends more bytes than it says")
                if time.monotonic() > self._ends:
                    raise FileTrouble(Reason.SLOW, f"not complete after {LONGEST_SECONDS / 3600:.0f} hours")
                self.received += len(chunk)
                yield chunk
        finally:
            reading.close()
        if size != UNKNOWN_SIZE and self.received < size:
            raise Transient(f"the connection ended after {self.received} of {size} bytes")
        self.proven = reading.proven

    def _begin(self) -> Reading:
        try:
            return self._store.read(self.item, self.received)
        except CredentialsError as error:
            raise FileTrouble(Reason.CREDENTIALS, str(error)) from error
        except UnreachableError as error:
            raise Transient(str(error)) from error

    def check(self) -> None:
        """Where the bytes' state is not proven, ask the store whether the object is still in it.

        Raises:
            FileTrouble: it is not, or nobody can say.
        """
        tries = Tries(self._pause)
        while not self.proven:
            try:
                self._store.check(self.item)
            except Transient as trouble:
                tries.failed(trouble)
            else:
                return


def expect(item: Item, reading: Reading, *, begun: bool) -> Item:
    """Compare what is about to be read with what was listed, or with what was begun to be read.

    Returns:
        The item, with etag and version where only the answer has them: what follows must have the same.

    Raises:
        FileTrouble: it is another object.
    """
    listed = item.stat.size
    same_size = UNKNOWN_SIZE in {listed, reading.size} or listed == reading.size
    known = bool(item.etag and reading.etag)
    if (known and bare(item.etag) != bare(reading.etag)) or (
        item.version and reading.version and item.version != reading.version
    ):
        raise FileTrouble(Reason.CHANGED if begun else Reason.REPLACED)
    if not same_size:
        detail = f"listed with {listed} bytes, sent with {reading.size}"
        raise FileTrouble(Reason.IO_ERROR if known else Reason.REPLACED, detail)
    return item._replace(etag=item.etag or reading.etag, version=item.version or reading.version)


def compression_of(encoding: str) -> str:
    """What a viewer decompresses by that is told this encoding; what it doesn't know it leaves as it is."""
    names = [name.strip().lower() for name in encoding.split(",")]
    return ", ".join(name for name in names if name in COMPRESSIONS)


def bare(etag: str) -> str:
    """An etag without what some answers of one store put around it and others don't."""
    return etag.removeprefix("W/").strip('"')
