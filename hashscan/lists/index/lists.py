"""Combines the segments of several lists into one index."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import ColumnFiles, Columns, ListHandle, open_columns, withdrawn_rows
from hashscan.lists.index.base import DamagedIndexError, Hits, Index, Segment, no_hits
from hashscan.lists.index.metrics import strategy_of
from hashscan.lists.index.segments import WithoutWithdrawn, compile_segment, open_segment
from hashscan.model import ALGORITHMS

SMALL = 20_000
"""A segment with fewer entries is built in memory when it is opened, which takes a few milliseconds."""

_LEAST_INDEXED = 256
"""With fewer entries, a linear scan is as fast as an index, for any number of queries."""


def compiled(handle: ListHandle) -> tuple[ColumnFiles, ...]:
    """Return the columns of a list that have enough entries to be compiled to files."""
    return tuple(
        files for files in handle.columns if files.entries >= SMALL and ALGORITHMS[files.algorithm].matched
    )


def compile_list(handle: ListHandle, files: ColumnFiles) -> None:
    """Compile one algorithm's entries of a list into the handle's index folder.

    Raises:
        ColumnError: a column is not as the handle describes it.
        OSError: the index can't be written.
    """
    assert handle.index is not None
    values = open_columns(handle.folder, files).value
    compile_segment(segment_folder(handle.index, files), files.algorithm, values, files.content)


def open_list(handle: ListHandle, files: ColumnFiles, *, thorough: bool) -> Segment:
    """Map one compiled algorithm of a list.

    Raises:
        DamagedIndexError: the compiled files have changed, or belong to other values.
        ColumnError: a column is not as the handle describes it.
        OSError: a file can't be opened.
    """
    assert handle.index is not None
    return _compiled_segment(handle.index, files, open_columns(handle.folder, files).value, thorough=thorough)


def segment_folder(index: Path, files: ColumnFiles) -> Path:
    """Return the folder of some compiled columns, named by their content so that versions can share it."""
    return index / files.content


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


class CompiledIndex(Index):
    """An index of the segments of some lists in sequence."""

    def __init__(self, parts: dict[str, list[_Part]]) -> None:
        self._parts = parts

    @classmethod
    def open(cls, handles: Sequence[ListHandle], *, many: bool = False) -> CompiledIndex:
        """Map the lists of the handles, which were verified and compiled before.

        Segments that are small, or whose compiled files can't be used, are built in memory.

        Args:
            handles: handles of the lists.
            many: True if so many queries will follow that small segments are worth an index of their own.

        Raises:
            ColumnError: a file is not as its handle describes it.
            OSError: a column can't be opened.
        """
        parts: dict[str, list[_Part]] = {}
        for handle in handles:
            for files in handle.columns:
                if not ALGORITHMS[files.algorithm].matched:
                    continue
                of_algorithm = parts.setdefault(files.algorithm, [])
                start = of_algorithm[-1].end if of_algorithm else 0
                columns = open_columns(handle.folder, files)
                of_algorithm.append(
                    _Part(handle, start, files, columns, _segment(handle, files, columns, many))
                )
        return cls(parts)

    @property
    def algorithms(self) -> frozenset[str]:
        """Algorithms that have entries."""
        return frozenset(self._parts)

    def __len__(self) -> int:
        return sum(self.entries(algorithm) for algorithm in self._parts)

    def entries(self, algorithm: str) -> int:
        """Return the number of active entries of one algorithm."""
        return sum(part.files.active for part in self._parts.get(algorithm, ()))

    def query(self, algorithm: str, values: NDArray[np.uint8], thresholds: NDArray[np.int_]) -> Hits:
        """Return all entries within each query's threshold; memory is bounded except for the hits."""
        size = ALGORITHMS[algorithm].size
        if values.dtype != np.uint8 or values.ndim != 2 or values.shape[1] != size:
            raise ValueError(
                f"{algorithm} is asked with (n, {size}) bytes, not {values.dtype} {values.shape}"
            )
        if thresholds.shape != values.shape[:1] or (thresholds < 0).any():
            raise ValueError("every query needs a threshold from 0 on")
        parts = self._parts.get(algorithm, [])
        if not parts or not len(values):
            return no_hits()
        values = np.ascontiguousarray(values)
        limits = np.minimum(thresholds, ALGORITHMS[algorithm].bits).astype(np.int64)
        found = [(part.start, part.segment.query(values, limits)) for part in parts]
        if len(found) == 1:
            return found[0][1]
        query_rows = np.concatenate([hits[0] for _, hits in found])
        entry_rows = np.concatenate([start + hits[1] for start, hits in found])
        distances = np.concatenate([hits[2] for _, hits in found])
        order = np.lexsort((entry_rows, query_rows))
        return query_rows[order], entry_rows[order], distances[order]

    def entry(self, algorithm: str, entry_row: int) -> tuple[str, str, str]:
        """Return list name, entry id and category of an entry row from `query`."""
        part, row = self._place(algorithm, entry_row)
        entry_id = bytes(part.columns.ids[row]).decode("ascii")
        return part.handle.name, entry_id, part.handle.categories[part.columns.category[row]]

    def value(self, algorithm: str, entry_row: int) -> bytes:
        """Return the value of an entry row from `query`."""
        part, row = self._place(algorithm, entry_row)
        return bytes(part.columns.value[row])

    def _place(self, algorithm: str, entry_row: int) -> tuple[_Part, int]:
        parts = self._parts[algorithm]
        part = parts[bisect.bisect_right(parts, entry_row, key=lambda part: part.start) - 1]
        row = entry_row - part.start
        if not 0 <= row < part.files.entries:
            raise IndexError(entry_row)
        return part, row


def _segment(handle: ListHandle, files: ColumnFiles, columns: Columns, many: bool) -> Segment:
    segment = _whole_segment(handle, files, columns, many)
    return (
        WithoutWithdrawn(segment, withdrawn_rows(handle.folder, files)) if files.withdrawn_rows else segment
    )


def _whole_segment(handle: ListHandle, files: ColumnFiles, columns: Columns, many: bool) -> Segment:
    """Return the segment of all rows, including withdrawn ones."""
    if handle.index is not None and files.entries >= SMALL:
        try:
            return _compiled_segment(handle.index, files, columns.value)
        except (DamagedIndexError, OSError):
            # This was checked and reported when the list was opened. The result is still exact, only slower.
            pass
    strategy = strategy_of(files.algorithm)
    if many and _LEAST_INDEXED <= files.entries < SMALL:
        return strategy.eager(columns.value)
    return strategy.plain(columns.value)


def _compiled_segment(
    index: Path, files: ColumnFiles, values: NDArray[np.uint8], *, thorough: bool = False
) -> Segment:
    folder = segment_folder(index, files)
    return open_segment(folder, files.algorithm, values, files.content, thorough=thorough)
