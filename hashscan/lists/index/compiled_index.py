"""The index of the lists of a scan: their segments, combined."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import Hits, Segment, joined
from hashscan.lists.index.segments import segment_of
from hashscan.lists.storage.columns import ColumnFiles, Columns, ListHandle, open_columns
from hashscan.model import ALGORITHMS


@dataclass(frozen=True, slots=True)
class _Part:
    """Some columns of one list, and the position of their rows among all lists' rows of the algorithm."""

    handle: ListHandle
    start: int
    files: ColumnFiles
    columns: Columns
    segment: Segment

    @property
    def end(self) -> int:
        """First entry row after this part, counting withdrawn rows."""
        return self.start + self.files.entries


class CompiledIndex:
    """All entries of some lists, queried in batches: the segments of the lists in sequence."""

    def __init__(self, parts: dict[str, list[_Part]]) -> None:
        self._parts = parts
        self.algorithms = frozenset(parts)
        """Algorithms that have entries."""

    @classmethod
    def open(
        cls, handles: Sequence[ListHandle], *, many: bool = False, algorithms: Collection[str] | None = None
    ) -> CompiledIndex:
        """Map the lists of the handles, which were verified and compiled before, for these algorithms (None
        for all of which single digests are compared). Segments that are small, or whose compiled files can't
        be used, are built in memory; with `many`, so many queries will follow that small segments are worth
        an index."""
        parts: dict[str, list[_Part]] = {}
        wanted = {name for name, a in ALGORITHMS.items() if a.matched} if algorithms is None else algorithms
        for handle in handles:
            for files in handle.columns:
                if files.algorithm not in wanted:
                    continue
                of_algorithm = parts.setdefault(files.algorithm, [])
                start = of_algorithm[-1].end if of_algorithm else 0
                columns = open_columns(handle.folder, files)
                segment = segment_of(handle, files, columns, many=many)
                of_algorithm.append(_Part(handle, start, files, columns, segment))
        return cls(parts)

    def __len__(self) -> int:
        return sum(self.entries(algorithm) for algorithm in self._parts)

    def entries(self, algorithm: str) -> int:
        return sum(part.files.active for part in self._parts.get(algorithm, ()))

    def query(self, algorithm: str, values: NDArray[np.uint8], thresholds: NDArray[np.int_]) -> Hits:
        """Return exactly the entries within each query's threshold; memory is bounded except for the hits.
        Values have the shape (queries, size), thresholds (queries,): bits, or squares of a Euclidean
        distance; for an exact algorithm only equal entries are hits, at distance 0. Raise DamagedIndexError
        if a compiled file has changed since it was opened."""
        size = ALGORITHMS[algorithm].size
        if values.dtype != np.uint8 or values.ndim != 2 or values.shape[1] != size:
            raise ValueError(
                f"{algorithm} is asked with (n, {size}) bytes, not {values.dtype} {values.shape}"
            )
        if thresholds.shape != values.shape[:1] or (thresholds < 0).any():
            raise ValueError("every query needs a threshold from 0 on")
        parts = self._parts.get(algorithm, [])
        if not parts or not len(values):
            return joined([])
        values = np.ascontiguousarray(values)
        limits = np.minimum(thresholds, ALGORITHMS[algorithm].farthest).astype(np.int64)
        found = []
        for part in parts:
            query_rows, rows, distances = part.segment.query(values, limits)
            found.append((query_rows, part.start + rows, distances))
        if len(found) == 1:
            return found[0]
        query_rows, rows, distances = joined(found)
        order = np.lexsort((rows, query_rows))
        return query_rows[order], rows[order], distances[order]

    def lacks(self, algorithm: str, values: Sequence[bytes]) -> bool:
        """Return True if it is known without a search that no entry is near any of a few values.

        One exact digest that is not listed takes 2 µs, while `query` takes 100.
        """
        parts = self._parts.get(algorithm, ())
        return all(part.segment.lacks(value) for value in values for part in parts)

    def entry(self, algorithm: str, entry_row: int) -> tuple[str, str, str]:
        """Return list name, entry id and category of an entry row from `query`."""
        part, row = self._place(algorithm, entry_row)
        entry_id = bytes(part.columns.ids[row]).decode("ascii")
        return part.handle.name, entry_id, part.handle.categories[part.columns.category[row]]

    def value(self, algorithm: str, entry_row: int) -> bytes:
        part, row = self._place(algorithm, entry_row)
        return bytes(part.columns.value[row])

    def _place(self, algorithm: str, entry_row: int) -> tuple[_Part, int]:
        parts = self._parts[algorithm]
        part = parts[bisect.bisect_right(parts, entry_row, key=lambda part: part.start) - 1]
        row = entry_row - part.start
        if not 0 <= row < part.files.entries:
            raise IndexError(entry_row)
        return part, row
