"""The compiled segments of lists on disk, one for each algorithm: compile, share, check and open them.

ALGORITHM.json    the header: format, label and number of values, column checksums; replaced atomically
ALGORITHM-X/      the columns that the header names, in `.npy` files
lock              lock of the compiling process
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import (
    PRIVATE_FILE,
    is_refusal,
    remove_leftovers,
    replace_file,
    sync_folder,
)
from hashscan.lists.index.base import ENTRIES_MAX, DamagedIndexError, Hits, Segment
from hashscan.lists.index.strategies import strategy_of
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
from hashscan.lists.storage.degenerate import are_degenerate
from hashscan.lists.storage.layout import belongs_to_another, private_folder
from hashscan.lists.storage.stored_version import checksum
from hashscan.locking import flock_file
from hashscan.model import ALGORITHMS

FORMAT = 1
"""Version of the columns' meaning; a segment of another version is compiled again."""
_HEADER_MAX = 100_000
_ATTEMPTS = 5


def compile_segment(folder: Path, algorithm: str, values: NDArray[np.uint8], label: str) -> None:
    """Compile values, shape (entries, size), at least one, into `folder`, replacing an earlier segment of the
    algorithm; opening needs the values again. The label is their fingerprint."""
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
    """Map a compiled segment; another process may replace it at any time. The other arguments are those with
    which it was compiled; `thorough` compares every column with its checksum, which reads all of it. Raise
    DamagedIndexError unless it is as compiled, by this version."""
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
        query_rows, rows, distances = self._segment.query(values, thresholds)
        place = np.minimum(np.searchsorted(self._rows, rows), self._rows.size - 1)
        kept = self._rows[place] != rows
        return query_rows[kept], rows[kept], distances[kept]


class WithoutDegenerate(Segment):
    """A segment without the entries that are near too many unrelated pictures.

    Only hits are looked at, so that it costs nothing to open, and nothing where nothing is near.
    """

    def __init__(self, segment: Segment, algorithm: str, values: NDArray[np.uint8]) -> None:
        """Exclude the degenerate ones of `values`, which are those of the segment."""
        self._segment, self._algorithm, self._values = segment, algorithm, values

    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        query_rows, rows, distances = self._segment.query(values, thresholds)
        if not rows.size:
            return query_rows, rows, distances
        distinct, places = np.unique(rows, return_inverse=True)
        kept = ~are_degenerate(self._algorithm, self._values[distinct])[places]
        return query_rows[kept], rows[kept], distances[kept]


def _remove_others(folder: Path, algorithm: str, data: Path | None = None) -> None:
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
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise DamagedIndexError(f"the header of the index of {algorithm} is no JSON object")
    return header


def _is_data_name(name: object, algorithm: str) -> TypeGuard[str]:
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
        files for files in handle.columns if files.entries >= SMALL and ALGORITHMS[files.algorithm].indexed
    )


def compile_list(handle: ListHandle, files: ColumnFiles) -> None:
    """Compile one algorithm's entries of a list into the handle's index folder."""
    assert handle.index is not None
    values = open_columns(handle.folder, files).value
    compile_segment(segment_folder(handle.index, files), files.algorithm, values, files.content)


def open_list(handle: ListHandle, files: ColumnFiles, *, thorough: bool) -> Segment:
    """Map one compiled algorithm of a list."""
    assert handle.index is not None
    return _compiled_segment(handle.index, files, open_columns(handle.folder, files).value, thorough=thorough)


def segment_folder(index: Path, files: ColumnFiles) -> Path:
    """Return the folder of some compiled columns, named by their content so that versions can share it."""
    return index / files.content


def segment_of(handle: ListHandle, files: ColumnFiles, columns: Columns, *, many: bool) -> Segment:
    """Return a segment of the active rows of a list's columns, given as files and opened. It is built in
    memory if it is small, or if its compiled files can't be used; with `many`, so many queries will follow
    that a small segment is worth an index."""
    segment = None
    if handle.index is not None and files.entries >= SMALL:
        # Damage was reported when the list was opened. The result is still exact, only slower.
        with suppress(DamagedIndexError, OSError):
            segment = _compiled_segment(handle.index, files, columns.value)
    if segment is None:
        strategy = strategy_of(files.algorithm)
        indexed = many and _LEAST_INDEXED <= files.entries < SMALL
        segment = strategy.eager(columns.value) if indexed else strategy.plain(columns.value)
    if ALGORITHMS[files.algorithm].metric not in {"exact", "video"}:
        # Frames of a video are matched together: see `video_matching`.
        segment = WithoutDegenerate(segment, files.algorithm, columns.value)
    if files.withdrawn_rows:
        return WithoutWithdrawn(segment, withdrawn_rows(handle.folder, files))
    return segment


def _compiled_segment(
    index: Path, files: ColumnFiles, values: NDArray[np.uint8], *, thorough: bool = False
) -> Segment:
    folder = segment_folder(index, files)
    return open_segment(folder, files.algorithm, values, files.content, thorough=thorough)


INDEX = "index"
"""Name of the index folder in a version's folder."""


class TemporaryIndex:
    """A temporary folder for an index that could not be stored; removed with this object."""

    def __init__(self) -> None:
        """Create the folder."""
        self.folder = Path(tempfile.mkdtemp(prefix="hashscan-index-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def close(self) -> None:
        self._finalizer()


def compile_new(handle: ListHandle, folder: Path, earlier_versions: Iterable[Path] = ()) -> None:
    """Compile the index of a verified list's version before its activation, as far as disk space allows; what
    a killed call compiled is reused. What an earlier version has compiled from the same values is shared by
    hard links. Its checksums are compared when the list is opened for a scan. A version is useful without an
    index too: what is missing is compiled, and reported, when the list is opened."""
    index = folder / INDEX
    handle = replace(handle, index=index)
    wanted = compiled_columns(handle)
    if index.is_dir():
        for leftover in set(index.iterdir()) - {segment_folder(index, files) for files in wanted}:
            shutil.rmtree(leftover)
    for files in wanted:
        if not _is_compiled(handle, files) and not any(
            _shared(handle, files, version / INDEX) for version in earlier_versions
        ):
            with suppress(OSError):
                compile_list(handle, files)


def _is_compiled(handle: ListHandle, files: ColumnFiles) -> bool:
    try:
        open_list(handle, files, thorough=False)
    except (DamagedIndexError, OSError):
        return False
    return True


def _shared(handle: ListHandle, files: ColumnFiles, other: Path) -> bool:
    """Share a segment that another index has compiled; return True if it can be used."""
    assert handle.index is not None
    try:
        link_segment(segment_folder(other, files), segment_folder(handle.index, files), files.algorithm)
    except (DamagedIndexError, OSError):
        return False
    return _is_compiled(handle, files)


@dataclass(frozen=True, slots=True)
class PreparedList:
    """A list with its index."""

    handle: ListHandle
    remark: str | None = None
    """A message for the user about what was wrong with the index."""
    temporary: TemporaryIndex | None = None


def prepared(handle: ListHandle, folder: Path, *, thorough: bool) -> PreparedList:
    """Check the index of a verified list (thoroughly: compare it with its checksums) and compile what is
    missing or can't be used."""
    wanted = compiled_columns(handle)
    if not wanted:
        return PreparedList(handle)
    handle = replace(handle, index=folder / INDEX)
    if belongs_to_another(folder) and not all(_is_compiled(handle, files) for files in wanted):
        return _elsewhere(handle, "its index is missing, and root writes none among another user's files")
    reasons = []
    for files in wanted:
        try:
            open_list(handle, files, thorough=thorough)
        except (DamagedIndexError, OSError) as error:
            if is_refusal(error):
                return _elsewhere(handle, f"its index can't be read: {error}")
            reasons.append(
                "its index was missing"
                if isinstance(error, FileNotFoundError)
                else f"its index was damaged ({error})"
            )
            try:
                compile_list(handle, files)
            except OSError as trouble:
                return _elsewhere(handle, f"{reasons[-1]} and can't be written: {trouble}")
    if not reasons:
        return PreparedList(handle)
    return PreparedList(handle, f"{reasons[0]}, and has been compiled again")


def _elsewhere(handle: ListHandle, trouble: str) -> PreparedList:
    """Compile all of a list in a temporary folder; if that fails, the list is searched without an index."""
    try:
        temporary = TemporaryIndex()
        elsewhere = replace(handle, index=temporary.folder)
        for files in compiled_columns(handle):
            compile_list(elsewhere, files)
    except OSError:
        return PreparedList(replace(handle, index=None), f"{trouble}; it is searched without, which is slow")
    return PreparedList(elsewhere, f"{trouble}; a temporary one is used", temporary)
