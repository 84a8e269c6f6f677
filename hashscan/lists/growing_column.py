"""A `.npy` file that grows by rows and whose length is known only at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import BLOCK, column_header


class GrowingColumn:
    """A column being written, whose rows can be read again in pieces, and removed.

    It is read, not mapped: pages of a mapped file would count as memory of this process.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], width: tuple[int, ...], mode: int) -> None:
        """Create the file.

        Raises:
            OSError: the file can't be created, or exists already.
        """
        self.path = path
        self.rows = 0
        self._dtype = np.dtype((dtype, width)) if width else dtype
        self._width = width
        self._item = dtype
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        self._file: IO[bytes] = os.fdopen(descriptor, "w+b")
        self._begin = self._file.write(self._header())

    def append(self, array: NDArray[Any]) -> None:
        """Append rows."""
        self._file.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        self.rows += len(array)

    def read(self, start: int, count: int) -> NDArray[Any]:
        """Return at most `count` rows from row `start` on; rows can be appended afterwards."""
        count = min(count, self.rows - start)
        self._file.seek(self._begin + start * self._dtype.itemsize)
        data = self._file.read(count * self._dtype.itemsize)
        self._file.seek(0, os.SEEK_END)
        return np.frombuffer(data, dtype=self._item).reshape(count, *self._width)

    def leave_out(self, rows: NDArray[np.bool_]) -> None:
        """Remove the rows whose flag is set; later rows move up."""
        kept = 0
        for start in range(0, self.rows, BLOCK):
            block = self.read(start, BLOCK)[~rows[start : start + BLOCK]]
            self._file.seek(self._begin + kept * self._dtype.itemsize)
            self._file.write(np.ascontiguousarray(block).data.cast("B") if block.size else b"")
            kept += len(block)
        self._file.truncate(self._begin + kept * self._dtype.itemsize)
        self._file.seek(0, os.SEEK_END)
        self.rows = kept

    def finish(self) -> None:
        """Write the final length, and sync and close the file."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()

    def _header(self) -> bytes:
        return column_header(self._item, (self.rows, *self._width))
