"""Where the rows of signed shards lie in the joined columns of a stored version.

A stored version has at most two sets of columns for each algorithm: the base's rows, and those of all
increments one after another, the delta. A joined column takes the place of its shards completely: each can be
made again from its rows, byte for byte, since what comes before them is known.

columns/base.pdq.ids.npy        and category, value: the base's shards of an algorithm, joined
columns/delta.pdq.ids.npy       and category, value: the increments' shards, joined
columns/base.pdq.withdrawn.npy  rows of those columns that are entries no more; likewise for the delta
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashscan.lists.columns import BYTE, HEADER_SIZE, ColumnFiles, column_header, id_dtype
from hashscan.lists.manifest import Manifest, Part
from hashscan.model import ALGORITHMS

COLUMNS = "columns"
"""The folder of joined columns in a version's folder."""
_BASE, _DELTA = "base", "delta"


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one shard's column within a joined column."""

    target: str
    """The shard's target name."""
    start: int
    rows: int
    dtype: np.dtype[Any]
    """In the shard; its ids may be narrower than the joined ones."""


@dataclass(frozen=True, slots=True)
class JoinedColumn:
    """One column of one algorithm, of the base or the delta."""

    file: str
    dtype: np.dtype[Any]
    width: tuple[int, ...]
    """Shape of a row."""
    rows: int
    pieces: tuple[Piece, ...]
    """In the order of their rows, without gaps."""

    @property
    def header(self) -> bytes:
        """How the file begins."""
        return column_header(self.dtype, (self.rows, *self.width))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return HEADER_SIZE + self.rows * self._row_size

    @property
    def _row_size(self) -> int:
        return self.dtype.itemsize * math.prod(self.width)

    def shard_size(self, piece: Piece) -> int:
        """Bytes of a shard's file."""
        return HEADER_SIZE + piece.rows * piece.dtype.itemsize * math.prod(self.width)

    def shard(self, descriptor: int, piece: Piece) -> bytes:
        """A shard as it was published, made again from the joined file; other bytes where that isn't whole.

        Raises:
            OSError: the file can't be read.
        """
        data = os.pread(descriptor, piece.rows * self._row_size, HEADER_SIZE + piece.start * self._row_size)
        if piece.dtype != self.dtype and len(data) % self._row_size == 0:
            rows = np.frombuffer(data, self.dtype)
            narrow = rows.astype(piece.dtype)
            # What lies in the padding must not go unnoticed.
            data = narrow.tobytes() if (narrow == rows).all() else b""
        return column_header(piece.dtype, (piece.rows, *self.width)) + data

    def place(self, descriptor: int, piece: Piece, shard: bytes) -> None:
        """Write a shard's rows where they belong.

        Raises:
            OSError: they can't be written.
        """
        data = memoryview(shard)[HEADER_SIZE:]
        if piece.dtype != self.dtype:
            data = memoryview(np.frombuffer(data, piece.dtype).astype(self.dtype).tobytes())
        offset = HEADER_SIZE + piece.start * self._row_size
        while data:
            written = os.pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written

    def content(self, signed_hash: Callable[[str], str]) -> str:
        """Tells these rows from all others: a hash over the signed hashes of their shards.

        Args:
            signed_hash: gives it for a target's name.
        """
        pieces = "".join(f"{piece.rows} {signed_hash(piece.target)}\n" for piece in self.pieces)
        return hashlib.sha256(f"{self.dtype.str} {pieces}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class JoinedColumns:
    """All columns of one algorithm, of the base or the delta."""

    place: str
    """How the names of their files begin: base or delta, and the algorithm."""
    algorithm: str
    rows: int
    id_size: int
    ids: JoinedColumn
    category: JoinedColumn
    value: JoinedColumn

    @property
    def in_base(self) -> bool:
        """True for the base, False for the delta."""
        return self.place.startswith(f"{_BASE}.")

    @property
    def withdrawn(self) -> str:
        """File of the rows that are withdrawn."""
        return f"{self.place}.withdrawn.npy"

    def files(self, withdrawn_rows: int, content: str) -> ColumnFiles:
        """The names of the files, for whoever opens them."""
        return ColumnFiles(
            self.algorithm,
            self.rows,
            self.id_size,
            self.ids.file,
            self.category.file,
            self.value.file,
            self.withdrawn if withdrawn_rows else None,
            withdrawn_rows,
            content,
        )

    def __iter__(self) -> Iterator[JoinedColumn]:
        return iter((self.ids, self.category, self.value))


def joined_columns(manifest: Manifest) -> tuple[JoinedColumns, ...]:
    """The columns that a stored version of a list has: the base's by algorithm, then the delta's."""
    made = []
    for kind, parts in ((_BASE, manifest.parts[:1]), (_DELTA, manifest.parts[1:])):
        algorithms = sorted({columns.algorithm for part in parts for columns in part.columns})
        made += [_joined(f"{kind}.{algorithm}", algorithm, parts) for algorithm in algorithms]
    return tuple(made)


def _joined(place: str, algorithm: str, parts: tuple[Part, ...]) -> JoinedColumns:
    every = [columns for part in parts for columns in part.columns if columns.algorithm == algorithm]
    rows, id_size = sum(columns.entries for columns in every), max(columns.id_size for columns in every)
    ids, category, value = [], [], []
    start = 0
    for columns in every:
        for shard in columns.shards:
            ids.append(Piece(shard.ids, start, shard.entries, id_dtype(columns.id_size)))
            category.append(Piece(shard.category, start, shard.entries, BYTE))
            value.append(Piece(shard.value, start, shard.entries, BYTE))
            start += shard.entries
    size = (ALGORITHMS[algorithm].size,)
    return JoinedColumns(
        place,
        algorithm,
        rows,
        id_size,
        JoinedColumn(f"{place}.ids.npy", id_dtype(id_size), (), rows, tuple(ids)),
        JoinedColumn(f"{place}.category.npy", BYTE, (), rows, tuple(category)),
        JoinedColumn(f"{place}.value.npy", BYTE, size, rows, tuple(value)),
    )
