"""Files that pictures are read from: one that is read through a descriptor with pread, without its offset."""

from __future__ import annotations

import io
import os
from bisect import bisect_left
from typing import Protocol

_BLOCK_SIZE = 64 * 1024
"""Number of bytes to read ahead, since libraries read a header's fields one by one."""


class PictureFile(Protocol):
    """A file that a picture is read from."""

    size: int
    """Length in bytes."""
    ran_out: bool
    """True if a read of a given size found no more bytes."""

    def read(self, size: int = ..., /) -> bytes:
        """Read up to `size` bytes."""

    def seek(self, offset: int, whence: int = ..., /) -> int:
        """Move to a position."""

    def tell(self) -> int:
        """Return the position of the next read."""


class PreadFile(io.RawIOBase):
    """A read-only file object that reads with pread at a position of its own.

    The descriptor was passed from another process, which reads from the same open file, so that both share
    its offset. The descriptor is not exposed (`fileno` fails): libtiff would seek in it.
    """

    def __init__(self, source: int | bytes, start: int = 0, length: int | None = None) -> None:
        """Begin at the file's first byte. The file may grow or shrink; its end is fixed at its present size.

        Args:
            source: an open descriptor of the file, or its bytes, as those of a member of an archive.
            start: offset of the first byte in the file, for an embedded file.
            length: maximum length in bytes of an embedded file; None for all bytes that follow.

        Raises:
            OSError: the descriptor is not open.
        """
        super().__init__()
        self._source = source
        self._start = start
        # Not by fstat: glibc 2.33 to 2.38 call newfstatat for it, which the sandbox refuses. Nobody reads at
        # the offset that this moves.
        whole = len(source) if isinstance(source, bytes) else os.lseek(source, 0, os.SEEK_END)
        size = max(0, whole - start)
        self.size = size if length is None else min(size, length)
        """Length in bytes."""
        self._position = 0
        self._block = b""
        self._block_start = 0
        self.ran_out = False
        """True if a read of a given size found no more bytes."""
        self.end_of_picture: int | None = None
        """The offset of the end of the picture, where its decoder or `embedded.ends.behind` has found it."""

    def hold(self) -> bytes:
        """Return the whole content, and read from that copy from now on.

        Raises:
            OSError: the file can't be read.
        """
        self._position = 0
        content = self.read()
        self._source, self._start, self._position = content, 0, 0
        return content

    @property
    def place(self) -> tuple[int | bytes, int, int]:
        """Return the descriptor or the bytes, the offset of the first byte, and the length in bytes."""
        return self._source, self._start, self.size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, fewer only at the end of the file; without a size, all up to the end.

        Raises:
            OSError: the file can't be read.
        """
        left = max(0, self.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if isinstance(self._source, bytes):
            start = self._start + self._position
            self._position += wanted
            self.ran_out |= not wanted and size is not None and size > 0
            return self._source[start : start + wanted]
        if 0 < wanted < _BLOCK_SIZE:
            offset = self._position - self._block_start
            if not 0 <= offset <= len(self._block) - wanted:
                self._block = self._pread(min(_BLOCK_SIZE, left))
                self._block_start, offset = self._position, 0
            if len(self._block) - offset >= wanted:
                self._position += wanted
                return self._block[offset : offset + wanted]
        # pread returns at most 2 GiB at once.
        pieces = []
        while wanted and (piece := self._pread(wanted)):
            pieces.append(piece)
            self._position += len(piece)
            wanted -= len(piece)
        if not pieces and size is not None and size > 0:
            self.ran_out = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pread(self, size: int) -> bytes:
        """Read at the position, without moving it."""
        assert isinstance(self._source, int)
        return os.pread(self._source, size, self._start + self._position)

    def readall(self) -> bytes:
        """Read all bytes up to the end."""
        return self.read()

    def subfile(self, start: int, length: int | None = None) -> PreadFile:
        """Return a file object for a file embedded in this one at offset `start`."""
        left = max(0, self.size - start)
        return PreadFile(self._source, self._start + start, left if length is None else min(left, length))

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, which may be beyond the end.

        Raises:
            ValueError: the position is before the start.
        """
        if whence != os.SEEK_SET:
            offset += {os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if offset < 0:
            raise ValueError("negative position")
        self._position = offset
        return offset

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position


class PatchedFile(PreadFile):
    """A file that is read with changes."""

    def __init__(self, file: PreadFile, patches: list[tuple[int, bytes]]) -> None:
        super().__init__(*file.place)
        self._patches = patches
        self._ends = [offset + len(content) for offset, content in patches]

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, fewer only at the end of the file; without a size, all up to the end.

        Raises:
            OSError: the file can't be read.
        """
        start = self.tell()
        found = super().read(size)
        end = start + len(found)
        at = bisect_left(self._ends, start + 1)
        if at == len(self._patches) or self._patches[at][0] >= end:
            return found
        changed = bytearray(found)
        for offset, content in self._patches[at:]:
            if offset >= end:
                break
            first, last = max(offset, start), min(offset + len(content), end)
            changed[first - start : last - start] = content[first - offset : last - offset]
        return bytes(changed)
