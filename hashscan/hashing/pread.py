"""A read-only file over a descriptor whose offset belongs to others."""

from __future__ import annotations

import io
import os

_BLOCK_SIZE = 64 * 1024
"""Libraries ask for a header's fields one by one, so this much is read ahead."""


class PreadFile(io.RawIOBase):
    """Reads with pread at a position of its own.

    The descriptor was passed from another process, which reads from the same open file; an offset moved here
    would move there. It gives its descriptor to nobody (`fileno` fails): libtiff would seek in it.
    """

    def __init__(self, descriptor: int, start: int = 0, length: int | None = None) -> None:
        """Begin at the file's first byte. The file may grow or shrink; its end is where it is now.

        Args:
            descriptor: of the file.
            start: where in the file the first byte is, for a file within it.
            length: how many bytes of the file belong to that one at most; without it, all that follow.

        Raises:
            OSError: the descriptor is not open.
        """
        super().__init__()
        self._descriptor = descriptor
        self._start = start
        size = max(0, os.fstat(descriptor).st_size - start)
        self.size = size if length is None else min(size, length)
        """Length in bytes."""
        self._position = 0
        self._block = b""
        self._block_start = 0
        self.ran_out = False
        """Whether somebody asked for a certain number of bytes where there were none left."""

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, fewer only at the end of the file; without a size, all up to the end.

        Raises:
            OSError: the file can't be read.
        """
        left = max(0, self.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if 0 < wanted < _BLOCK_SIZE:
            offset = self._position - self._block_start
            if not 0 <= offset <= len(self._block) - wanted:
                self._block = os.pread(self._descriptor, min(_BLOCK_SIZE, left), self._start + self._position)
                self._block_start, offset = self._position, 0
            if len(self._block) - offset >= wanted:
                self._position += wanted
                return self._block[offset : offset + wanted]
        # pread gives at most 2 GiB at once.
        pieces = []
        while wanted and (piece := os.pread(self._descriptor, wanted, self._start + self._position)):
            pieces.append(piece)
            self._position += len(piece)
            wanted -= len(piece)
        if not pieces and size is not None and size > 0:
            self.ran_out = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readall(self) -> bytes:
        """All bytes up to the end."""
        return self.read()

    def within(self, start: int, length: int | None = None) -> PreadFile:
        """A file that lies within this one, `start` bytes from its first."""
        left = max(0, self.size - start)
        return PreadFile(self._descriptor, self._start + start, left if length is None else min(left, length))

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position, which may lie beyond the end.

        Raises:
            ValueError: it lies before the start.
        """
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position of the next read."""
        return self._position
