"""The search of hashes of four quadrants: those of which two of four are near, place by place.

The distance of two hashes is that of their nearest quadrants, but not less than `SLACK` below that of the
second nearest. The quadrants of all entries are searched as digests of their own, with the index of Hamming
distances, and what is found so is compared in full.

The slack finds stickers over a tenth of a picture, which mostly touch three quadrants; chosen on photographs,
as said in docs/matching.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import Hits, Segment, Strategy
from hashscan.lists.storage.degenerate import without_uniform

QUADRANTS = 4
NEEDED = 2
"""Number of quadrants that must be near."""
SLACK = 21
"""Bits by which the second nearest may be farther away than the threshold: up to 52 where this is 31."""
_COMPARED = 1 << 14
"""Number of pairs that are compared at a time."""


def distances(values: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the distance of each pair of digests in bits.

    A quadrant whose value is zero is farther from all others than any two can be.

    Args:
        values: shape (n, size).
        others: the same shape.
    """
    ours, theirs = _quadrants(values), _quadrants(others)
    found: NDArray[np.int64] = np.bitwise_count(ours ^ theirs).sum(axis=2, dtype=np.int64)
    found[~(_are_set(values) & _are_set(others))] = ours.shape[2] * 8 + 1 + SLACK
    found.sort(axis=1)
    return np.maximum(found[:, 0], found[:, NEEDED - 1] - SLACK)


def has_enough(value: bytes) -> bool:
    """Return True if a digest can be near another: enough of its quadrants are not zero."""
    return int(_are_set(np.frombuffer(value, np.uint8)[None]).sum()) >= NEEDED


def _are_set(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which quadrants are not zero, shape (n, 4)."""
    return np.asarray(_quadrants(values).any(axis=2))


def _quadrants(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return values.reshape(len(values), QUADRANTS, -1)


class Quadrants(Strategy):
    """A strategy of the columns that another one has for single quadrants."""

    def __init__(self, singles: Strategy) -> None:
        self._singles = singles

    def blocks(self, values: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
        yield from self._singles.blocks(_single(values))

    def expected(self, entries: int, size: int) -> Mapping[str, tuple[np.dtype[Any], int]]:
        return self._singles.expected(QUADRANTS * entries, size // QUADRANTS)

    def open(self, values: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]) -> Segment:
        return _Segment(values, self._singles.open(_single(values), columns))

    def eager(self, values: NDArray[np.uint8]) -> Segment:
        return _Segment(values, self._singles.eager(_single(values)))

    def plain(self, values: NDArray[np.uint8]) -> Segment:
        return _Segment(values, self._singles.plain(_single(values)))


def _single(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return values.reshape(QUADRANTS * len(values), -1)


@dataclass
class _Segment(Segment):
    values: NDArray[np.uint8]
    singles: Segment

    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        """Find the entries of which any quadrant is near, and keep those of which a second one is."""
        usable = _are_set(values)
        # All but the last usable one; none where only one is.
        asked = np.flatnonzero(usable & (usable.sum(axis=1, keepdims=True) >= NEEDED))
        query_rows, rows, _ = self.singles.query(_single(values)[asked], thresholds[asked // QUADRANTS])
        query_rows = asked[query_rows]
        same = query_rows % QUADRANTS == rows % QUADRANTS
        pairs = query_rows[same] // QUADRANTS * len(self.values) + rows[same] // QUADRANTS
        query_rows, rows = np.divmod(np.unique(pairs), len(self.values))
        found = np.zeros(len(rows), np.int64)
        for start in range(0, len(rows), _COMPARED):
            some = slice(start, start + _COMPARED)
            listed = without_uniform(self.values[rows[some]])
            found[some] = distances(listed, values[query_rows[some]])
        near = found <= thresholds[query_rows]
        return query_rows[near], rows[near], found[near]
