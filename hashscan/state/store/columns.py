"""Store rows of one width in an append-only file; read and search it while another process appends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import Segment
from hashscan.lists.index.kernel import best_kernel, words_of
from hashscan.lists.index.strategies import Hamming

_MODE = 0o600
_FLUSH_BYTES = 1 << 20
_MOST_ROWS = 1 << 48


class DamagedColumnError(Exception):
    """A column has fewer rows than were committed."""


class _OpenColumn:
    """A column whose file is open."""

    def __init__(self, path: Path, dtype: np.dtype[Any], rows: int, descriptor: int) -> None:
        self.path = path
        self.dtype = dtype
        self.rows = rows
        self._descriptor = descriptor

    def read(self, start: int, count: int) -> NDArray[Any]:
        """Return up to `count` rows; fewer at the end of the column."""
        count = max(0, min(count, self.rows - start)) if start >= 0 else 0
        data = bytearray(count * self.dtype.itemsize)
        self._fill(memoryview(data), start)
        return np.frombuffer(data, self.dtype)

    def _fill(self, buffer: memoryview, start: int) -> None:
        at, offset = 0, start * self.dtype.itemsize
        while at < len(buffer):
            more = os.preadv(self._descriptor, [buffer[at:]], offset + at)
            if not more:
                raise DamagedColumnError(f"{self.path.name} has become shorter")
            at += more


class AppendedColumn(_OpenColumn):
    """An append-only column; rows that were not committed are cut off when it is opened.

    Raises:
        DamagedColumnError: it is shorter than what was committed.
        OSError: it can't be read or written.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], rows: int, synced: int) -> None:
        """Open the file, or create it; rows after the first `synced` may be left as zeros by a power cut."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        super().__init__(path, dtype, rows, os.open(path, flags, _MODE))
        self._waiting = bytearray()
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
        return super().read(start, count)

    def close(self) -> None:
        """Close the file; what was not flushed is lost."""
        os.close(self._descriptor)


_BLOCK_BYTES = 1 << 20
"""Bytes read at a time: a block stays in a core's cache while it is searched."""
_KEY = 8
_FEW = 64
"""Up to so many digests are compared one by one in every block; for more of them an index is built first."""
_TABLE_BITS = 20

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Indices of the digests sought, rows, and distances; each of shape (hits,)."""
Blocks = Iterable[tuple[int, NDArray[np.uint8]]]
"""Rows as bytes, shape (rows, bytes of a row), each block with the number of its first row."""


class ReadColumn(_OpenColumn):
    """A read-only view of a column's committed rows; its user may set `watch`.

    Raises:
        DamagedColumnError: it is shorter than what was committed.
        OSError: it can't be read.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], rows: int) -> None:
        """Open the file, unless the column has no rows and so may not exist yet."""
        super().__init__(path, dtype, rows, -1)
        self.watch: Callable[[int, int], None] = lambda *_: None
        """Called during a search, with the number of rows that were searched and of all rows."""
        if rows:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            size = os.fstat(self._descriptor).st_size
            if size < rows * dtype.itemsize:
                self.close()
                raise DamagedColumnError(f"{path.name} has {size // dtype.itemsize} rows of {rows}")

    def blocks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield blocks of rows as bytes, shape (rows, bytes of a row), with the number of their first row.

        A block is valid until the next one.
        """
        size = self.dtype.itemsize
        step = max(1, _BLOCK_BYTES // size)
        # With eight spare bytes, so that the last row has a whole key, too.
        memory = bytearray(step * size + _KEY)
        for start in range(0, self.rows, step):
            count = min(step, self.rows - start)
            self._fill(memoryview(memory)[: count * size], start)
            self.watch(start, self.rows)
            yield start, np.frombuffer(memory, np.uint8, count * size).reshape(count, size)

    def equal(self, values: NDArray[np.uint8]) -> Pairs:
        """Return all rows that are equal to one of the values, as `equal_rows`."""
        return equal_rows(self.blocks(), values)

    def near(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Pairs:
        """Return exactly the rows within the threshold of one of the values, as `near_rows`."""
        return near_rows(self.blocks(), values, thresholds)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def equal_rows(blocks: Blocks, values: NDArray[np.uint8]) -> Pairs:
    """Return all rows that are equal to one of the values, shape (n, bytes of a row), of eight bytes each."""
    keys = _keys(np.ascontiguousarray(values))
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    table = np.zeros(1 << _TABLE_BITS, bool)
    low = np.uint64((1 << _TABLE_BITS) - 1)
    table[(keys & low).astype(np.int64)] = True
    found: list[Pairs] = []
    for start, block in blocks:
        asked = _keys(block)
        if len(keys) == 1:
            some = np.flatnonzero(asked == keys[0])
        else:
            some = np.flatnonzero(table[(asked & low).astype(np.int64)])
        if not some.size:
            continue
        first = np.searchsorted(ordered, asked[some], "left")
        counts = np.searchsorted(ordered, asked[some], "right") - first
        rows = np.repeat(some, counts)
        places = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(len(rows))
        numbers = order[places]
        same = (block[rows] == values[numbers]).all(axis=1)
        found.append((numbers[same], start + rows[same], np.zeros(int(same.sum()), np.int64)))
    return _joined(found)


def near_rows(
    blocks: Blocks, values: NDArray[np.uint8], thresholds: NDArray[np.int64], segment: Segment | None = None
) -> Pairs:
    """Return exactly the rows within the threshold (shape (n,), bits, or the unit of `segment`) of one of
    the values, shape (n, bytes of a row). A segment of the values is for digests that are not compared by
    bits."""
    values = np.ascontiguousarray(values)
    found: list[Pairs] = []
    if segment is None and len(values) <= _FEW:
        kernel, queries = best_kernel(), words_of(values)
        for start, block in blocks:
            numbers, rows, distances = kernel.scan(words_of(block), queries, thresholds)
            found.append((numbers, start + rows, distances))
    else:
        found.extend(_near_many(blocks, segment or Hamming().eager(values), thresholds))
    return _joined(found)


def _near_many(blocks: Blocks, segment: Segment, thresholds: NDArray[np.int64]) -> Iterator[Pairs]:
    widest = int(thresholds.max())
    for start, block in blocks:
        rows, numbers, distances = segment.query(block, np.full(len(block), widest, np.int64))
        near = distances <= thresholds[numbers]
        yield numbers[near], start + rows[near], distances[near]


def _keys(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first eight bytes of each row as one number, shape (n,); no copy."""
    return np.ndarray((len(values),), "<u8", values, strides=(values.strides[0],))


def _joined(found: list[Pairs]) -> Pairs:
    nothing = np.zeros(0, np.int64)
    numbers, rows, distances = map(np.concatenate, zip((nothing,) * 3, *found, strict=True))
    return numbers, rows, distances
