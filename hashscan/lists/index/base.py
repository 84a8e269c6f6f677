"""What every index answers, and what every metric must bring to be compiled and asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.errors import NoUsableListError

Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Query rows, entry rows and distances, each of shape (hits,); by query row, then entry row."""

ENTRIES_MAX = 2**32 - 1
"""Entries of one segment: rows are kept in four bytes."""


class DamagedIndexError(NoUsableListError):
    """A compiled index is not what was written; says what is wrong."""

    advice = "Check the lists with `hashscan lists verify`; a damaged index is compiled again."


class Index(ABC):
    """All entries of some lists, asked in batches."""

    @property
    @abstractmethod
    def algorithms(self) -> frozenset[str]:
        """Algorithms that have entries."""

    @abstractmethod
    def __len__(self) -> int:
        """Active entries of all algorithms together."""

    @abstractmethod
    def entries(self, algorithm: str) -> int:
        """Active entries of one algorithm."""

    @abstractmethod
    def query(self, algorithm: str, values: NDArray[np.uint8], thresholds: NDArray[np.int_]) -> Hits:
        """All entries within each query's threshold, none missing and none besides.

        Args:
            algorithm: one without entries has no hits.
            values: digests, shape (queries, size) with the algorithm's size in bytes; none is fine.
            thresholds: largest distances in bits, shape (queries,); for an exact algorithm only equal entries
                are hits, at distance 0.

        Raises:
            DamagedIndexError: a compiled file has changed since it was opened.
        """

    @abstractmethod
    def entry(self, algorithm: str, entry_row: int) -> tuple[str, str, str]:
        """List name, entry id and category of an entry that `query` gave."""

    @abstractmethod
    def value(self, algorithm: str, entry_row: int) -> bytes:
        """The value of an entry that `query` gave."""


class Segment(ABC):
    """Some values of one algorithm, ready to be asked."""

    @abstractmethod
    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        """As `Index.query`; the values are contiguous, and rows count from the segment's first."""


class Strategy(ABC):
    """How one metric is compiled and searched: a class for each."""

    @abstractmethod
    def blocks(self, values: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
        """What is to be written: a column's name and its next block; columns may take turns.

        Args:
            values: shape (entries, size), at least one.
        """

    @abstractmethod
    def expected(self, entries: int, size: int) -> Mapping[str, tuple[np.dtype[Any], int]]:
        """Type and rows that each column of so many values has."""

    @abstractmethod
    def open(self, values: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]) -> Segment:
        """A segment over compiled columns, which may be memory maps."""

    def eager(self, values: NDArray[np.uint8]) -> Segment:
        """A segment over columns made in memory, for so many questions that they are worth making."""
        columns: dict[str, list[NDArray[Any]]] = {}
        for name, block in self.blocks(values):
            columns.setdefault(name, []).append(block)
        return self.open(values, {name: np.concatenate(blocks) for name, blocks in columns.items()})

    @abstractmethod
    def plain(self, values: NDArray[np.uint8]) -> Segment:
        """A segment over few values, without compiled columns."""


def no_hits() -> Hits:
    """The answer that there is nothing."""
    nothing = np.zeros(0, dtype=np.int64)
    return nothing, nothing, nothing
