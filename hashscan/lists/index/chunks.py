"""Cuts a Hamming digest into chunks, and computes the radius to search in each so that no match is missed.

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
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

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
        """First bit of each chunk."""
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
