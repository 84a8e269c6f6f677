"""Objects as a worker opens them: already downloaded, or streamed while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hashscan.model import FileStat, Reason
from hashscan.sources.base import FileError, OpenFile
from hashscan.sources.objects.receiving import Receiver
from hashscan.sources.objects.spool import NoSpaceError, Spool
from hashscan.sources.objects.store import Chunk


class KeptObject(OpenFile):
    """An object whose bytes were downloaded to memory or to a temporary file."""

    fetched = True

    def __init__(self, receiver: Receiver, spool: Spool, free: Callable[[], None]) -> None:
        """Take over the received bytes.

        Args:
            receiver: has received everything.
            spool: contains the bytes; it is closed with this object.
            free: called after closing.
        """
        self._receiver = receiver
        self._spool = spool
        self._free = free
        self.stat = _sized(receiver.item.stat, spool.size)
        self._closed = False

    @property
    def descriptor(self) -> int:
        """A descriptor to read it."""
        try:
            return self._spool.descriptor
        except NoSpaceError:
            raise FileError(Reason.IO_ERROR, "no room for it, neither in memory nor in TMPDIR") from None

    @property
    def content(self) -> memoryview | None:
        """All bytes, if they arrived in one piece; otherwise None."""
        return self._spool.content

    @property
    def compressed(self) -> str:
        """The encodings that viewers decompress, as its store declares them."""
        return self._receiver.compressed

    def check_unchanged(self) -> None:
        """Ask the store whether the object is unchanged, if the store's answer did not prove that."""
        # The downloaded bytes can't change; the object in the store can.
        self._receiver.check()

    def close(self) -> None:
        """Release the bytes."""
        if not self._closed:
            self._closed = True
            self._spool.close()
            self._free()


class PassingObject(OpenFile):
    """An object for whose bytes there is no space: they are streamed once."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._pieces = receiver.chunks()
        self.stat = receiver.item.stat

    @property
    def descriptor(self) -> int:
        """Not available: the bytes are not stored."""
        raise AssertionError("its bytes are nowhere")

    @property
    def stream(self) -> Iterator[Chunk]:
        """All bytes, readable once."""
        return self._pieces

    @property
    def compressed(self) -> str:
        """The encodings that viewers decompress, as its store declares them."""
        return self._receiver.compressed

    def check_unchanged(self) -> None:
        """Ask the store whether the object is unchanged, if the store's answer did not prove that."""
        self.stat = _sized(self.stat, self._receiver.received)
        self._receiver.check()

    def close(self) -> None:
        """Close the stream."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def _sized(stat: FileStat, size: int) -> FileStat:
    return stat if stat.size == size else stat._replace(size=size)
