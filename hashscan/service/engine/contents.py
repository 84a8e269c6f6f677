"""Hold the bytes of an upload: in a sealed memory file, or behind a descriptor that a client passed."""

from __future__ import annotations

from hashscan.locking import ClosedOnExit


class Content(ClosedOnExit):
    """The bytes of one upload, complete and open for reading."""

    descriptor: int
    size: int
    """Bytes."""
    sealed: bool
    """True if nobody can change it: a memory file of this process."""

    def close(self) -> None:
        """Close the descriptor, and give back its share of the bytes in flight."""
        raise NotImplementedError


class Receiving(ClosedOnExit):
    """An upload whose bytes arrive; made by `Engine.receive`."""

    size: int
    """Bytes so far."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes.

        Raises:
            TooLarge: the upload is larger than allowed.
            Overloaded: there is no room among the bytes in flight.
        """
        raise NotImplementedError

    def finish(self) -> Content:
        """Seal the memory file and return it; this object is closed with it."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop what has arrived, unless it was finished."""
        raise NotImplementedError
