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

The first condition determines which buckets of chunk i to search. The others are necessary conditions. Two of
them are checked without reading the digest itself: on the 16 bits after the chunk, which are stored in the
order of the buckets so that many candidates are compared at once, and on the 16 bits after these.

Chunks have 16 bits, or 8 where there are so few entries that most buckets of 16 bits would be empty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

COLUMN_BITS = 16
"""Bits after a chunk, and after these, that are stored for each entry."""
SHORT_MAX = 75_000
"""Number of entries up to which chunks have 8 bits; measured with both on lists of PDQ hashes."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """The division of a digest into chunks of equal length."""

    bits: int
    """Length of a digest, a multiple of 64."""
    length: int
    """Length of a chunk in bits: 8 or 16."""

    @classmethod
    def of(cls, bits: int, entries: int) -> Chunks:
        """Return the division for `entries` digests of `bits` bits."""
        return cls(bits, 8 if entries <= SHORT_MAX else 16)

    @property
    def count(self) -> int:
        return self.bits // self.length

    @property
    def table_size(self) -> int:
        """Number of rows of the bucket table of one chunk: the start of each bucket, and the end."""
        return (1 << self.length) + 1

    def keys(self, words: NDArray[np.uint64], chunk: int) -> NDArray[np.uint16]:
        """Return the chunk of each digest as a number, shape (n,)."""
        return self._cut(words, chunk * self.length) & np.uint16(self.table_size - 2)

    def near(self, words: NDArray[np.uint64], chunk: int) -> NDArray[np.uint16]:
        """Return the 16 bits after the chunk, round the ring, shape (n,)."""
        return self._cut(words, (chunk + 1) * self.length)

    def after(self, words: NDArray[np.uint64], chunk: int) -> NDArray[np.uint16]:
        """Return the 16 bits after those of `near`, shape (n,)."""
        return self._cut(words, (chunk + 1) * self.length + COLUMN_BITS)

    def radii(self, threshold: int) -> tuple[int, ...]:
        """Return the number of flipped bits to search in each chunk; -1 for chunks that need no search.

        Chunks with one more are spread over the ring, since the limits of each include those that follow it.
        """
        shares = [(threshold + 1) * number // self.count for number in range(self.count + 1)]
        return tuple(end - begin - 1 for begin, end in pairwise(shares))

    def limits(self, threshold: int, chunk: int) -> tuple[int, int]:
        """Return how many bits may differ in the chunk and `near`, and in these and `after`."""
        radii = self.radii(threshold)
        step = COLUMN_BITS // self.length
        following = [radii[(chunk + number) % self.count] + 1 for number in range(1, 2 * step + 1)]
        return radii[chunk] + sum(following[:step]), radii[chunk] + sum(following)

    def cost(self, threshold: int, entries: int) -> tuple[int, float]:
        """Return how many buckets to search for one query, and how many entries they have if uniform."""
        probes = sum(
            math.comb(self.length, flipped)
            for radius in self.radii(threshold)
            for flipped in range(radius + 1)
        )
        return probes, probes * entries / (1 << self.length)

    def _cut(self, words: NDArray[np.uint64], start: int) -> NDArray[np.uint16]:
        """Return 16 bits of each digest from `start` on, a multiple of 8, wrapping round its end."""
        octets = np.ascontiguousarray(words).astype("<u8", copy=False).view(np.uint8)
        byte, size = start // 8, self.bits // 8
        high = octets[:, (byte + 1) % size].astype(np.uint16) << np.uint16(8)
        return octets[:, byte % size] | high


@cache
def flips(length: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Return all numbers of `length` bits, those with fewer bits set first, and how many have at most 0, 1, 2
    and so on set."""
    numbers = np.arange(1 << length, dtype=np.uint16)
    weights = np.bitwise_count(numbers)
    order = np.argsort(weights, kind="stable")
    return numbers[order], np.cumsum(np.bincount(weights))
