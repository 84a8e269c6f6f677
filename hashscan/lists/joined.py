"""The layout of joined columns: where the rows of each signed shard are in the files of a stored version.

A stored version has at most two sets of columns for each algorithm: the rows of the base, and the delta,
which is the rows of all increments one after another. A joined column replaces its shards completely: each
shard can be made again from its rows, byte for byte, since its header is known.

columns/base.pdq.ids.npy        and category, value: the base's shards of an algorithm, joined
columns/delta.pdq.ids.npy       and category, value: the increments' shards, joined
columns/base.pdq.withdrawn.npy  withdrawn rows of those columns; likewise for the delta
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
"""Folder of the joined columns in a version's folder."""
_BASE, _DELTA = "base", "delta"


@dataclass(frozen=True, slots=True)
class ShardRows:
    """The rows of one shard's column within a joined column."""

    target: str
    """The shard's target name."""
    start: int
    rows: int
    dtype: np.dtype[Any]
    """Type in the shard; its ids may be narrower than the joined ones."""


@dataclass(frozen=True, slots=True)
class JoinedColumn:
    """One column of one algorithm, of the base or the delta."""

    file: str
    dtype: np.dtype[Any]
    width: tuple[int, ...]
    """Shape of a row."""
    rows: int
    pieces: tuple[ShardRows, ...]
    """Pieces in the order of their rows, without gaps."""

    @property
    def header(self) -> bytes:
        """Header of the file."""
        return column_header(self.dtype, (self.rows, *self.width))

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return HEADER_SIZE + self.rows * self._row_size

    @property
    def _row_size(self) -> int:
        return self.dtype.itemsize * math.prod(self.width)

    def shard_size(self, piece: ShardRows) -> int:
        """Return the size of a shard's file in bytes."""
        return HEADER_SIZE + piece.rows * piece.dtype.itemsize * math.prod(self.width)

    def shard(self, descriptor: int, piece: ShardRows) -> bytes:
        """Return a shard as it was published, made again from the joined file.

        If the joined file is damaged, the bytes differ from the published ones.

        Raises:
            OSError: the file can't be read.
        """
        data = os.pread(descriptor, piece.rows * self._row_size, HEADER_SIZE + piece.start * self._row_size)
        if piece.dtype != self.dtype and len(data) % self._row_size == 0:
            rows = np.frombuffer(data, self.dtype)
            narrow = rows.astype(piece.dtype)
            # Damage in the padding must not go unnoticed.
            data = narrow.tobytes() if (narrow == rows).all() else b""
        return column_header(piece.dtype, (piece.rows, *self.width)) + data

    def place(self, descriptor: int, piece: ShardRows, shard: bytes) -> None:
        """Write a shard's rows to their position in the joined file.

        Raises:
            OSError: the rows can't be written.
        """
        data = memoryview(shard)[HEADER_SIZE:]
        if piece.dtype != self.dtype:
            data = memoryview(np.frombuffer(data, piece.dtype).astype(self.dtype).tobytes())
        offset = HEADER_SIZE + piece.start * self._row_size
        while data:
            written = os.pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written

    def content(self, signed_hash: Callable[[str], str]) -> str:
        """Return a fingerprint of these rows: a hash of the signed hashes of their shards.

        Args:
            signed_hash: returns the signed hash of a target by its name.
        """
        pieces = "".join(f"{piece.rows} {signed_hash(piece.target)}\n" for piece in self.pieces)
        return hashlib.sha256(f"{self.dtype.str} {pieces}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class JoinedColumns:
    """All columns of one algorithm, of the base or the delta."""

    place: str
    """Prefix of the file names: base or delta, and the algorithm."""
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
        """Name of the file of withdrawn rows."""
        return f"{self.place}.withdrawn.npy"

    def files(self, withdrawn_rows: int, content: str) -> ColumnFiles:
        """Return the names of the files, for opening them."""
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
    """Return the columns of a stored version: those of the base by algorithm, then those of the delta."""
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
            ids.append(ShardRows(shard.ids, start, shard.entries, id_dtype(columns.id_size)))
            category.append(ShardRows(shard.category, start, shard.entries, BYTE))
            value.append(ShardRows(shard.value, start, shard.entries, BYTE))
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
