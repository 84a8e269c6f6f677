"""Present a part of an open file as a file object, so that libraries can upload it without loading it all."""

from __future__ import annotations

import io
import os


class FilePart(io.RawIOBase):
    """A file object for a range of a descriptor, which stays open and keeps its offset."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        """Start at the first byte of the range.

        Args:
            descriptor: of a regular file.
            start: the first byte.
            size: number of bytes; if the file is shorter, fewer are read.
        """
        self._descriptor = descriptor
        self._start = start
        self._size = size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read the next bytes."""
        wanted = min(len(buffer), self._size - self._at)
        read = os.preadv(self._descriptor, [memoryview(buffer)[:wanted]], self._start + self._at)
        self._at += read
        return read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position in the range."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, origin + offset), self._size)
        return self._at

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._at
