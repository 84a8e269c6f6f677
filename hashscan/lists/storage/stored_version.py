"""The files of a stored version: joined columns, withdrawn rows, and the record of checksums and counts.

A stored version has at most two sets of columns for each algorithm: the rows of the base, and the delta,
which is the rows of all increments one after another. A joined column replaces its shards completely: each
shard can be made again from its rows, byte for byte, since its header is known.

columns/base.pdq.ids.npy        and category, value: the base's shards of an algorithm, joined
columns/delta.pdq.ids.npy       and category, value: the increments' shards, joined
columns/base.pdq.withdrawn.npy  withdrawn rows of those columns; likewise for the delta
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from hashscan.lists.storage.atomic_files import replace_file
from hashscan.lists.storage.columns import (
    BYTE,
    HEADER_SIZE,
    ColumnError,
    ColumnFiles,
    ListHandle,
    column_header,
    count_categories,
    id_dtype,
    read_blocks,
    withdrawn_rows,
)
from hashscan.lists.storage.manifest import Manifest, Part
from hashscan.lists.storage.published_columns import between
from hashscan.model import ALGORITHMS, CATEGORIES

RECORD_NAME = "checksums.json"
_RECORD_SCHEMA = 1
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
    """For a joined column, a fingerprint of its rows: see `JoinedColumn.content`."""


EntryCounts = dict[str, dict[str, int]]
"""Number of active entries by algorithm and category; categories without entries are left out."""


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """The files and counts of a version, as recorded on activation."""

    files: dict[str, RecordedFile]
    """Files by name."""
    counts: EntryCounts

    def check(self, name: str, path: Path) -> None:
        """Compare a file with its recorded checksum.

        Raises:
            ColumnError: the file has changed, or is not recorded.
            OSError: the file can't be read.
        """
        recorded = self.files.get(name)
        if recorded is None or recorded.sum != checksum(path):
            raise ColumnError(f"{name} has changed")


def write_record(folder: Path, record: VersionRecord) -> None:
    """Write the record of a version into its folder.

    Raises:
        OSError: the record can't be written.
    """
    files = {name: {"sum": file.sum, "content": file.content} for name, file in record.files.items()}
    document = {"schema": _RECORD_SCHEMA, "files": files, "counts": record.counts}
    replace_file(folder / RECORD_NAME, json.dumps(document, indent=1).encode("ascii"))


def read_record(folder: Path) -> VersionRecord:
    """Read the record of a version.

    Raises:
        ColumnError: the file is not a valid record.
        OSError: the file can't be read.
    """
    try:
        document = json.loads((folder / RECORD_NAME).read_bytes())
    except ValueError as error:
        raise ColumnError(f"{RECORD_NAME} is not JSON") from error
    if not isinstance(document, dict) or document.get("schema") != _RECORD_SCHEMA:
        raise ColumnError(f"{RECORD_NAME} is no record that this program can read")
    try:
        files = {
            str(name): RecordedFile(str(file["sum"]), str(file["content"]))
            for name, file in document["files"].items()
        }
        counts = {
            str(algorithm): {str(category): int(count) for category, count in of_algorithm.items()}
            for algorithm, of_algorithm in document["counts"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ColumnError(f"{RECORD_NAME} lacks files or counts") from error
    return VersionRecord(files, counts)


def counts_of_info(counts: EntryCounts) -> tuple[tuple[str, str, int], ...]:
    """Return the counts as `ListInfo` holds them: sorted by algorithm, then in the order of `CATEGORIES`."""
    return tuple(
        (algorithm, category, counts[algorithm][category])
        for algorithm in sorted(counts)
        for category in CATEGORIES
        if counts[algorithm].get(category)
    )


def checksum(path: Path) -> str:
    """Return the xxh3_128 of a file, which guards against decay, not against attackers.

    Raises:
        OSError: the file can't be read.
    """
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


def stored_handle(
    name: str,
    folder: Path,
    manifest: Manifest,
    content: Callable[[JoinedColumn], str],
    withdrawn: Callable[[JoinedColumns], int],
) -> ListHandle:
    """Return the handle of a stored version whose columns have just been verified.

    Args:
        name: local name of the list.
        folder: the version's folder.
        manifest: the version's manifest.
        content: returns the fingerprint of a column's rows; see `JoinedColumn.content`.
        withdrawn: returns the number of withdrawn rows of some columns.
    """
    files = tuple(
        columns.files(withdrawn(columns), content(columns.value)) for columns in joined_columns(manifest)
    )
    return ListHandle(name, manifest.version, folder / COLUMNS, manifest.categories, files)


def count_entries(folder: Path, every: tuple[ColumnFiles, ...], categories: tuple[str, ...]) -> EntryCounts:
    """Count the active entries by algorithm and category.

    Raises:
        ColumnError: a category number has no meaning, or a file is not valid.
        OSError: a file can't be read.
    """
    counts: EntryCounts = {}
    for files in every:
        of_algorithm = counts.setdefault(files.algorithm, {})
        blocks = read_blocks(folder / files.category, BYTE, (files.entries,))
        for category, count in count_categories(blocks, categories, withdrawn_rows(folder, files)).items():
            of_algorithm[category] = of_algorithm.get(category, 0) + count
    return counts


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
