"""Finds the entries near a digest, over all lists of a sweep as if they were one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import Columns, ListHandle, open_columns
from hashscan.model import ALGORITHMS

Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Query rows, entry rows and distances in bits, each of shape (hits,); by query row, then entry row."""

_SCAN_BLOCK = 1 << 14
"""Entries compared at a time: the numbers in between stay in a core's cache."""
_KEY = 8
"""Bytes of an exact digest that are sorted; the rest is compared afterwards."""


class Index(ABC):
    """All entries of some lists, asked in batches."""

    @classmethod
    @abstractmethod
    def open(cls, handles: Sequence[ListHandle]) -> Index:
        """Open the lists behind the handles; they were verified before.

        Raises:
            ColumnError: a file is not what its handle says.
            OSError: a file can't be opened.
        """

    @property
    @abstractmethod
    def algorithms(self) -> frozenset[str]:
        """Algorithms that have entries."""

    @abstractmethod
    def __len__(self) -> int:
        """Entries of all algorithms together."""

    @abstractmethod
    def query(self, algorithm: str, values: NDArray[np.uint8], thresholds: NDArray[np.int_]) -> Hits:
        """All entries within each query's threshold, none missing and none besides.

        Args:
            algorithm: one without entries has no hits.
            values: digests, shape (queries, size) with the algorithm's size in bytes; none is fine.
            thresholds: largest distances in bits, shape (queries,); for an exact algorithm only equal entries
                are hits, at distance 0.
        """

    @abstractmethod
    def entry(self, algorithm: str, entry_row: int) -> tuple[str, str, str]:
        """List name, entry id and category of an entry that `query` gave."""


class FlatIndex(Index):
    """Compares with every entry for near matches; looks exact ones up in a sorted array."""

    def __init__(self, parts: dict[str, list[_Part]]) -> None:
        self._parts = parts
        self._lookups = {
            algorithm: _ExactLookup(parts)
            if ALGORITHMS[algorithm].metric == "exact"
            else _HammingLookup(parts)
            for algorithm, parts in parts.items()
        }

    @classmethod
    def open(cls, handles: Sequence[ListHandle]) -> FlatIndex:
        """Map the lists' columns and sort the keys of exact algorithms."""
        parts: dict[str, list[_Part]] = {}
        for handle in handles:
            for files in handle.columns:
                if not ALGORITHMS[files.algorithm].matched:
                    continue
                of_algorithm = parts.setdefault(files.algorithm, [])
                start = of_algorithm[-1].end if of_algorithm else 0
                of_algorithm.append(_Part(handle, start, open_columns(handle.folder, files)))
        return cls(parts)

    @property
    def algorithms(self) -> frozenset[str]:
        """Algorithms that have entries."""
        return frozenset(self._parts)

    def __len__(self) -> int:
        return sum(parts[-1].end for parts in self._parts.values())

    def query(self, algorithm: str, values: NDArray[np.uint8], thresholds: NDArray[np.int_]) -> Hits:
        """All entries within each query's threshold, in memory bounded but for the hits."""
        size = ALGORITHMS[algorithm].size
        if values.dtype != np.uint8 or values.ndim != 2 or values.shape[1] != size:
            raise ValueError(
                f"{algorithm} is asked with (n, {size}) bytes, not {values.dtype} {values.shape}"
            )
        if thresholds.shape != values.shape[:1] or (thresholds < 0).any():
            raise ValueError("every query needs a threshold from 0 on")
        lookup = self._lookups.get(algorithm)
        if lookup is None or not len(values):
            return _no_hits()
        return lookup.query(np.ascontiguousarray(values), thresholds)

    def entry(self, algorithm: str, entry_row: int) -> tuple[str, str, str]:
        """List name, entry id and category of an entry that `query` gave."""
        part = _part_of(self._parts[algorithm], entry_row)
        row = entry_row - part.start
        entry_id = bytes(part.columns.ids[row]).decode("ascii")
        return part.handle.name, entry_id, part.handle.categories[part.columns.category[row]]


@dataclass(frozen=True, slots=True)
class _Part:
    """One list's entries of an algorithm, and where they stand among all lists' entries of it."""

    handle: ListHandle
    start: int
    columns: Columns

    @property
    def end(self) -> int:
        """First entry row after this part."""
        return self.start + self.columns.entries


class _ExactLookup:
    """Equal digests, by their first bytes in a sorted array."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts
        keys = np.concatenate([_keys(part.columns.value) for part in parts])
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def query(self, values: NDArray[np.uint8], _thresholds: NDArray[np.int_]) -> Hits:
        wanted = _keys(values)
        first = np.searchsorted(self._keys, wanted, "left")
        counts = np.searchsorted(self._keys, wanted, "right") - first
        query_rows = np.repeat(np.arange(len(values)), counts)
        # Each query's run of equal keys, one after another.
        runs = np.arange(len(query_rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        entry_rows = self._order[np.repeat(first, counts) + runs]
        same = np.zeros(len(entry_rows), dtype=bool)
        for part in self._parts:
            mine = np.flatnonzero((part.start <= entry_rows) & (entry_rows < part.end))
            same[mine] = (part.columns.value[entry_rows[mine] - part.start] == values[query_rows[mine]]).all(
                axis=1
            )
        return query_rows[same], entry_rows[same], np.zeros(np.count_nonzero(same), dtype=np.int64)


class _HammingLookup:
    """Digests few bits apart, by comparing with all."""

    def __init__(self, parts: list[_Part]) -> None:
        self._words = [(part.start, _words(part.columns.value)) for part in parts]

    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int_]) -> Hits:
        queries = _words(values)
        found: list[Hits] = []
        for start, words in self._words:
            for begin in range(0, len(words), _SCAN_BLOCK):
                block = words[begin : begin + _SCAN_BLOCK]
                for query_row, (query, threshold) in enumerate(zip(queries, thresholds, strict=True)):
                    rows, distances = _near(block, query, threshold)
                    if rows.size:
                        found.append((np.full(len(rows), query_row), start + begin + rows, distances))
        if not found:
            return _no_hits()
        query_rows, entry_rows, distances = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.lexsort((entry_rows, query_rows))
        return query_rows[order], entry_rows[order], distances[order]


def _near(
    block: NDArray[Any], query: NDArray[Any], threshold: np.int_
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of `block` within `threshold` of `query`, with their distances.

    Half of the words rule out nearly every row that is far away, and the distance only grows with the rest.
    """
    half = math.ceil(len(query) / 2)
    partial = np.bitwise_count(block[:, 0] ^ query[0]).astype(np.uint16)
    for word in range(1, half):
        partial += np.bitwise_count(block[:, word] ^ query[word])
    rows = np.flatnonzero(partial <= threshold)
    distances = np.bitwise_count(block[rows] ^ query).sum(axis=1, dtype=np.int64)
    near = distances <= threshold
    return rows[near], distances[near]


def _keys(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first bytes of each digest as one number, shape (n,)."""
    return np.ascontiguousarray(values[:, :_KEY]).view(np.uint64)[:, 0]


def _words(values: NDArray[np.uint8]) -> NDArray[Any]:
    """Digests as the longest words they consist of, shape (n, words); no copy."""
    return values.view(f"u{math.gcd(values.shape[1], 8)}")


def _part_of(parts: list[_Part], entry_row: int) -> _Part:
    for part in parts:
        if part.start <= entry_row < part.end:
            return part
    raise IndexError(entry_row)


def _no_hits() -> Hits:
    nothing = np.zeros(0, dtype=np.int64)
    return nothing, nothing, nothing
