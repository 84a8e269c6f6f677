"""Store rows of one width in an append-only file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MODE = 0o600
_FLUSH_BYTES = 1 << 20
_MOST_ROWS = 1 << 48


class DamagedColumnError(Exception):
    """A column has fewer rows than were committed."""


class AppendedColumn:
    """An append-only column; rows that were not committed are cut off when it is opened.

    Raises:
        DamagedColumnError: it is shorter than what was committed.
        OSError: it can't be read or written.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], rows: int, synced: int) -> None:
        """Open the file, or create it.

        Args:
            path: of the file.
            dtype: of a row.
            rows: number of committed rows.
            synced: number of those that a power cut can't have destroyed; others may be left as zeros.
        """
        self.path = path
        self.dtype = dtype
        self.rows = rows
        self._waiting = bytearray()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, _MODE)
        size = os.fstat(self._descriptor).st_size
        if not 0 <= synced <= rows < _MOST_ROWS or size < synced * dtype.itemsize:
            os.close(self._descriptor)
            raise DamagedColumnError(f"{path.name} has {size // dtype.itemsize} rows of {rows}")
        if size != rows * dtype.itemsize:
            os.ftruncate(self._descriptor, rows * dtype.itemsize)

    def append(self, rows: bytes) -> None:
        """Append whole rows; they may stay in memory until `flush`."""
        self._waiting += rows
        self.rows += len(rows) // self.dtype.itemsize
        if len(self._waiting) >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all waiting rows to the operating system."""
        while self._waiting:
            written = os.write(self._descriptor, self._waiting)
            del self._waiting[:written]

    def sync(self) -> None:
        """Sync all rows to the disk, so that they survive a power cut."""
        self.flush()
        os.fdatasync(self._descriptor)

    def read(self, start: int, count: int) -> NDArray[Any]:
        """Return up to `count` rows; fewer at the end of the column."""
        self.flush()
        count = max(0, min(count, self.rows - start)) if start >= 0 else 0
        wanted, data = count * self.dtype.itemsize, b""
        while len(data) < wanted:
            more = os.pread(self._descriptor, wanted - len(data), start * self.dtype.itemsize + len(data))
            if not more:
                raise DamagedColumnError(f"{self.path.name} has become shorter")
            data += more
        return np.frombuffer(data, self.dtype)

    def close(self) -> None:
        """Close the file; what was not flushed is lost."""
        os.close(self._descriptor)
