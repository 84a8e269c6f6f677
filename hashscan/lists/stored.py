"""Helpers for the columns of a stored version: their handle, counts of entries, and withdrawn rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import BYTE, ColumnFiles, ListHandle, read_blocks, withdrawn_rows
from hashscan.lists.joined import COLUMNS, JoinedColumn, JoinedColumns, joined_columns
from hashscan.lists.manifest import Manifest
from hashscan.lists.record import EntryCounts
from hashscan.lists.rows import count_categories
from hashscan.lists.withdrawals import between


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
