"""The compiled index: segments on disk, one for each algorithm of a list, combined into one index.

ALGORITHM.json    the header: format, label and number of values, column checksums; replaced atomically
ALGORITHM-X/      the columns that the header names, in `.npy` files
lock              lock of the compiling process
"""

from __future__ import annotations

import bisect
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import ENTRIES_MAX, DamagedIndexError, Hits, Index, Segment, no_hits
from hashscan.lists.index.strategies import strategy_of
from hashscan.lists.storage.atomic_files import PRIVATE_FILE, remove_leftovers, replace_file, sync_folder
from hashscan.lists.storage.column_writer import GrowingColumn
from hashscan.lists.storage.columns import (
    ColumnError,
    ColumnFiles,
    Columns,
    ListHandle,
    map_column,
    open_columns,
    withdrawn_rows,
)
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.storage.stored_version import checksum
from hashscan.locking import flock_file
from hashscan.model import ALGORITHMS

FORMAT = 1
"""Version of the columns' meaning; a segment of another version is compiled again."""
_HEADER_MAX = 100_000
_ATTEMPTS = 5


def compile_segment(folder: Path, algorithm: str, values: NDArray[np.uint8], label: str) -> None:
    """Compile values into `folder`, replacing an earlier segment of the algorithm.

    Args:
        folder: created if missing; segments of other algorithms in it stay.
        algorithm: algorithm of the values.
        values: shape (entries, size), at least one; opening needs them again.
        label: a fingerprint of the values.

    Raises:
        OSError: the segment can't be written; the old segment is unchanged.
    """
    if not 0 < len(values) <= ENTRIES_MAX:
        raise ValueError(f"a segment holds 1 to {ENTRIES_MAX} values")
    private_folder(folder)
    with flock_file(folder / "lock"):
        remove_leftovers(folder)
        data = folder / f"{algorithm}-{secrets.token_hex(8)}"
        try:
            private_folder(data)
            _write_columns(data, algorithm, values)
            sums = {path.stem: checksum(path) for path in sorted(data.iterdir())}
            sync_folder(data)
            header = {**_identity(algorithm, values, label), "data": data.name, "columns": sums}
            replace_file(folder / f"{algorithm}.json", json.dumps(header, indent=1).encode("ascii"))
        except BaseException:
            shutil.rmtree(data, ignore_errors=True)
            raise
        _remove_others(folder, algorithm, data)


def open_segment(
    folder: Path,
    algorithm: str,
    values: NDArray[np.uint8],
    label: str,
    *,
    thorough: bool = False,
) -> Segment:
    """Map a compiled segment; another process may replace it at any time.

    Args:
        folder: the folder it was compiled into.
        algorithm: algorithm of the values.
        values: exactly the values from which it was compiled.
        label: the label with which it was compiled.
        thorough: compare every column with its checksum, which reads all of it.

    Raises:
        DamagedIndexError: the segment is not as compiled, or was compiled for another version.
        OSError: the segment does not exist, or can't be read.
    """
    for attempt in range(_ATTEMPTS):
        header = _header(folder, algorithm)
        wanted = _identity(algorithm, values, label)
        if {name: header.get(name) for name in wanted} != wanted:
            raise DamagedIndexError(f"the index of {algorithm} was compiled for something else")
        try:
            columns = _mapped(folder, header, algorithm, values, thorough=thorough)
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1 or _header(folder, algorithm) == header:
                raise
            continue  # Replaced between header and columns.
        return strategy_of(algorithm).open(values, columns)
    raise AssertionError("unreachable")


def link_segment(source: Path, folder: Path, algorithm: str) -> None:
    """Share a compiled segment with another folder by hard links; no checksums are compared.

    The folder must have no segment of the algorithm. If one of both is compiled again, the other is not
    affected, since compiling writes new files and changes no existing one.

    Raises:
        DamagedIndexError: the segment's header can't be read.
        OSError: the segment does not exist, or can't be linked.
    """
    name = _header(source, algorithm).get("data")
    if not _is_data_name(name, algorithm):
        raise DamagedIndexError(f"the header of the index of {algorithm} names other columns")
    private_folder(folder)
    with flock_file(folder / "lock"):
        data = folder / name
        remove_leftovers(folder)
        _remove_others(folder, algorithm)
        private_folder(data)
        for column in sorted((source / name).iterdir()):
            os.link(column, data / column.name)
        sync_folder(data)
        (folder / f"{algorithm}.json").unlink(missing_ok=True)
        os.link(source / f"{algorithm}.json", folder / f"{algorithm}.json")
        sync_folder(folder)


class WithoutWithdrawn(Segment):
    """A segment with some rows excluded from every result."""

    def __init__(self, segment: Segment, rows: NDArray[np.int64]) -> None:
        """Exclude `rows`, ascending."""
        self._segment = segment
        self._rows = rows

    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        """Return the hits without the excluded rows."""
        query_rows, rows, distances = self._segment.query(values, thresholds)
        place = np.minimum(np.searchsorted(self._rows, rows), self._rows.size - 1)
        kept = self._rows[place] != rows
        return query_rows[kept], rows[kept], distances[kept]


def _remove_others(folder: Path, algorithm: str, data: Path | None = None) -> None:
    """Remove the columns of earlier headers."""
    for old in folder.glob(f"{algorithm}-*"):
        if old != data:
            shutil.rmtree(old, ignore_errors=True)


def _identity(algorithm: str, values: NDArray[np.uint8], label: str) -> dict[str, Any]:
    entries, size = values.shape
    return {"format": FORMAT, "algorithm": algorithm, "entries": entries, "size": size, "label": label}


def _header(folder: Path, algorithm: str) -> dict[str, Any]:
    with (folder / f"{algorithm}.json").open("rb") as file:
        data = file.read(_HEADER_MAX)
    try:
        header = json.loads(data)
    except ValueError as error:
        raise DamagedIndexError(f"the header of the index of {algorithm} is not JSON") from error
    if not isinstance(header, dict):
        raise DamagedIndexError(f"the header of the index of {algorithm} is no object")
    return header


def _is_data_name(name: object, algorithm: str) -> TypeGuard[str]:
    """Return True if a header may name this folder."""
    return isinstance(name, str) and name.startswith(f"{algorithm}-") and "/" not in name


def _mapped(
    folder: Path, header: Mapping[str, Any], algorithm: str, values: NDArray[np.uint8], *, thorough: bool
) -> dict[str, NDArray[Any]]:
    """Map the columns that a header names, after checking them."""
    data, sums = header.get("data"), header.get("columns")
    expected = strategy_of(algorithm).expected(*values.shape)
    if not _is_data_name(data, algorithm) or not isinstance(sums, dict) or set(sums) != set(expected):
        raise DamagedIndexError(f"the header of the index of {algorithm} names other columns")
    columns = {}
    for name, (dtype, rows) in expected.items():
        path = folder / data / f"{name}.npy"
        try:
            columns[name] = map_column(path, dtype, (rows,))
        except ColumnError as error:
            raise DamagedIndexError(str(error)) from error
        if thorough and checksum(path) != sums[name]:
            raise DamagedIndexError(f"{path.name} of the index of {algorithm} has changed")
    return columns


def _write_columns(data: Path, algorithm: str, values: NDArray[np.uint8]) -> None:
    strategy = strategy_of(algorithm)
    with ExitStack() as stack:
        columns = {}
        for name, (dtype, _) in strategy.expected(*values.shape).items():
            columns[name] = GrowingColumn(data / f"{name}.npy", dtype, (), PRIVATE_FILE)
            stack.callback(columns[name].close)
        for name, block in strategy.blocks(values):
            columns[name].append(block)
        for column in columns.values():
            column.finish()


SMALL = 20_000
"""A segment with fewer entries is built in memory when it is opened, which takes a few milliseconds."""

_LEAST_INDEXED = 256
"""With fewer entries, a linear scan is as fast as an index, for any number of queries."""


def compiled_columns(handle: ListHandle) -> tuple[ColumnFiles, ...]:
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
