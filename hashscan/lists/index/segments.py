"""One compiled segment on disk: written once from an array of values, mapped by every querying process.

ALGORITHM.json    the header: format, label and number of values, column checksums; replaced atomically
ALGORITHM-X/      the columns that the header names, in `.npy` files
lock              lock of the compiling process
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import ColumnError, map_column
from hashscan.lists.durable import PRIVATE_FILE, remove_leftovers, replace_file, sync_folder
from hashscan.lists.growing_column import GrowingColumn
from hashscan.lists.index.base import ENTRIES_MAX, DamagedIndexError, Hits, Segment
from hashscan.lists.index.metrics import strategy_of
from hashscan.lists.layout import private_folder
from hashscan.lists.record import checksum
from hashscan.locking import flock_file

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
