"""Finds the entry that has an id, in lists of any size and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hashscan.lists.columns import (
    ColumnFiles,
    ListHandle,
    id_dtype,
    open_columns,
    read_blocks,
    withdrawn_rows,
)
from hashscan.model import Entry


def find_entry(handle: ListHandle, entry_id: str) -> Entry | None:
    """The active entry of a verified list that has the id, or None.

    Raises:
        ColumnError: a file is not what its handle says.
        OSError: a file can't be read.
    """
    if not entry_id.isascii():
        return None
    for files in handle.columns:
        for row in _rows(handle, files, entry_id.encode("ascii")):
            columns = open_columns(handle.folder, files)
            category = handle.categories[columns.category[row]]
            return Entry(entry_id, files.algorithm, bytes(columns.value[row]), category)
    return None


def _rows(handle: ListHandle, files: ColumnFiles, wanted: bytes) -> Iterator[int]:
    """The rows that have the id and are not withdrawn."""
    if not 0 < len(wanted) <= files.id_size:
        return
    target = np.bytes_(wanted)
    withdrawn = withdrawn_rows(handle.folder, files)
    start = 0
    for ids in read_blocks(handle.folder / files.ids, id_dtype(files.id_size), (files.entries,)):
        found = start + np.flatnonzero(ids == target)
        yield from np.setdiff1d(found, withdrawn, assume_unique=True).tolist()
        start += len(ids)
