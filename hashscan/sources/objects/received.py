"""Objects as a worker opens them: downloaded already, or coming as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hashscan.model import FileStat, Reason
from hashscan.sources.base import FileTrouble, OpenFile
from hashscan.sources.objects.receiving import Receiver
from hashscan.sources.objects.spool import NoRoom, Spool
from hashscan.sources.objects.store import Chunk


class KeptObject(OpenFile):
    """One whose bytes lie in a place of ours."""

    fetched = True

    def __init__(self, receiver: Receiver, spool: Spool, free: Callable[[], None]) -> None:
        """Take over what was received.

        Args:
            receiver: has received everything.
            spool: holds it; closed with this.
            free: called once it was closed.
        """
        self._receiver = receiver
        self._spool = spool
        self._free = free
        self.stat = _sized(receiver.item.stat, spool.size)
        self._closed = False

    @property
    def descriptor(self) -> int:
        """To read it by."""
        try:
            return self._spool.descriptor
        except NoRoom:
            raise FileTrouble(Reason.IO_ERROR, "no room for it, neither in memory nor in TMPDIR") from None

    @property
    def content(self) -> memoryview | None:
        """All of it, where it came in one piece."""
        return self._spool.content

    @property
    def compressed(self) -> str:
        """As its store tells viewers."""
        return self._receiver.compressed

    def check_unchanged(self) -> None:
        """Ask the store, where its answers prove nothing."""
        # What can have changed is what they were read from.
        self._receiver.check()

    def close(self) -> None:
        """Let it go."""
        if not self._closed:
            self._closed = True
            self._spool.close()
            self._free()


class PassingObject(OpenFile):
    """One for whose bytes there is no room: they pass by once."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._pieces = receiver.chunks()
        self.stat = receiver.item.stat

    @property
    def descriptor(self) -> int:
        """To read it by."""
        raise AssertionError("its bytes are nowhere")

    @property
    def pieces(self) -> Iterator[Chunk]:
        """All of it, once."""
        return self._pieces

    @property
    def compressed(self) -> str:
        """As its store tells viewers."""
        return self._receiver.compressed

    def check_unchanged(self) -> None:
        """Ask the store, where its answers prove nothing."""
        self.stat = _sized(self.stat, self._receiver.received)
        self._receiver.check()

    def close(self) -> None:
        """Let it go."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def _sized(stat: FileStat, size: int) -> FileStat:
    return stat if stat.size == size else stat._replace(size=size)
