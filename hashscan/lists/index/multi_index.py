"""Multi-index hashing: how Hamming digests are cut into chunks and put into buckets.

Multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with Multi-Index Hashing, CVPR
2012) with the pigeonring principle (Qin, Xiao: Pigeonring: A Principle for Faster Thresholded Similarity
Search, VLDB 2018).

Arrange the m chunks in a ring, and give chunk i the radius q(i) with sum(q(i) + 1) = t + 1. If two digests
differ in at most t bits, d(i) of them in chunk i, then sum(d(i) - q(i) - 1) is negative. So by the cycle
lemma there is a chunk i from which on every partial sum round the ring is negative:

    d(i) <= q(i)
    d(i) + d(i+1) <= q(i) + q(i+1) + 1
    d(i) + d(i+1) + d(i+2) <= q(i) + q(i+1) + q(i+2) + 2, and so on.

The first condition determines which buckets of chunk i to search. The others are necessary conditions. They
are checked on the 32 bits after the chunk, which are stored beside each row as its sketch, without reading
the digest itself.

`Chunks` cuts digests for any number of entries. `NeighbourTable` is for few entries and many queries: its
chunks of 16 bits are in such a ring, too, but as many of them as the threshold needs have the radius 1, all
others -1. Each entry is in 17 buckets of each chunk, those whose keys differ from its own in at most one bit,
so that a query reads one bucket for each chunk. Where the radius 1 of all chunks is not enough, some have the
radius 2, and a query reads 17 buckets of each of these. Beside the entry are its next two chunks, which
nearly always suffice to rule it out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import DamagedIndexError, Hits, joined

SKETCH_BITS = 32
CHUNK_BITS_MAX = 24
CHUNK_BITS_MIN = 8
_WORD = 64
_PER_BUCKET = 3.5
"""Binary logarithm of the average number of entries in a bucket; measured at one and ten million entries."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """The division of a digest into chunks."""

    bits: int
    lengths: tuple[int, ...]
    """Length of each chunk in bits, longest first."""

    @classmethod
    def of(cls, bits: int, entries: int) -> Chunks:
        """Return the best division for `entries` digests of `bits` bits."""
        wanted = min(max(math.log2(max(entries, 2)) - _PER_BUCKET, CHUNK_BITS_MIN), CHUNK_BITS_MAX)
        count = max(round(bits / wanted), math.ceil(bits / CHUNK_BITS_MAX), 2)
        short, longer = divmod(bits, count)
        return cls(bits, tuple(short + (number < longer) for number in range(count)))

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(sum(self.lengths[:number]) for number in range(len(self.lengths)))

    @property
    def table_starts(self) -> tuple[int, ...]:
        """Start of each chunk's bucket table when the tables are concatenated; the last item is the end."""
        ends = np.cumsum([0] + [(1 << length) + 1 for length in self.lengths])
        return tuple(int(end) for end in ends)

    def keys(self, words: NDArray[np.uint64], chunk: int) -> NDArray[np.uint32]:
        """Return the chunk of each digest as a number, shape (n,)."""
        return _cut(words, self.starts[chunk], self.lengths[chunk])

    def sketches(self, words: NDArray[np.uint64], chunk: int) -> NDArray[np.uint32]:
        """Return the bits after the chunk, round the ring, shape (n,)."""
        return _cut(words, (self.starts[chunk] + self.lengths[chunk]) % self.bits, SKETCH_BITS)

    def radii(self, threshold: int) -> tuple[int, ...]:
        """Return the number of flipped bits to search in each chunk; -1 for chunks that need no search."""
        every, more = divmod(threshold + 1, len(self.lengths))
        return tuple(every - 1 + (number < more) for number in range(len(self.lengths)))

    def limits(self, threshold: int, chunk: int) -> tuple[int, int]:
        """Return how many bits may differ in chunk plus next chunk, and in chunk plus sketch."""
        radii = self.radii(threshold)
        total = near = radii[chunk]
        covered, step = 0, 0
        while covered < SKETCH_BITS:
            step += 1
            following = (chunk + step) % len(radii)
            total += radii[following] + 1
            covered += self.lengths[following]
            if step == 1:
                near = total
        return near, total

    def next_mask(self, chunk: int) -> int:
        """Return a mask of the sketch bits that belong to the next chunk."""
        return (1 << self.lengths[(chunk + 1) % len(self.lengths)]) - 1

    def cost(self, threshold: int, entries: int) -> tuple[int, float]:
        """Return how many buckets to search for one query, and how many entries they have if uniform."""
        probes, candidates = 0, 0.0
        for length, radius in zip(self.lengths, self.radii(threshold), strict=True):
            here = sum(math.comb(length, flips) for flips in range(radius + 1))
            probes += here
            candidates += here * entries / (1 << length)
        return probes, candidates


@cache
def flips(length: int, radius: int) -> tuple[NDArray[np.uint32], NDArray[np.int16]]:
    """Return all numbers of `length` bits with at most `radius` set, and their bit counts; fewest first."""
    masks = [
        sum(1 << bit for bit in bits)
        for count in range(radius + 1)
        for bits in combinations(range(length), count)
    ]
    numbers = np.array(masks, dtype=np.uint32)
    return numbers, np.bitwise_count(numbers).astype(np.int16)


def _cut(words: NDArray[np.uint64], start: int, length: int) -> NDArray[np.uint32]:
    """Return `length` bits of each digest as a number, from `start` on, wrapping round its end."""
    word, shift = divmod(start, _WORD)
    cut = words[:, word] >> np.uint64(shift)
    if shift + length > _WORD:
        cut = cut | words[:, (word + 1) % words.shape[1]] << np.uint64(_WORD - shift)
    return (cut & np.uint64((1 << length) - 1)).astype(np.uint32)


_RING_BITS = 16
_RING_KEYS = 1 << _RING_BITS
_MASKS = np.concatenate((np.zeros(1, np.uint16), 1 << np.arange(_RING_BITS, dtype=np.uint16)))
"""Masks that make of a key itself and the keys one bit away."""
NEIGHBOUR_TABLE_MAX = 1 << 15
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
        """Build the index of at most `NEIGHBOUR_TABLE_MAX` entries; `words` has whole words of 8 bytes."""
        chunks = _ring_chunks(words)
        starts = np.zeros((chunks.shape[1], _RING_KEYS + 1), np.uint32)
        pairs = np.empty((chunks.shape[1], len(words) * len(_MASKS), 2), np.uint32)
        first = np.full((chunks.shape[1], _RING_KEYS, _FIRST), _UNLIKELY, np.uint16)
        crowded = np.zeros((chunks.shape[1], _RING_KEYS // 8), np.uint8)
        for chunk in range(chunks.shape[1]):
            keys = (chunks[:, chunk, None] ^ _MASKS).reshape(-1)
            order = np.argsort(keys, kind="stable")
            counts = np.bincount(keys, minlength=_RING_KEYS)
            np.cumsum(counts, out=starts[chunk, 1:])
            rows = order // len(_MASKS)
            pairs[chunk, :, 0] = _sketches(chunks, chunk)[rows]
            pairs[chunk, :, 1] = rows
            crowded[chunk] = np.packbits(counts > _FIRST, bitorder="little")
            bucket = keys[order]
            place = np.arange(len(bucket)) - starts[chunk][bucket]
            early = place < _FIRST
            first[chunk, bucket[early], place[early]] = pairs[chunk, early, 0] & np.uint32(_RING_KEYS - 1)
        return cls(words, starts, pairs, first, crowded)

    @property
    def reach(self) -> int:
        """The largest threshold that it supports."""
        return 3 * len(self.starts) - 1

    def limits(self, threshold: int) -> NDArray[np.int64]:
        """Return, shape (chunks, 3), how many bits may differ in the next chunk; in the next two, below 0 if
        none may; 1 if the buckets one bit away from the query's are read, too, else 0."""
        return _limits(len(self.starts), threshold)

    def probe(
        self, queries: NDArray[np.uint64], threshold: int, budget: int
    ) -> tuple[Hits, NDArray[np.int64]]:
        """Search without the loops in C; see `Kernel.probe_neighbours`."""
        chunks = _ring_chunks(queries)
        spent = np.zeros(len(queries), np.int64)
        found: list[Hits] = []
        asked = (
            (chunk, of_next, of_both, mask)
            for chunk, (of_next, of_both, wide) in enumerate(self.limits(threshold).tolist())
            if of_both >= 0
            for mask in _MASKS[: None if wide else 1]
        )
        for chunk, of_next, of_both, mask in asked:
            keys = (chunks[:, chunk] ^ mask).astype(np.int64)
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
                kept = kept[np.bitwise_count(differing[kept] & np.uint32(_RING_KEYS - 1)) <= of_next]
                rows, query_rows = self.pairs[chunk, places[kept], 1].astype(np.int64), query_rows[kept]
                if rows.size and rows.max() >= len(self.words):
                    raise DamagedIndexError("a bucket names a row that is not there")
                distances = np.bitwise_count(self.words[rows] ^ queries[query_rows]).sum(axis=1, dtype=int)
                near = distances <= threshold
                found.append((query_rows[near], rows[near], distances[near]))
        return joined(found), np.flatnonzero(spent > budget)


@cache
def _limits(chunks: int, threshold: int) -> NDArray[np.int64]:
    # The radius of each chunk, and 1: their sum is larger than the threshold.
    numbers = np.arange(chunks)
    asked = np.where(numbers <= threshold // 2, 2, 0) + (numbers <= threshold - 2 * chunks)
    of_next = asked + np.roll(asked, -1) - 1
    both = np.where(asked > 0, of_next + np.roll(asked, -2), -1)
    return np.stack((of_next, both, asked > 2), axis=1).astype(np.int64)


def _ring_chunks(words: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return the chunks of digests, shape (digests, chunks)."""
    return np.ascontiguousarray(words).astype("<u8", copy=False).view("<u2")


def _sketches(chunks: NDArray[np.uint16], chunk: int) -> NDArray[np.uint32]:
    number = chunks.shape[1]
    after = chunks[:, (chunk + 1) % number].astype(np.uint32)
    return after | chunks[:, (chunk + 2) % number].astype(np.uint32) << np.uint32(_RING_BITS)
