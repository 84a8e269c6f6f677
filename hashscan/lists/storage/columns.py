"""The columns of a hash list on disk: for each algorithm an id, a category and a value in `.npy` files.

Nothing here unpickles: types and shapes are known beforehand and compared with the header of the file. Where
all rows are processed, files are read, not mapped: mapped pages count as memory of the process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.lists.storage.video_frames import parse_id
from hashscan.model import ALGORITHMS, ENTRY_ID_MAX, Entry


@dataclass(frozen=True, slots=True)
class EntryBlock:
    """Some entries of one algorithm, all fields checked."""

    algorithm: str
    ids: NDArray[np.bytes_]
    """Shape (n,), 1 to 64 bytes of printable ASCII each."""
    category: NDArray[np.uint8]
    """Shape (n,), an index into the model's categories."""
    value: NDArray[np.uint8]
    """Shape (n, size)."""
    places: NDArray[np.int64] | None = None
    """Shape (n,): position of each entry in its file, from 1; None for entries that come from no file."""
    unit: str = "line"
    """The unit of `places`."""

    def __len__(self) -> int:
        return len(self.ids)


ID_DTYPE = np.dtype(f"S{ENTRY_ID_MAX}")
BLOCK = 1 << 16
"""Number of entries processed at a time; a block of any column stays under 10 MB."""
ColumnBlock = tuple[NDArray[np.bytes_], NDArray[np.uint8], NDArray[np.uint8]]
"""Some rows of an algorithm's columns: ids and categories of shape (n,), values of shape (n, size)."""
BYTE = np.dtype(np.uint8)
ROW_DTYPE = np.dtype("<i8")
"""Type of the row numbers in a file of withdrawn rows."""

_MAGIC = b"\x93NUMPY\x01\x00"
HEADER_SIZE = 128
"""Number of bytes before the rows in every column file."""


class ColumnError(Exception):
    """A column file is not valid; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class ColumnFiles:
    """The names of one algorithm's columns."""

    algorithm: str
    entries: int
    """Rows of each column, at least one."""
    id_size: int
    """Bytes of each id."""
    ids: str
    """File of shape (entries,), `id_size` bytes of ASCII each, padded with NUL."""
    category: str
    """File of shape (entries,), uint8, an index into the list's categories."""
    value: str
    """File of shape (entries, size), uint8."""
    withdrawn: str | None = None
    """File of shape (withdrawn_rows,), int64, ascending: the withdrawn rows; None if there are none."""
    withdrawn_rows: int = 0
    content: str = ""
    """A fingerprint of these values, in letters and digits; the compiled index is named by it."""

    @property
    def names(self) -> tuple[str, str, str]:
        """The names of the three columns."""
        return self.ids, self.category, self.value

    @property
    def active(self) -> int:
        """Number of entries that are not withdrawn."""
        return self.entries - self.withdrawn_rows


@dataclass(frozen=True, slots=True)
class ListHandle:
    """The location of a verified list's columns; workers receive it and open them without verifying again."""

    name: str
    version: int
    folder: Path
    categories: tuple[str, ...]
    """The meaning of the numbers in the category column."""
    columns: tuple[ColumnFiles, ...]
    """One or two sets of columns for each algorithm; file names are relative to `folder`."""
    index: Path | None = None
    """Path of the compiled index; None if the whole index is built in memory."""
    identity: frozenset[str] = frozenset()
    """Tells the list from another that gets its name later: of one list, two versions have some of it in
    common. Empty where nothing is known."""

    @property
    def entries(self) -> int:
        """Number of active entries of all algorithms together."""
        return sum(files.active for files in self.columns)


@dataclass(frozen=True, slots=True)
class Columns:
    """One algorithm's columns, mapped into memory read-only."""

    ids: NDArray[np.bytes_]
    category: NDArray[np.uint8]
    value: NDArray[np.uint8]

    @property
    def entries(self) -> int:
        """Number of rows of each column."""
        return len(self.category)


def open_columns(folder: Path, files: ColumnFiles) -> Columns:
    """Map one algorithm's columns, including withdrawn rows."""
    rows, size = files.entries, ALGORITHMS[files.algorithm].size
    return Columns(
        map_column(folder / files.ids, id_dtype(files.id_size), (rows,)),
        map_column(folder / files.category, BYTE, (rows,)),
        map_column(folder / files.value, BYTE, (rows, size)),
    )


def withdrawn_rows(folder: Path, files: ColumnFiles) -> NDArray[np.int64]:
    """Return the withdrawn rows of one algorithm's columns, ascending."""
    if files.withdrawn is None:
        return np.zeros(0, dtype=np.int64)
    rows = map_column(folder / files.withdrawn, ROW_DTYPE, (files.withdrawn_rows,))
    if (rows[1:] <= rows[:-1]).any() or rows[0] < 0 or rows[-1] >= files.entries:
        raise ColumnError(f"{files.withdrawn} does not name rows in ascending order")
    return rows


@dataclass(frozen=True, slots=True)
class ActiveRows:
    """One algorithm's entries in blocks, without the withdrawn ones; can be iterated more than once.

    Iterating raises:
        ColumnError: a file is not as `files` describes it.
        OSError: a file can't be read.
    """

    folder: Path
    files: ColumnFiles

    def __iter__(self) -> Iterator[ColumnBlock]:
        files = self.files
        rows = read_rows(self.folder, files.names, files.algorithm, files.id_size, files.entries)
        return without(rows, withdrawn_rows(self.folder, files))


def read_rows(
    folder: Path, names: Iterable[str], algorithm: str, id_size: int, rows: int
) -> Iterator[ColumnBlock]:
    """Yield the rows of one algorithm in blocks, including withdrawn ones, from the files of ids (each of
    `id_size` bytes), categories and values."""
    ids, category, value = (folder / name for name in names)
    return zip(
        read_blocks(ids, id_dtype(id_size), (rows,)),
        read_blocks(category, BYTE, (rows,)),
        read_blocks(value, BYTE, (rows, ALGORITHMS[algorithm].size)),
        strict=True,
    )


def videos_with(handle: ListHandle, videos: Collection[str]) -> Iterator[Entry]:
    """Yield the active videos of a verified list that have any of the ids, each as one entry.

    Its value is that of all its frames, sorted; its category is that of the first.

    Iterating raises:
        ColumnError: a file is not as its handle describes it.
        OSError: a file can't be read.
    """
    wanted = np.array(sorted(video.encode("ascii") for video in videos if video.isascii()))
    found: dict[str, list[tuple[bytes, str]]] = {}
    for files in handle.columns if len(wanted) else ():
        if files.algorithm != VPDQ:
            continue
        for ids, category, value in ActiveRows(handle.folder, files):
            if not len(ids):
                # `rpartition` takes no empty array.
                continue
            named = np.isin(np.char.rpartition(ids, b"@")[:, 0], wanted)
            for entry_id, number, digest in zip(
                ids[named].tolist(), category[named].tolist(), value[named], strict=True
            ):
                if (parsed := parse_id(entry_id.decode("ascii"))) is not None:
                    frame = digest.tobytes(), handle.categories[number]
                    found.setdefault(parsed.video, []).append(frame)
    for video, frames in found.items():
        yield Entry(video, VPDQ, b"".join(sorted(value for value, _ in frames)), frames[0][1])


def without(blocks: Iterable[ColumnBlock], rows: NDArray[np.int64]) -> Iterator[ColumnBlock]:
    """Yield blocks without some rows, which are ascending and counted from the first row of the first
    block."""
    start = 0
    for block in blocks:
        end = start + len(block[1])
        first, last = np.searchsorted(rows, (start, end))
        if first == last:
            yield block
        else:
            keep = np.ones(end - start, dtype=bool)
            keep[rows[first:last] - start] = False
            yield block[0][keep], block[1][keep], block[2][keep]
        start = end


def id_dtype(size: int) -> np.dtype[np.bytes_]:
    """Return the dtype of ids with `size` bytes."""
    return np.dtype(f"S{size}")


def column_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the header of a column file, always 128 bytes, in numpy's format, version 1.0.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html . A file is compared with
    the header that it must have, so no parser ever runs on the header that it contains.
    """
    described = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text = described.ljust(HEADER_SIZE - len(_MAGIC) - 2 - 1) + "\n"
    return _MAGIC + len(text).to_bytes(2, "little") + text.encode("ascii")


def map_column(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a column file, after checking its header."""
    with path.open("rb") as file:
        _check_header(file, path.name, dtype, shape)
        return np.asarray(np.memmap(file, dtype, "r", HEADER_SIZE, shape))


def read_blocks(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Yield a column file in blocks of at most `BLOCK` rows, after checking its header."""
    size = dtype.itemsize * math.prod(shape[1:])
    with path.open("rb") as file:
        _check_header(file, path.name, dtype, shape)
        for start in range(0, shape[0], BLOCK):
            rows = min(BLOCK, shape[0] - start)
            data = file.read(rows * size)
            if len(data) != rows * size:
                raise ColumnError(f"{path.name} has become shorter")
            yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])


def _check_header(file: IO[bytes], name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    size = HEADER_SIZE + dtype.itemsize * math.prod(shape)
    if os.fstat(file.fileno()).st_size != size or file.read(HEADER_SIZE) != column_header(dtype, shape):
        raise ColumnError(f"{name} is no column of {dtype} with shape {shape}")


def check_ids(blocks: Iterable[NDArray[np.bytes_]], name: str) -> None:
    """Check that ids are printable ASCII, with padding only at the end."""
    start = 0
    for ids in blocks:
        letters = ids.view(np.uint8)
        if (
            not ids.all()
            or (letters[letters != 0] - 0x20 > 0x7E - 0x20).any()
            or np.count_nonzero(letters) != np.strings.str_len(ids).sum()
        ):
            raise ColumnError(
                f"an id between rows {start} and {start + len(ids)} of {name} is not printable ASCII"
            )
        start += len(ids)


def count_categories(
    blocks: Iterable[NDArray[np.uint8]], categories: tuple[str, ...], withdrawn: NDArray[np.int64]
) -> dict[str, int]:
    """Count the active entries of each category that has some. `categories` is the meaning of the numbers; a
    number without one is an error, also in withdrawn rows (ascending)."""
    total = np.zeros(len(categories), dtype=np.int64)
    start = 0
    for numbers in blocks:
        every = np.bincount(numbers, minlength=len(categories))
        if len(every) > len(categories):
            raise ColumnError(f"category number {len(every) - 1} has no meaning")
        end = start + len(numbers)
        first, last = np.searchsorted(withdrawn, (start, end))
        gone = numbers[withdrawn[first:last] - start]
        total += every - np.bincount(gone, minlength=len(categories))
        start = end
    return {name: count for name, count in zip(categories, total.tolist(), strict=True) if count}
