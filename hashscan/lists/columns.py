"""The columns of a hash list on disk: for each algorithm an id, a category and a value in `.npy` files.

Nothing here unpickles: types and shapes are known beforehand and compared with what a file says of itself.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.model import ALGORITHMS, ENTRY_ID_MAX

ID_DTYPE = np.dtype(f"S{ENTRY_ID_MAX}")
BLOCK = 1 << 16
"""Entries taken at a time; a block of any column stays under 5 MB."""


_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER_SIZE = 128


class ColumnError(Exception):
    """A column file is not what it should be; says what is wrong."""


@dataclass(frozen=True, slots=True)
class ColumnFiles:
    """The names of one algorithm's columns."""

    algorithm: str
    entries: int
    """Rows of each column, at least one."""
    ids: str
    """File of shape (entries,), 64 bytes of ASCII each."""
    category: str
    """File of shape (entries,), uint8, an index into the list's categories."""
    value: str
    """File of shape (entries, size), uint8."""

    @property
    def names(self) -> tuple[str, str, str]:
        """All three files."""
        return self.ids, self.category, self.value


@dataclass(frozen=True, slots=True)
class ListHandle:
    """Where a verified list's columns lie; travels to workers, who open them without verifying again."""

    name: str
    version: int
    folder: Path
    categories: tuple[str, ...]
    """What the category column's numbers mean."""
    columns: tuple[ColumnFiles, ...]
    """A row for each algorithm; the names are relative to `folder`."""
    index: Path | None = None
    """Where the compiled index is; None when all of it is made in memory."""

    @property
    def entries(self) -> int:
        """Entries of all algorithms together."""
        return sum(files.entries for files in self.columns)


@dataclass(frozen=True, slots=True)
class Columns:
    """One algorithm's columns, mapped into memory read-only."""

    ids: NDArray[np.bytes_]
    category: NDArray[np.uint8]
    value: NDArray[np.uint8]

    @property
    def entries(self) -> int:
        """Rows of each column."""
        return len(self.category)


def open_columns(folder: Path, files: ColumnFiles) -> Columns:
    """Map one algorithm's columns.

    Raises:
        ColumnError: a file's type or shape is not what `files` says.
        OSError: a file can't be opened.
    """
    rows, size = files.entries, ALGORITHMS[files.algorithm].size
    return Columns(
        map_column(folder / files.ids, ID_DTYPE, (rows,)),
        map_column(folder / files.category, np.dtype(np.uint8), (rows,)),
        map_column(folder / files.value, np.dtype(np.uint8), (rows, size)),
    )


def categories_used(columns: Columns, categories: tuple[str, ...]) -> frozenset[str]:
    """Which of a list's categories occur in it.

    Raises:
        ColumnError: a category's number has no meaning, or an entry has no id.
    """
    counts = np.bincount(columns.category, minlength=len(categories))
    if len(counts) > len(categories):
        raise ColumnError(f"category number {len(counts) - 1} has no meaning")
    for start in range(0, columns.entries, BLOCK):
        ids = columns.ids[start : start + BLOCK]
        letters = ids.view(np.uint8)
        # Padding is NUL, and stands only after the id.
        if (
            not ids.all()
            or (letters[letters != 0] - 0x20 > 0x7E - 0x20).any()
            or (np.count_nonzero(letters) != np.strings.str_len(ids).sum())
        ):
            raise ColumnError(f"an id between rows {start} and {start + len(ids)} is not printable ASCII")
    return frozenset(category for category, count in zip(categories, counts, strict=True) if count)


def column_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """How a column file begins, always 128 bytes: numpy's format, version 1.0.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html . A file is compared with
    the header it must have; so no parser ever runs on what it claims to be.
    """
    described = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text = described.ljust(_HEADER_SIZE - len(_MAGIC) - 2 - 1) + "\n"
    return _MAGIC + len(text).to_bytes(2, "little") + text.encode("ascii")


def map_column(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a column file, when it is what it should be.

    Raises:
        ColumnError: its type or shape is another.
        OSError: it can't be opened.
    """
    size = _HEADER_SIZE + dtype.itemsize * math.prod(shape)
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size != size or file.read(_HEADER_SIZE) != column_header(dtype, shape):
            raise ColumnError(f"{path.name} is no column of {dtype} with shape {shape}")
        return np.asarray(np.memmap(file, dtype, "r", _HEADER_SIZE, shape))
