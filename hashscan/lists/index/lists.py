"""Makes the segments of several lists look like one index."""

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
from hashscan.lists.index.segments import Withdrawn, compile_segment, open_segment
from hashscan.model import ALGORITHMS

SMALL = 20_000
"""Below so many entries a segment is made in memory when it is opened: that takes a few milliseconds."""

_LEAST_INDEXED = 256
"""Below so many, a scan is as good as an index however many questions there are."""


def compiled(handle: ListHandle) -> tuple[ColumnFiles, ...]:
    """The columns of a list that have enough entries to be compiled to files."""
    return tuple(
        files for files in handle.columns if files.entries >= SMALL and ALGORITHMS[files.algorithm].matched
    )


def compile_list(handle: ListHandle, files: ColumnFiles) -> None:
    """Compile one algorithm's entries of a list into the handle's index folder.

    Raises:
        ColumnError: a column is not what the handle says.
        OSError: it can't be written.
    """
    assert handle.index is not None
    values = open_columns(handle.folder, files).value
    compile_segment(segment_folder(handle.index, files), files.algorithm, values, files.content)


def open_list(handle: ListHandle, files: ColumnFiles, *, thorough: bool) -> Segment:
    """Map one compiled algorithm of a list.

    Raises:
        DamagedIndexError: what was compiled has changed, or belongs to other values.
        ColumnError: a column is not what the handle says.
        OSError: a file can't be opened.
    """
    assert handle.index is not None
    return _compiled_segment(handle.index, files, open_columns(handle.folder, files).value, thorough=thorough)


def segment_folder(index: Path, files: ColumnFiles) -> Path:
    """Where some columns of a list are compiled; named by what they hold, so that versions can share it."""
    return index / files.content


@dataclass(frozen=True, slots=True)
class _Part:
    """Some columns of one list, and where their rows stand among all lists' rows of the algorithm."""

    handle: ListHandle
    start: int
    files: ColumnFiles
    columns: Columns
    segment: Segment

    @property
    def end(self) -> int:
        """First entry row after this part; withdrawn rows count."""
        return self.start + self.files.entries


class CompiledIndex(Index):
    """The segments of some lists one after another."""

    def __init__(self, parts: dict[str, list[_Part]]) -> None:
        self._parts = parts

    @classmethod
    def open(cls, handles: Sequence[ListHandle], *, many: bool = False) -> CompiledIndex:
        """Map the lists behind the handles, which were verified and compiled before.

        What is small, or can't be used as it was compiled, is made in memory.

        Args:
            handles: of the lists.
            many: whether so many questions will be asked that what is small is worth an index of its own.

        Raises:
            ColumnError: a file is not what its handle says.
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
        """Active entries of one algorithm."""
        return sum(part.files.active for part in self._parts.get(algorithm, ()))

    def query(self, algorithm: str, values: NDArray[np.uint8], thresholds: NDArray[np.int_]) -> Hits:
        """All entries within each query's threshold, in memory bounded but for the hits."""
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
        """List name, entry id and category of an entry that `query` gave."""
        part, row = self._place(algorithm, entry_row)
        entry_id = bytes(part.columns.ids[row]).decode("ascii")
        return part.handle.name, entry_id, part.handle.categories[part.columns.category[row]]

    def value(self, algorithm: str, entry_row: int) -> bytes:
        """The value of an entry that `query` gave."""
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
    return Withdrawn(segment, withdrawn_rows(handle.folder, files)) if files.withdrawn_rows else segment


def _whole_segment(handle: ListHandle, files: ColumnFiles, columns: Columns, many: bool) -> Segment:
    """The segment of all rows, withdrawn ones among them."""
    if handle.index is not None and files.entries >= SMALL:
        try:
            return _compiled_segment(handle.index, files, columns.value)
        except (DamagedIndexError, OSError):
            # Looked at and said so when the list was opened; exact all the same, only slower.
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
