"""The columns of a list as it is published: rows in shards, and the rows that later parts withdraw.

Each row is spread over three files of its shard: ids, category and value. All shards of a part and an
algorithm have the same number of rows, except that the last may have fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import PRIVATE_FILE
from hashscan.lists.storage.column_writer import GrowingColumn, write_rows
from hashscan.lists.storage.columns import (
    BYTE,
    ColumnBlock,
    ColumnFiles,
    id_dtype,
    read_rows,
    without,
)
from hashscan.lists.storage.manifest import Manifest, Part, PartColumns, Shard, Withdrawal
from hashscan.lists.storage.stored_version import FILE_DTYPE
from hashscan.model import ALGORITHMS

SHARD_SIZE = 8_000_000
"""Size of a full shard in bytes, its three files together."""
SHARD_MAX = 16_000_000
"""Largest size of one file of a shard in bytes; larger files are refused unread."""


def write_part(
    folder: Path, version: int, columns: Mapping[str, Iterable[ColumnBlock]], mode: int = PRIVATE_FILE
) -> Part:
    """Write and sync the rows that a release adds, in memory that doesn't grow with their number, into a
    folder without shards of that version. The blocks have any length and are iterated twice, so an iterator
    is not accepted; an algorithm without rows is left out."""
    written = {}
    for algorithm, blocks in sorted(columns.items()):
        if iter(blocks) is blocks:
            raise ValueError(f"the blocks of {algorithm} can be gone through only once")
        id_size = max((int(np.strings.str_len(ids).max(initial=0)) for ids, _, _ in blocks), default=0)
        if id_size:
            shards = _write_shards(folder, version, algorithm, id_size, blocks, mode)
            written[algorithm] = PartColumns(id_size, tuple(shards))
    return Part(version, written, {})


def write_withdrawal(
    folder: Path, version: int, algorithm: str, rows: NDArray[np.int64], mode: int = PRIVATE_FILE
) -> Withdrawal:
    """Write and sync the rows that a release withdraws: ascending, at least one, counted through all parts
    before this one."""
    if not rows.size or (rows[1:] <= rows[:-1]).any():
        raise ValueError("rows are withdrawn in ascending order, at least one")
    name = f"{version}.{algorithm}.withdrawn.npy"
    write_rows(folder / name, rows, FILE_DTYPE, mode)
    return Withdrawal(len(rows), name)


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
            if (columns := part.algorithms.get(self.algorithm)) is not None
            for shard in columns.shards
            for block in read_rows(
                self.folder,
                [self.names[target] for target in shard.names],
                self.algorithm,
                columns.id_size,
                shard.entries,
            )
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


def unsharded(
    algorithm: str, columns: PartColumns, names: Callable[[str], str], content: str = ""
) -> ColumnFiles | None:
    """Return the files of a part's algorithm as columns to open; None if it has more than one shard. `names`
    returns the file name of a target."""
    if len(columns.shards) != 1:
        return None
    ids, category, value = (names(target) for target in columns.shards[0].names)
    return ColumnFiles(algorithm, columns.entries, columns.id_size, ids, category, value, content=content)


def _write_shards(
    folder: Path, version: int, algorithm: str, id_size: int, blocks: Iterable[ColumnBlock], mode: int
) -> Iterator[Shard]:
    """Cut the blocks of one algorithm into shards, and write and sync these."""
    size = ALGORITHMS[algorithm].size
    full = max(SHARD_SIZE // (id_size + 1 + size), 1)
    shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "ids": (id_dtype(id_size), ()),
        "category": (BYTE, ()),
        "value": (BYTE, (size,)),
    }
    # An empty block at the end would become a shard without rows, which is not valid.
    waiting = (block for block in blocks if len(block[1]))
    left = next(waiting, None)
    for number in count():
        if left is None:
            return
        with ExitStack() as stack:
            files = []
            for name, (dtype, width) in shapes.items():
                path = folder / f"{version}.{algorithm}.{number:04d}.{name}.npy"
                files.append(stack.enter_context(closing(GrowingColumn(path, dtype, width, mode))))
            while left is not None and files[0].rows < full:
                take = full - files[0].rows
                for file, array in zip(files, left, strict=True):
                    file.append(array[:take])
                left = left[0][take:], left[1][take:], left[2][take:]
                if not len(left[1]):
                    left = next(waiting, None)
            for file in files:
                file.finish()
        yield Shard(files[0].rows, *(file.path.name for file in files))
