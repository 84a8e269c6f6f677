"""The columns of a list as it is published: rows in shards, and the rows that later parts withdraw.

Each row is spread over three files of its shard: ids, category and value. All shards of a part and an
algorithm have the same number of rows, except that the last may have fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.storage.atomic_files import PRIVATE_FILE
from hashscan.lists.storage.column_writer import GrowingColumn
from hashscan.lists.storage.columns import (
    BYTE,
    ColumnBlock,
    ColumnError,
    ColumnFiles,
    id_dtype,
    map_column,
    read_blocks,
    without,
)
from hashscan.lists.storage.manifest import Manifest, Part, PartColumns, Shard, Withdrawal
from hashscan.model import ALGORITHMS

FILE_DTYPE = np.dtype("<u4")
"""Type of the row numbers in a published file of withdrawals."""


def withdrawn_by_algorithm(manifest: Manifest, place: Callable[[str], Path]) -> dict[str, NDArray[np.int64]]:
    """Return all withdrawn rows by algorithm, ascending, for algorithms that have some.

    Rows are counted through all parts.

    Args:
        manifest: names the files.
        place: returns the path of a target by its name.

    Raises:
        ColumnError: a file is not as the manifest describes it, or contradicts those before it.
        OSError: a file can't be opened.
    """
    gone: dict[str, NDArray[np.int64]] = {}
    for number, part in enumerate(manifest.parts):
        before = manifest.rows(slice(number)) if part.withdrawn else {}
        for withdrawal in part.withdrawn:
            rows = map_column(place(withdrawal.file), FILE_DTYPE, (withdrawal.rows,)).astype(np.int64)
            if (rows[1:] <= rows[:-1]).any() or rows[-1] >= before[withdrawal.algorithm]:
                raise ColumnError(f"{withdrawal.file} does not name earlier rows in ascending order")
            earlier = gone.get(withdrawal.algorithm)
            if earlier is not None:
                rows = np.concatenate((earlier, rows))
                rows.sort(kind="stable")
                if (rows[1:] == rows[:-1]).any():
                    raise ColumnError(f"{withdrawal.file} withdraws a row again")
            gone[withdrawal.algorithm] = rows
    return gone


def between(rows: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    """Return the values of the ascending `rows` from `start` up to but not including `end`, minus `start`."""
    first, last = np.searchsorted(rows, (start, end))
    return rows[first:last] - start


SHARD_SIZE = 8_000_000
"""Size of a full shard in bytes, its three files together."""
SHARD_MAX = 16_000_000
"""Largest size of one file of a shard in bytes; larger files are refused unread."""


def write_part(
    folder: Path, version: int, columns: Mapping[str, Iterable[ColumnBlock]], mode: int = PRIVATE_FILE
) -> Part:
    """Write and sync the rows that a release adds, in memory that doesn't grow with their number.

    Args:
        folder: contains no shards of that version yet.
        version: version of the list, which the part gets too.
        columns: blocks of each algorithm, of any length; iterated twice, so an iterator is not accepted. An
            algorithm without rows is left out.
        mode: permissions of the files.

    Raises:
        OSError: the files can't be written.
    """
    written = []
    for algorithm, blocks in sorted(columns.items()):
        if iter(blocks) is blocks:
            raise ValueError(f"the blocks of {algorithm} can be gone through only once")
        id_size = max((int(np.strings.str_len(ids).max(initial=0)) for ids, _, _ in blocks), default=0)
        if id_size:
            writer = _ShardWriter(folder, version, algorithm, id_size, mode)
            written.append(PartColumns(algorithm, id_size, tuple(writer.write(blocks))))
    return Part(version, tuple(written))


def write_withdrawal(
    folder: Path, version: int, algorithm: str, rows: NDArray[np.int64], mode: int = PRIVATE_FILE
) -> Withdrawal:
    """Write and sync the rows that a release withdraws.

    Args:
        folder: contains no such file yet.
        version: version of the list.
        algorithm: algorithm of the rows.
        rows: ascending, at least one, counted through all parts before this one.
        mode: permissions of the file.

    Raises:
        OSError: the file can't be written.
    """
    if not rows.size or (rows[1:] <= rows[:-1]).any():
        raise ValueError("rows are withdrawn in ascending order, at least one")
    name = f"{version}.{algorithm}.withdrawn.npy"
    column = GrowingColumn(folder / name, FILE_DTYPE, (), mode)
    try:
        column.append(rows.astype(FILE_DTYPE))
        column.finish()
    finally:
        column.close()
    return Withdrawal(algorithm, len(rows), name)


def read_part(folder: Path, columns: PartColumns, names: Mapping[str, str]) -> Iterator[ColumnBlock]:
    """Yield the rows of one algorithm in a part, in blocks, including withdrawn rows.

    Args:
        folder: contains the files.
        columns: the part's columns.
        names: maps target names to file names.

    Raises:
        ColumnError: a file is not as the manifest describes it.
        OSError: a file can't be read.
    """
    size = ALGORITHMS[columns.algorithm].size
    for shard in columns.shards:
        ids, category, value = (folder / names[target] for target in shard.names)
        rows = (shard.entries,)
        yield from zip(
            read_blocks(ids, id_dtype(columns.id_size), rows),
            read_blocks(category, BYTE, rows),
            read_blocks(value, BYTE, (*rows, size)),
            strict=True,
        )


@dataclass(frozen=True, slots=True)
class PublishedRows:
    """All rows of one algorithm in a folder of shards, in blocks; can be iterated more than once.

    Iterating raises:
        ColumnError: a file is not as the manifest describes it.
        OSError: a file can't be read.
    """

    folder: Path
    manifest: Manifest
    names: Mapping[str, str]
    """File name of each target."""
    algorithm: str
    withdrawn: NDArray[np.int64] | None = None
    """Rows to leave out, ascending."""

    def __iter__(self) -> Iterator[ColumnBlock]:
        blocks = (
            block
            for part in self.manifest.parts
            for columns in part.columns
            if columns.algorithm == self.algorithm
            for block in read_part(self.folder, columns, self.names)
        )
        return blocks if self.withdrawn is None else without(blocks, self.withdrawn)


@dataclass(frozen=True, slots=True)
class ChainedBlocks:
    """Blocks of several sources in sequence; can be iterated more than once if the sources can."""

    sources: tuple[Iterable[ColumnBlock], ...]

    def __iter__(self) -> Iterator[ColumnBlock]:
        return (block for source in self.sources for block in source)


@dataclass(frozen=True, slots=True)
class RenumberedBlocks:
    """Blocks with renumbered categories; can be iterated more than once if the blocks can."""

    blocks: Iterable[ColumnBlock]
    theirs: tuple[str, ...]
    """The meaning of the numbers in the blocks."""
    ours: tuple[str, ...]
    """The meaning of the new numbers; contains every category of the blocks."""

    def __iter__(self) -> Iterator[ColumnBlock]:
        numbers = np.array([self.ours.index(category) for category in self.theirs], dtype=np.uint8)
        for ids, category, value in self.blocks:
            yield ids, numbers[category], value


def unsharded(columns: PartColumns, names: Callable[[str], str], content: str = "") -> ColumnFiles | None:
    """Return the files of a part's algorithm as columns to open; None if it has more than one shard.

    Args:
        columns: the part's columns.
        names: returns the file name of a target.
        content: see `ColumnFiles`.
    """
    if len(columns.shards) != 1:
        return None
    ids, category, value = (names(target) for target in columns.shards[0].names)
    return ColumnFiles(
        columns.algorithm, columns.entries, columns.id_size, ids, category, value, content=content
    )


class _ShardWriter:
    """A writer that cuts the blocks of one algorithm into shards."""

    def __init__(self, folder: Path, version: int, algorithm: str, id_size: int, mode: int) -> None:
        self._folder = folder
        self._stem = f"{version}.{algorithm}"
        self._mode = mode
        size = ALGORITHMS[algorithm].size
        self._shapes: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...] = (
            ("ids", id_dtype(id_size), ()),
            ("category", BYTE, ()),
            ("value", BYTE, (size,)),
        )
        self._full = max(SHARD_SIZE // (id_size + 1 + size), 1)

    def write(self, blocks: Iterable[ColumnBlock]) -> Iterator[Shard]:
        waiting = iter(blocks)
        left: ColumnBlock | None = None
        number = 0
        while left is not None or (left := next(waiting, None)) is not None:
            with ExitStack() as stack:
                files = [
                    GrowingColumn(
                        self._folder / f"{self._stem}.{number:04d}.{name}.npy", dtype, width, self._mode
                    )
                    for name, dtype, width in self._shapes
                ]
                for file in files:
                    stack.callback(file.close)
                rows = 0
                while left is not None and rows < self._full:
                    take = min(self._full - rows, len(left[1]))
                    for file, array, (_, dtype, _) in zip(files, left, self._shapes, strict=True):
                        file.append(array[:take].astype(dtype, copy=False))
                    rows += take
                    left = (
                        (left[0][take:], left[1][take:], left[2][take:])
                        if take < len(left[1])
                        else next(waiting, None)
                    )
                for file in files:
                    file.finish()
            yield Shard(rows, *(file.path.name for file in files))
            number += 1
