"""An index of few Hamming digests for many queries: a bucket contains all entries within one bit of its key.

It is like `chunks`, with chunks of 16 bits in a ring. As many chunks as the threshold needs have the radius
1, all others -1. Each entry is in 17 buckets of each chunk, so that a query reads one bucket for each chunk.
Beside the entry are its next two chunks, which nearly always suffice to rule it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import DamagedIndexError, Hits

_BITS = 16
_KEYS = 1 << _BITS
MOST = 1 << 15
"""Largest number of entries for which it is built; a PDQ entry takes 2 kB, the tables 20 MB more."""
_FIRST = 8
_UNLIKELY = 0xAAAA
_CANDIDATES_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class NeighbourTable:
    """The buckets of the index."""

    words: NDArray[np.uint64]
    """Shape (entries, words)."""
    starts: NDArray[np.uint32]
    """Start of each bucket among its chunk's pairs, and the end; shape (chunks, 65537)."""
    pairs: NDArray[np.uint32]
    """Next two chunks, and row, of each entry in the buckets; shape (chunks, 17 * entries, 2)."""
    first: NDArray[np.uint16]
    """The next chunk of the first pairs of each bucket, filled up with anything; shape (chunks, 65536, 8)."""
    crowded: NDArray[np.uint8]
    """A bit for each bucket, lowest first: 1 if it has more than 8 pairs; shape (chunks, 8192)."""

    @classmethod
    def of(cls, words: NDArray[np.uint64]) -> NeighbourTable:
        """Build the index of at most `MOST` entries; `words` has whole words of 8 bytes."""
        chunks = _chunks(words)
        masks = np.concatenate((np.zeros(1, np.uint16), 1 << np.arange(_BITS, dtype=np.uint16)))
        starts = np.zeros((chunks.shape[1], _KEYS + 1), np.uint32)
        pairs = np.empty((chunks.shape[1], len(words) * len(masks), 2), np.uint32)
        first = np.full((chunks.shape[1], _KEYS, _FIRST), _UNLIKELY, np.uint16)
        crowded = np.zeros((chunks.shape[1], _KEYS // 8), np.uint8)
        for chunk in range(chunks.shape[1]):
            keys = (chunks[:, chunk, None] ^ masks).reshape(-1)
            order = np.argsort(keys, kind="stable")
            counts = np.bincount(keys, minlength=_KEYS)
            np.cumsum(counts, out=starts[chunk, 1:])
            rows = order // len(masks)
            pairs[chunk, :, 0] = _sketches(chunks, chunk)[rows]
            pairs[chunk, :, 1] = rows
            crowded[chunk] = np.packbits(counts > _FIRST, bitorder="little")
            bucket = keys[order]
            place = np.arange(len(bucket)) - starts[chunk][bucket]
            early = place < _FIRST
            first[chunk, bucket[early], place[early]] = pairs[chunk, early, 0] & np.uint32(_KEYS - 1)
        return cls(words, starts, pairs, first, crowded)

    @property
    def reach(self) -> int:
        """The largest threshold that it supports."""
        return 2 * len(self.starts) - 1

    def limits(self, threshold: int) -> NDArray[np.int64]:
        """Return how many bits may differ in the next chunk, and in the next two; below 0 if none may.

        Shape (chunks, 2).
        """
        return _limits(len(self.starts), threshold)

    def probe(
        self, queries: NDArray[np.uint64], threshold: int, budget: int
    ) -> tuple[Hits, NDArray[np.int64]]:
        """Search without the loops in C; see `Kernel.halo`."""
        chunks = _chunks(queries)
        spent = np.zeros(len(queries), np.int64)
        found: list[Hits] = [(spent[:0], spent[:0], spent[:0])]
        for chunk, (of_next, of_both) in enumerate(self.limits(threshold).tolist()):
            if of_both < 0:
                continue
            keys = chunks[:, chunk].astype(np.int64)
            sketches = _sketches(chunks, chunk)
            first, last = self.starts[chunk][keys].astype(np.int64), self.starts[chunk][keys + 1].astype(int)
            if (first > last).any() or (last > self.pairs.shape[1]).any():
                raise DamagedIndexError("a bucket ends before it begins, or beyond the last entry")
            asking = np.flatnonzero((last > first) & (spent <= budget))
            counts = (last - first)[asking]
            spent[asking] += counts
            groups = np.cumsum(counts) // _CANDIDATES_AT_ONCE
            for group in np.unique(groups):
                some, lengths = asking[groups == group], counts[groups == group]
                query_rows = np.repeat(some, lengths)
                places = np.arange(len(query_rows)) + np.repeat(
                    first[some] - np.cumsum(lengths) + lengths, lengths
                )
                differing = self.pairs[chunk, places, 0] ^ sketches[query_rows]
                kept = np.flatnonzero(np.bitwise_count(differing) <= of_both)
                kept = kept[np.bitwise_count(differing[kept] & np.uint32(_KEYS - 1)) <= of_next]
                rows, query_rows = self.pairs[chunk, places[kept], 1].astype(np.int64), query_rows[kept]
                if rows.size and rows.max() >= len(self.words):
                    raise DamagedIndexError("a bucket names a row that is not there")
                distances = np.bitwise_count(self.words[rows] ^ queries[query_rows]).sum(axis=1, dtype=int)
                near = distances <= threshold
                found.append((query_rows[near], rows[near], distances[near]))
        query_rows, rows, distances = (np.concatenate(column) for column in zip(*found, strict=True))
        return (query_rows, rows, distances), np.flatnonzero(spent > budget)


@cache
def _limits(chunks: int, threshold: int) -> NDArray[np.int64]:
    asked = np.where(np.arange(chunks) <= threshold // 2, 2, 0)
    of_next = asked + np.roll(asked, -1) - 1
    both = np.where(asked > 0, of_next + np.roll(asked, -2), -1)
    return np.stack((of_next, both), axis=1).astype(np.int64)


def _chunks(words: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return the chunks of digests, shape (digests, chunks)."""
    return np.ascontiguousarray(words).astype("<u8", copy=False).view("<u2")


def _sketches(chunks: NDArray[np.uint16], chunk: int) -> NDArray[np.uint32]:
    number = chunks.shape[1]
    after = chunks[:, (chunk + 1) % number].astype(np.uint32)
    return after | chunks[:, (chunk + 2) % number].astype(np.uint32) << np.uint32(_BITS)
