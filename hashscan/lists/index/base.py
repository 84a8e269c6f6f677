"""Interfaces of metrics, how each is compiled and searched, and default thresholds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.errors import NoUsableListError
from hashscan.model import ALGORITHMS

Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Query rows, entry rows and distances, each of shape (hits,); sorted by query row, then entry row."""

ENTRIES_MAX = 2**32 - 1
"""Largest number of entries of one segment: row numbers have four bytes."""


class DamagedIndexError(NoUsableListError):
    """A compiled index is not as it was written; the message says what is wrong."""

    advice = "Check the lists with `hashscan lists verify`; a damaged index is compiled again."


class Segment(ABC):
    """Some values of one algorithm, ready to be searched."""

    @abstractmethod
    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        """Search like `CompiledIndex.query`; `values` is contiguous, rows count from the segment's first."""

    def lacks(self, value: bytes) -> bool:
        """Return True if it is known without a search that no entry is near a value."""
        return False


class Strategy(ABC):
    """The way in which one metric is compiled and searched: one subclass for each metric."""

    @abstractmethod
    def blocks(self, values: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield what is to be written: a column's name and its next block; columns may be interleaved.

        Args:
            values: shape (entries, size), at least one.
        """

    @abstractmethod
    def expected(self, entries: int, size: int) -> Mapping[str, tuple[np.dtype[Any], int]]:
        """Return type and number of rows of each column for `entries` values of `size` bytes."""

    @abstractmethod
    def open(self, values: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]) -> Segment:
        """Return a segment over compiled columns, which may be memory maps."""

    def eager(self, values: NDArray[np.uint8]) -> Segment:
        """Return a segment over columns built in memory, for when many queries make that worthwhile."""
        columns: dict[str, list[NDArray[Any]]] = {}
        for name, block in self.blocks(values):
            columns.setdefault(name, []).append(block)
        return self.open(values, {name: np.concatenate(blocks) for name, blocks in columns.items()})

    def plain(self, values: NDArray[np.uint8]) -> Segment:
        """Return a segment over few values, for when few queries are expected."""
        return self.eager(values)


def joined(found: Sequence[Hits]) -> Hits:
    """Return the hits of several results, in sequence."""
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    query_rows, entry_rows, distances = (np.concatenate(column) for column in zip(*found, strict=True))
    return query_rows, entry_rows, distances


_SHORT = 64
"""Hash length in bits up to which unrelated entries come near by chance alone."""
_CHANCE = 1e-7
"""Expected number of random neighbours that one picture may have in the whole list."""


def default_threshold(algorithm: str, entries: int) -> int:
    """Return the model's threshold, lowered for short hashes until chance gives under 1e-7 neighbours.

    Args:
        entries: entries of that algorithm, in all lists of the scan together.
    """
    spec = ALGORITHMS[algorithm]
    if spec.metric == "exact" or spec.bits > _SHORT:
        return spec.threshold
    allowed = 0
    near = 0
    for threshold in range(spec.threshold + 1):
        near += math.comb(spec.bits, threshold)
        if entries * near / 2**spec.bits < _CHANCE:
            allowed = threshold
    return allowed
