"""The inner loops of the Hamming search behind one interface, in numpy and, where it was built, in C."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hashscan.c_parts import BUILT
from hashscan.lists.index.base import DamagedIndexError, Hits, joined
from hashscan.lists.index.multi_index import Chunks, flips

if BUILT:
    from hashscan.lists.index import _probe

_SCAN_BLOCK = 1 << 14
"""Number of entries compared at a time; intermediate results stay in a core's cache."""
SURVIVOR_COST = 64
"""Cost of comparing a whole digest, in candidates dismissed by the bits after their chunk; as in _probe.c."""
_CANDIDATES_AT_ONCE = 1 << 18
"""Limit on buckets, and on candidates, of several queries held in memory together."""


@dataclass(frozen=True, slots=True)
class ChunkTables:
    """The compiled columns of one segment, and the values they were built from."""

    chunks: Chunks
    words: NDArray[np.uint64]
    """Shape (entries, words)."""
    starts: NDArray[np.uint32]
    """First position of each bucket of a chunk, and the end; one chunk after another."""
    near: NDArray[np.uint16]
    """Shape (chunks * entries,): the 16 bits after the chunk, sorted by bucket, chunk after chunk."""
    after: NDArray[np.uint16]
    """The 16 bits after these, same shape."""
    rows: NDArray[np.uint32]
    """The row of each, same shape."""


class Kernel(ABC):
    """One implementation of the loops."""

    name: ClassVar[str]
    probe_cost: ClassVar[float]
    """Cost of reading a bucket, in entries scanned."""
    candidate_cost: ClassVar[float]
    """Cost of an entry in a bucket, in entries scanned."""

    @abstractmethod
    def probe(
        self, tables: ChunkTables, queries: NDArray[np.uint64], thresholds: NDArray[np.int64], budget: int
    ) -> tuple[Hits, NDArray[np.int64]]:
        """Search by chunks.

        Args:
            queries: shape (n, words).
            thresholds: bits, shape (n,).
            budget: a query with more candidates than this is given up.

        Returns:
            Hits in any order and possibly repeated, and the query rows that were given up.

        Raises:
            DamagedIndexError: the tables contradict themselves.
        """

    @abstractmethod
    def scan(
        self,
        words: NDArray[np.unsignedinteger],
        queries: NDArray[np.unsignedinteger],
        thresholds: NDArray[np.int64],
    ) -> Hits:
        """Compare with every entry; return hits in any order, once each."""


class NumpyKernel(Kernel):
    """The loops in numpy, available everywhere."""

    name = "numpy"
    probe_cost = 16.0
    candidate_cost = 6.0

    def probe(
        self, tables: ChunkTables, queries: NDArray[np.uint64], thresholds: NDArray[np.int64], budget: int
    ) -> tuple[Hits, NDArray[np.int64]]:
        spent = np.zeros(len(queries), dtype=np.int64)
        found: list[Hits] = []
        for threshold in np.unique(thresholds).tolist():
            asking = np.flatnonzero(thresholds == threshold)
            for chunk, radius in enumerate(tables.chunks.radii(threshold)):
                if radius < 0:
                    continue
                at_once = max(_CANDIDATES_AT_ONCE // len(_flips(tables.chunks, radius)), 1)
                for begin in range(0, len(asking), at_once):
                    some = asking[begin : begin + at_once]
                    found += self._probe_chunk(tables, queries, some, threshold, chunk, spent, budget)
        return joined(found), np.flatnonzero(spent > budget)

    @staticmethod
    def _probe_chunk(
        tables: ChunkTables,
        queries: NDArray[np.uint64],
        asking: NDArray[np.int64],
        threshold: int,
        chunk: int,
        spent: NDArray[np.int64],
        budget: int,
    ) -> list[Hits]:
        chunks, entries = tables.chunks, len(tables.words)
        asking = asking[spent[asking] <= budget]
        if not asking.size:
            return []
        masks = _flips(chunks, chunks.radii(threshold)[chunk])
        keys = (chunks.keys(queries[asking], chunk)[:, None] ^ masks).astype(np.int64)
        table = tables.starts[chunk * chunks.table_size : (chunk + 1) * chunks.table_size]
        first, last = table[keys].astype(np.int64), table[keys + 1].astype(np.int64)
        counts = last - first
        if counts.min() < 0 or last.max() > entries:
            raise DamagedIndexError("a bucket ends before it begins, or beyond the last entry")
        of_query = counts.sum(axis=1)
        spent[asking] += of_query
        near_limit, both_limit = chunks.limits(threshold, chunk)
        near, after = chunks.near(queries, chunk), chunks.after(queries, chunk)
        weights = np.bitwise_count(masks)
        found = []
        within = np.flatnonzero(spent[asking] <= budget)
        # A group has at most this many candidates, except for a single query, which has at most its budget.
        groups = np.cumsum(of_query[within]) // _CANDIDATES_AT_ONCE
        for group in np.unique(groups):
            in_group = within[groups == group]
            lengths = counts[in_group].ravel()
            probe = np.repeat(np.arange(lengths.size), lengths)
            places = np.arange(probe.size) + (first[in_group].ravel() - np.cumsum(lengths) + lengths)[probe]
            places += chunk * entries
            query_rows = np.repeat(asking[in_group], of_query[in_group])
            differing = np.bitwise_count(tables.near[places] ^ near[query_rows])
            differing += np.tile(weights, len(in_group))[probe]
            kept = np.flatnonzero(differing <= near_limit)
            places, query_rows = places[kept], query_rows[kept]
            differing = differing[kept] + np.bitwise_count(tables.after[places] ^ after[query_rows])
            kept = np.flatnonzero(differing <= both_limit)
            query_rows = query_rows[kept]
            np.add.at(spent, query_rows, SURVIVOR_COST)
            rows = tables.rows[places[kept]].astype(np.int64)
            if rows.size and rows.max() >= entries:
                raise DamagedIndexError("a bucket names a row that is not there")
            distances = np.bitwise_count(tables.words[rows] ^ queries[query_rows]).sum(axis=1, dtype=np.int64)
            hit = distances <= threshold
            found.append((query_rows[hit], rows[hit], distances[hit]))
        return found

    def scan(
        self,
        words: NDArray[np.unsignedinteger],
        queries: NDArray[np.unsignedinteger],
        thresholds: NDArray[np.int64],
    ) -> Hits:
        found: list[Hits] = []
        for begin in range(0, len(words), _SCAN_BLOCK):
            block = words[begin : begin + _SCAN_BLOCK]
            for query_row, (query, threshold) in enumerate(zip(queries, thresholds, strict=True)):
                rows, distances = _near(block, query, int(threshold))
                if rows.size:
                    found.append((np.full(len(rows), query_row), begin + rows, distances))
        return joined(found)


class CKernel(Kernel):
    """The loops in C: intermediate results do not go through memory, and buckets are prefetched."""

    name = "C"
    probe_cost = 40.0
    candidate_cost = 1.5

    def probe(
        self, tables: ChunkTables, queries: NDArray[np.uint64], thresholds: NDArray[np.int64], budget: int
    ) -> tuple[Hits, NDArray[np.int64]]:
        masks, upto = flips(tables.chunks.length)
        try:
            hits, spent = _probe.probe(
                tables.words,
                tables.starts,
                tables.near,
                tables.after,
                tables.rows,
                masks,
                upto,
                np.ascontiguousarray(queries),
                np.ascontiguousarray(thresholds),
                tables.chunks.length,
                budget,
            )
        except _probe.DamagedFileError as error:
            raise DamagedIndexError(str(error)) from error
        return _unpacked(hits), np.flatnonzero(np.frombuffer(spent, np.uint64) > budget)

    def scan(
        self,
        words: NDArray[np.unsignedinteger],
        queries: NDArray[np.unsignedinteger],
        thresholds: NDArray[np.int64],
    ) -> Hits:
        """Compare block by block; words of other sizes than eight bytes are left to numpy."""
        if words.dtype != np.uint64:
            return NumpyKernel().scan(words, queries, thresholds)
        return _unpacked(
            _probe.scan(
                np.ascontiguousarray(words),
                np.ascontiguousarray(queries),
                np.ascontiguousarray(thresholds),
                words.shape[1],
            )
        )


@cache
def best_kernel() -> Kernel:
    """Return the C loops if they were built for this machine, else numpy's."""
    return CKernel() if BUILT and sys.byteorder == "little" else NumpyKernel()


def words_of(values: NDArray[np.uint8]) -> NDArray[np.unsignedinteger]:
    """Return digests as the longest words that divide them, shape (n, words), without copying."""
    return values.view(f"u{math.gcd(values.shape[1], 8)}")


def _flips(chunks: Chunks, radius: int) -> NDArray[np.uint16]:
    """Return the numbers of a chunk's length that have at most `radius` bits set."""
    masks, upto = flips(chunks.length)
    return masks[: upto[min(radius, chunks.length)]]


def _near(
    block: NDArray[np.unsignedinteger], query: NDArray[np.unsignedinteger], threshold: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of `block` within `threshold` of `query`, with their distances.

    Half of the words rule out nearly every row that is far away; the distance only grows with the rest.
    """
    half = math.ceil(len(query) / 2)
    partial = np.bitwise_count(block[:, 0] ^ query[0]).astype(np.uint16)
    for word in range(1, half):
        partial += np.bitwise_count(block[:, word] ^ query[word])
    rows = np.flatnonzero(partial <= threshold)
    distances = np.bitwise_count(block[rows] ^ query).sum(axis=1, dtype=np.int64)
    near = distances <= threshold
    return rows[near], distances[near]


def _unpacked(hits: bytes) -> Hits:
    """Return hits from the C loops as arrays: query, entry and distance of each in 4 bytes."""
    table = np.frombuffer(hits, dtype=np.uint32).reshape(-1, 3).astype(np.int64)
    return table[:, 0], table[:, 1], table[:, 2]
