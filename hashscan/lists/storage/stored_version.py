"""The files of a stored version: joined columns, withdrawn rows, and the record of checksums and counts.

A stored version has at most two sets of columns for each algorithm: the rows of the base, and the delta,
which is the rows of all increments one after another. A joined column replaces its shards completely: each
shard can be made again from its rows, byte for byte, since its header is known.

columns/base.pdq.ids.npy        and category, value: the base's shards of an algorithm, joined
columns/delta.pdq.ids.npy       and category, value: the increments' shards, joined
columns/base.pdq.withdrawn.npy  withdrawn rows of those columns; likewise for the delta
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from msgspec import Struct, structs
from numpy.typing import NDArray

from hashscan.atomic_files import replace_file
from hashscan.lists.storage.columns import (
    BYTE,
    HEADER_SIZE,
    ActiveRows,
    ColumnError,
    ColumnFiles,
    column_header,
    count_categories,
    id_dtype,
    map_column,
    read_blocks,
    withdrawn_rows,
)
from hashscan.lists.storage.degenerate import are_degenerate
from hashscan.lists.storage.manifest import Manifest, Part
from hashscan.model import ALGORITHMS, CATEGORIES, ListInfo
from hashscan.schema import InvalidDocumentError, decode_file, encode_file

RECORD_NAME = "checksums.json"
_CHUNK = 1 << 20


class VerificationLevel(Enum):
    """The thoroughness of comparing a stored list's contents; signatures and manifest are always verified."""

    SIZES = "sizes"
    """Lengths and headers: for a single lookup."""
    CHECKSUMS = "checksums"
    """The recorded checksums: against decay, before a scan."""
    SIGNED = "signed"
    """The signed hashes and the meaning of every row: when a version is activated, and on request."""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """The record of one file of a version."""

    sum: str
    """xxh3_128 of the file."""
    content: str = ""
    """For a joined column, a fingerprint of its rows: see `content_of`."""


class EntryCounts(Struct, frozen=True):
    """Numbers of active entries."""

    by_category: dict[str, dict[str, int]]
    """By algorithm and category; categories without entries are left out."""
    degenerate: dict[str, int] = {}
    """By algorithm, those that are not matched by similarity; algorithms without any are left out."""


class VersionRecord(Struct, frozen=True, omit_defaults=True):
    """The files and counts of a version, as recorded on activation."""

    files: dict[str, RecordedFile]
    counts: dict[str, dict[str, int]]
    degenerate: dict[str, int] = {}

    @classmethod
    def of(cls, files: dict[str, RecordedFile], counts: EntryCounts) -> VersionRecord:
        """Return the record of a version with these counts."""
        return cls(files, counts.by_category, counts.degenerate)

    @property
    def entry_counts(self) -> EntryCounts:
        """The numbers of its entries."""
        return EntryCounts(self.counts, self.degenerate)

    def check(self, name: str, path: Path) -> None:
        """Compare a file with its recorded checksum."""
        recorded = self.files.get(name)
        if recorded is None or recorded.sum != checksum(path):
            raise ColumnError(f"{name} has changed")


def write_record(folder: Path, record: VersionRecord) -> None:
    """Write the record of a version into its folder."""
    replace_file(folder / RECORD_NAME, encode_file(record))


def read_record(folder: Path) -> VersionRecord:
    """Read the record of a version."""
    try:
        return decode_file((folder / RECORD_NAME).read_bytes(), VersionRecord)
    except InvalidDocumentError as error:
        raise ColumnError(f"{RECORD_NAME} is no record that this program can read: {error}") from error


def with_counts(info: ListInfo, manifest: Manifest, counts: EntryCounts) -> ListInfo:
    """Return a list's info with the counts, sorted by algorithm and category, and the categories in use."""
    by_category = counts.by_category
    used = frozenset[str]().union(*by_category.values())
    return structs.replace(
        info,
        categories=tuple(category for category in manifest.categories if category in used),
        counts=tuple(
            (algorithm, category, by_category[algorithm][category])
            for algorithm in sorted(by_category)
            for category in CATEGORIES
            if by_category[algorithm].get(category)
        ),
        degenerate=tuple(sorted(counts.degenerate.items())),
    )


def checksum(path: Path) -> str:
    """Return the xxh3_128 of a file, which guards against decay, not against attackers."""
    running = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            running.update(chunk)
    return str(running.hexdigest())


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
        """Return a shard as it was published, made again from the joined file; if that is damaged, the bytes
        differ from the published ones."""
        data = os.pread(descriptor, piece.rows * self._row_size, HEADER_SIZE + piece.start * self._row_size)
        if piece.dtype != self.dtype and len(data) % self._row_size == 0:
            rows = np.frombuffer(data, self.dtype)
            narrow = rows.astype(piece.dtype)
            # Damage in the padding must not go unnoticed.
            data = narrow.tobytes() if (narrow == rows).all() else b""
        return column_header(piece.dtype, (piece.rows, *self.width)) + data

    def place(self, descriptor: int, piece: ShardRows, shard: bytes) -> None:
        """Write a shard's rows to their position in the joined file."""
        data = memoryview(shard)[HEADER_SIZE:]
        if piece.dtype != self.dtype:
            data = memoryview(np.frombuffer(data, piece.dtype).astype(self.dtype).tobytes())
        offset = HEADER_SIZE + piece.start * self._row_size
        while data:
            written = os.pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written


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
        algorithms = sorted({algorithm for part in parts for algorithm in part.algorithms})
        made += [_joined(f"{kind}.{algorithm}", algorithm, parts) for algorithm in algorithms]
    return tuple(made)


def _joined(place: str, algorithm: str, parts: tuple[Part, ...]) -> JoinedColumns:
    every = [part.algorithms[algorithm] for part in parts if algorithm in part.algorithms]
    rows, id_size = sum(columns.entries for columns in every), max(columns.id_size for columns in every)
    shards = [(shard, id_dtype(columns.id_size)) for columns in every for shard in columns.shards]
    starts = list(accumulate((shard.entries for shard, _ in shards), initial=0))

    def column(name: str, dtype: np.dtype[Any], width: tuple[int, ...] = ()) -> JoinedColumn:
        pieces = (
            ShardRows(getattr(shard, name), start, shard.entries, ids if name == "ids" else BYTE)
            for (shard, ids), start in zip(shards, starts, strict=False)
        )
        return JoinedColumn(f"{place}.{name}.npy", dtype, width, rows, tuple(pieces))

    value = column("value", BYTE, (ALGORITHMS[algorithm].size,))
    ids, category = column("ids", id_dtype(id_size)), column("category", BYTE)
    return JoinedColumns(place, algorithm, rows, id_size, ids, category, value)


def count_entries(folder: Path, every: tuple[ColumnFiles, ...], categories: tuple[str, ...]) -> EntryCounts:
    """Count the active entries by algorithm and category, and the degenerate ones."""
    counts: dict[str, dict[str, int]] = {}
    degenerate = Counter[str]()
    for files in every:
        of_algorithm = counts.setdefault(files.algorithm, {})
        blocks = read_blocks(folder / files.category, BYTE, (files.entries,))
        for category, count in count_categories(blocks, categories, withdrawn_rows(folder, files)).items():
            of_algorithm[category] = of_algorithm.get(category, 0) + count
        if ALGORITHMS[files.algorithm].metric != "exact":
            for _, _, values in ActiveRows(folder, files):
                degenerate[files.algorithm] += int(are_degenerate(files.algorithm, values).sum())
    return EntryCounts(counts, dict(+degenerate))


FILE_DTYPE = np.dtype("<u4")
"""Type of the row numbers in a published file of withdrawals."""


def withdrawn_by_algorithm(manifest: Manifest, place: Callable[[str], Path]) -> dict[str, NDArray[np.int64]]:
    """Return all withdrawn rows, ascending and counted through all parts, by algorithm. `place` returns the
    path of a target by its name."""
    gone: dict[str, NDArray[np.int64]] = {}
    for number, part in enumerate(manifest.parts):
        before = manifest.rows(slice(number)) if part.withdrawn else {}
        for algorithm, withdrawal in part.withdrawn.items():
            rows = map_column(place(withdrawal.file), FILE_DTYPE, (withdrawal.rows,)).astype(np.int64)
            if (rows[1:] <= rows[:-1]).any() or rows[-1] >= before[algorithm]:
                raise ColumnError(f"{withdrawal.file} does not name earlier rows in ascending order")
            earlier = gone.get(algorithm)
            if earlier is not None:
                rows = np.concatenate((earlier, rows))
                rows.sort(kind="stable")
                if (rows[1:] == rows[:-1]).any():
                    raise ColumnError(f"{withdrawal.file} withdraws a row again")
            gone[algorithm] = rows
    return gone


def between(rows: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    """Return the values of the ascending `rows` from `start` up to but not including `end`, minus `start`."""
    first, last = np.searchsorted(rows, (start, end))
    return rows[first:last] - start


def withdrawn_of(
    columns: JoinedColumns, manifest: Manifest, gone: dict[str, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Return the withdrawn rows of some joined columns, numbered from their first row.

    `gone` holds the withdrawn rows of all parts by algorithm.
    """
    rows = gone.get(columns.algorithm)
    if rows is None:
        return np.zeros(0, dtype=np.int64)
    base = manifest.rows(slice(1))[columns.algorithm]
    return between(rows, 0, base) if columns.in_base else between(rows, base, base + columns.rows)
