"""The search strategy of each metric: exact digests in a sorted column, Hamming distances by chunks.

Euclidean distances and those of quadrants have modules of their own, `euclidean` and `quadrants`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import DamagedIndexError, Hits, Segment, Strategy, joined
from hashscan.lists.index.euclidean import Euclidean
from hashscan.lists.index.kernel import ChunkTables, Kernel, best_kernel, words_of
from hashscan.lists.index.multi_index import Chunks
from hashscan.lists.index.quadrants import Quadrants
from hashscan.model import ALGORITHMS
from hashscan.plugins import Metric

_EXACT_KEY = 8
"""Number of bytes of a digest that are sorted; the rest is compared afterwards."""
_PER_BUCKET_BITS = 2
"""Binary logarithm of the average number of keys in a bucket."""
_VERIFY_BLOCK = 1 << 16


class Exact(Strategy):
    """A strategy of sorted keys, their rows, and a table of the start of each bucket of keys."""

    def blocks(self, values: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
        keys = _exact_keys(values)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        yield "keys", keys
        yield "rows", order.astype(np.uint32)
        bits = _table_bits(len(values))
        counts = np.bincount((keys >> np.uint64(64 - bits)).astype(np.int64), minlength=1 << bits)
        yield "starts", np.concatenate(([0], np.cumsum(counts))).astype(np.uint32)

    def expected(self, entries: int, size: int) -> Mapping[str, tuple[np.dtype[Any], int]]:
        return {
            "keys": (np.dtype("<u8"), entries),
            "rows": (np.dtype("<u4"), entries),
            "starts": (np.dtype("<u4"), (1 << _table_bits(entries)) + 1),
        }

    def open(self, values: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]) -> Segment:
        return _Exact(values, columns["keys"], columns["rows"], columns["starts"])


@dataclass
class _Exact(Segment):
    values: NDArray[np.uint8]
    keys: NDArray[np.uint64]
    rows: NDArray[np.uint32]
    starts: NDArray[np.uint32]

    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        """Find the keys by binary search within their buckets, all keys in step."""
        wanted = _exact_keys(values)
        bucket = (wanted >> np.uint64(64 - _table_bits(len(self.values)))).astype(np.int64)
        first, end = self.starts[bucket].astype(np.int64), self.starts[bucket + 1].astype(np.int64)
        if (first > end).any() or (end > len(self.keys)).any():
            raise DamagedIndexError("a bucket ends before it begins, or beyond the last key")
        last = end.copy()
        for _ in range(int((end - first).max(initial=0)).bit_length()):
            middle = (first + last) >> 1
            # A range that has become empty no longer changes, even at the end of the column.
            below = (first < last) & (self.keys[np.minimum(middle, len(self.keys) - 1)] < wanted)
            first = np.where(below, middle + 1, first)
            last = np.where(below, last, middle)
        hit = np.flatnonzero((first < end) & (self.keys[np.minimum(first, len(self.keys) - 1)] == wanted))
        counts = np.searchsorted(self.keys, wanted[hit], "right") - first[hit]
        query_rows = np.repeat(hit, counts)
        places = np.arange(len(query_rows)) + np.repeat(first[hit] - np.cumsum(counts) + counts, counts)
        rows = self.rows[places].astype(np.int64)
        if rows.size and rows.max() >= len(self.values):
            raise DamagedIndexError("a key names a row that is not there")
        same = np.zeros(len(rows), dtype=bool)
        for begin in range(0, len(rows), _VERIFY_BLOCK):
            some = slice(begin, begin + _VERIFY_BLOCK)
            same[some] = (self.values[rows[some]] == values[query_rows[some]]).all(axis=1)
        query_rows, rows = query_rows[same], rows[same]
        return query_rows, rows, np.zeros(len(rows), dtype=np.int64)

    def lacks(self, value: bytes) -> bool:
        """Return True if no entry has the value's key; damaged columns are left to `query`."""
        key = int.from_bytes(value[:_EXACT_KEY], "little")
        bucket = key >> 64 - _table_bits(len(self.values))
        first, end = self.starts[bucket : bucket + 2].tolist()
        if first > end or end > len(self.keys):
            return False
        place = first + int(self.keys[first:end].searchsorted(np.uint64(key)))
        return place == end or bool(self.keys[place] != key)


def _exact_keys(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first bytes of each digest as one number, shape (n,)."""
    return np.ascontiguousarray(values[:, :_EXACT_KEY]).view("<u8")[:, 0]


def _table_bits(entries: int) -> int:
    return max(entries.bit_length() - 1 - _PER_BUCKET_BITS, 1)


_WORD_BITS = 64
_BUDGET_LEAST = 4096
"""A query with this many candidates is never given up: a scan also has the cost of a call."""


class Hamming(Strategy):
    """A strategy of rows sorted by bucket, and the bits after each chunk; see `multi_index`."""

    def __init__(self, kernel: Kernel | None = None) -> None:
        """Use the given loops, or the fastest available."""
        self._kernel = kernel or best_kernel()

    def blocks(self, values: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield bucket table, rows and bits of each chunk; needs 16 bytes of memory for each entry."""
        if values.shape[1] * 8 % _WORD_BITS:
            return
        words = words_of(values)
        chunks = Chunks.of(values.shape[1] * 8, len(values))
        for chunk in range(chunks.count):
            keys = chunks.keys(words, chunk)
            counts = np.bincount(keys, minlength=1 << chunks.length)
            yield "starts", np.concatenate(([0], np.cumsum(counts))).astype(np.uint32)
            order = np.argsort(keys, kind="stable").astype(np.uint32)
            del keys
            yield "rows", order
            yield "near", chunks.near(words, chunk)[order]
            yield "after", chunks.after(words, chunk)[order]

    def expected(self, entries: int, size: int) -> Mapping[str, tuple[np.dtype[Any], int]]:
        """Return type and number of rows of each column."""
        if size * 8 % _WORD_BITS:
            return {}
        chunks = Chunks.of(size * 8, entries)
        rows = chunks.count * entries
        return {
            "starts": (np.dtype("<u4"), chunks.count * chunks.table_size),
            "rows": (np.dtype("<u4"), rows),
            "near": (np.dtype("<u2"), rows),
            "after": (np.dtype("<u2"), rows),
        }

    def open(self, values: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]) -> Segment:
        """Return a segment that searches by chunks."""
        if not columns:
            return self.plain(values)
        chunks = Chunks.of(values.shape[1] * 8, len(values))
        words = words_of(values).view(np.uint64)
        return _Hamming(words, ChunkTables(chunks, words, **columns), self._kernel)

    def plain(self, values: NDArray[np.uint8]) -> Segment:
        """Return a segment that scans linearly."""
        return _Hamming(words_of(values), None, self._kernel)


@dataclass
class _Hamming(Segment):
    words: NDArray[np.unsignedinteger]
    tables: ChunkTables | None
    kernel: Kernel
    pays: dict[int, bool] = field(default_factory=dict)
    """By threshold: True if chunks are expected to cost less than a scan."""

    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        """Search each query in the cheapest way; scan linearly if its buckets have too many candidates."""
        queries: NDArray[Any] = words_of(values)
        budget = max(int(len(self.words) / self.kernel.candidate_cost), _BUDGET_LEAST)
        by_chunks = np.array([self.searches_by_chunks(threshold) for threshold in thresholds.tolist()], bool)
        scanned = ~by_chunks
        found = []
        asked = np.flatnonzero(by_chunks)
        if self.tables is not None and asked.size:
            answer = self.kernel.probe(self.tables, queries[asked], thresholds[asked], budget)
            found.append(_kept(answer, asked, scanned))
        rest = np.flatnonzero(scanned)
        if rest.size:
            query_rows, rows, distances = self.kernel.scan(self.words, queries[rest], thresholds[rest])
            found.append((rest[query_rows], rows, distances))
        return _once(joined(found), len(self.words))

    def searches_by_chunks(self, threshold: int) -> bool:
        """Return True if chunks are expected to cost less than a scan, for uniformly distributed entries."""
        if self.tables is None:
            return False
        pays = self.pays.get(threshold)
        if pays is None:
            probes, candidates = self.tables.chunks.cost(
                min(threshold, self.tables.chunks.bits), len(self.words)
            )
            cost = probes * self.kernel.probe_cost + candidates * self.kernel.candidate_cost
            pays = self.pays[threshold] = cost < len(self.words)
        return pays


def _kept(
    answer: tuple[Hits, NDArray[np.int64]], asked: NDArray[np.int64], scanned: NDArray[np.bool_]
) -> Hits:
    """Return the hits of queries that weren't given up; mark the others in `scanned` for a linear scan."""
    (query_rows, rows, distances), given_up = answer
    scanned[asked[given_up]] = True
    query_rows = asked[query_rows]
    keep = ~scanned[query_rows]
    return query_rows[keep], rows[keep], distances[keep]


def _once(hits: Hits, entries: int) -> Hits:
    """Return each hit once, sorted by query row, then entry row."""
    query_rows, rows, distances = hits
    if not query_rows.size:
        return hits
    _, first = np.unique(query_rows * entries + rows, return_index=True)
    return query_rows[first], rows[first], distances[first]


STRATEGIES: dict[Metric, Callable[[], Strategy]] = {
    "exact": Exact,
    "hamming": Hamming,
    "quadrants": lambda: Quadrants(Hamming()),
    "euclidean": Euclidean,
    "video": Hamming,
}
"""Returns the strategy of a metric."""


def strategy_of(algorithm: str) -> Strategy:
    return STRATEGIES[ALGORITHMS[algorithm].metric]()
