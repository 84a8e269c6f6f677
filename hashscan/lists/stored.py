"""What the columns of a stored version hold: the way to them, their entries, and which are withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import BYTE, ColumnFiles, ListHandle, read_blocks, withdrawn_rows
from hashscan.lists.joined import COLUMNS, JoinedColumn, JoinedColumns, joined_columns
from hashscan.lists.manifest import Manifest
from hashscan.lists.record import Counts
from hashscan.lists.rows import count_categories
from hashscan.lists.withdrawals import between


def stored_handle(
    name: str,
    folder: Path,
    manifest: Manifest,
    content: Callable[[JoinedColumn], str],
    withdrawn: Callable[[JoinedColumns], int],
) -> ListHandle:
    """The way to a stored version's columns, which have just been compared.

    Args:
        name: of the list here.
        folder: of the version.
        manifest: of the version.
        content: tells a column's rows from all others; see `JoinedColumn.content`.
        withdrawn: how many rows of some columns are withdrawn.
    """
    files = tuple(
        columns.files(withdrawn(columns), content(columns.value)) for columns in joined_columns(manifest)
    )
    return ListHandle(name, manifest.version, folder / COLUMNS, manifest.categories, files)


def count_entries(folder: Path, every: tuple[ColumnFiles, ...], categories: tuple[str, ...]) -> Counts:
    """Active entries by algorithm and category.

    Raises:
        ColumnError: a category's number has no meaning, or a file is not what it should be.
        OSError: a file can't be read.
    """
    counts: Counts = {}
    for files in every:
        of_algorithm = counts.setdefault(files.algorithm, {})
        blocks = read_blocks(folder / files.category, BYTE, (files.entries,))
        for category, count in count_categories(blocks, categories, withdrawn_rows(folder, files)).items():
            of_algorithm[category] = of_algorithm.get(category, 0) + count
    return counts


def withdrawn_of(
    columns: JoinedColumns, manifest: Manifest, gone: dict[str, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """The withdrawn rows of some joined columns, counted from their first, out of those of all parts."""
    rows = gone.get(columns.algorithm)
    if rows is None:
        return np.zeros(0, dtype=np.int64)
    base = manifest.rows(slice(1))[columns.algorithm]
    return between(rows, 0, base) if columns.in_base else between(rows, base, base + columns.rows)
