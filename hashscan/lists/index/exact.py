"""The metric of exact digests, which are equal or not: looks up their first bytes in a sorted column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import DamagedIndexError, Hits, Segment, Strategy

_KEY = 8
"""Number of bytes of a digest that are sorted; the rest is compared afterwards."""
_PER_BUCKET_BITS = 2
"""Binary logarithm of the average number of keys in a bucket."""
_VERIFY_BLOCK = 1 << 16


class Exact(Strategy):
    """A strategy of sorted keys, their rows, and a table of the start of each bucket of keys."""

    def blocks(self, values: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield keys, rows and the bucket table."""
        keys = _keys(values)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        yield "keys", keys
        yield "rows", order.astype(np.uint32)
        bits = _table_bits(len(values))
        counts = np.bincount((keys >> np.uint64(64 - bits)).astype(np.int64), minlength=1 << bits)
        yield "starts", np.concatenate(([0], np.cumsum(counts))).astype(np.uint32)

    def expected(self, entries: int, size: int) -> Mapping[str, tuple[np.dtype[Any], int]]:
        """Return type and number of rows of each column."""
        return {
            "keys": (np.dtype("<u8"), entries),
            "rows": (np.dtype("<u4"), entries),
            "starts": (np.dtype("<u4"), (1 << _table_bits(entries)) + 1),
        }

    def open(self, values: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]) -> Segment:
        """Return a segment over the columns."""
        return _Exact(values, columns["keys"], columns["rows"], columns["starts"])

    def plain(self, values: NDArray[np.uint8]) -> Segment:
        """Return a segment with the columns built in memory."""
        return self.open(values, dict(self.blocks(values)))


class _Exact(Segment):
    def __init__(
        self,
        values: NDArray[np.uint8],
        keys: NDArray[np.uint64],
        rows: NDArray[np.uint32],
        starts: NDArray[np.uint32],
    ) -> None:
        self._values = values
        self._keys = keys
        self._rows = rows
        self._starts = starts
        self._shift = np.uint64(64 - _table_bits(len(values)))

    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        """Find the keys by binary search within their buckets, all keys in step."""
        wanted = _keys(values)
        bucket = (wanted >> self._shift).astype(np.int64)
        first, end = self._starts[bucket].astype(np.int64), self._starts[bucket + 1].astype(np.int64)
        if (first > end).any() or (end > len(self._keys)).any():
            raise DamagedIndexError("a bucket ends before it begins, or beyond the last key")
        last = end.copy()
        for _ in range(int((end - first).max(initial=0)).bit_length()):
            middle = (first + last) >> 1
            # A range that has become empty no longer changes, even at the end of the column.
            below = (first < last) & (self._keys[np.minimum(middle, len(self._keys) - 1)] < wanted)
            first = np.where(below, middle + 1, first)
            last = np.where(below, last, middle)
        hit = np.flatnonzero((first < end) & (self._keys[np.minimum(first, len(self._keys) - 1)] == wanted))
        counts = np.searchsorted(self._keys, wanted[hit], "right") - first[hit]
        query_rows = np.repeat(hit, counts)
        places = np.arange(len(query_rows)) + np.repeat(first[hit] - np.cumsum(counts) + counts, counts)
        rows = self._rows[places].astype(np.int64)
        if rows.size and rows.max() >= len(self._values):
            raise DamagedIndexError("a key names a row that is not there")
        same = np.zeros(len(rows), dtype=bool)
        for begin in range(0, len(rows), _VERIFY_BLOCK):
            some = slice(begin, begin + _VERIFY_BLOCK)
            same[some] = (self._values[rows[some]] == values[query_rows[some]]).all(axis=1)
        query_rows, rows = query_rows[same], rows[same]
        return query_rows, rows, np.zeros(len(rows), dtype=np.int64)


def _keys(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first bytes of each digest as one number, shape (n,)."""
    return np.ascontiguousarray(values[:, :_KEY]).view("<u8")[:, 0]


def _table_bits(entries: int) -> int:
    return max(entries.bit_length() - 1 - _PER_BUCKET_BITS, 1)
