"""Finds the entry that has an id, in lists of any size.

The columns of ids are read block by block, not mapped, so that memory doesn't grow with a list.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hashscan.lists.columns import BLOCK, ColumnFiles, ListHandle, open_columns
from hashscan.model import Entry


def find_entry(handle: ListHandle, entry_id: str) -> Entry | None:
    """The entry of a verified list that has the id, or None.

    Raises:
        ColumnError: a file is not what its handle says.
        OSError: a file can't be read.
    """
    if not entry_id.isascii():
        return None
    wanted = entry_id.encode("ascii")
    for files in handle.columns:
        for row in _rows(handle, files, wanted):
            columns = open_columns(handle.folder, files)
            category = handle.categories[columns.category[row]]
            return Entry(entry_id, files.algorithm, bytes(columns.value[row]), category)
    return None


def _rows(handle: ListHandle, files: ColumnFiles, wanted: bytes) -> Iterator[int]:
    """The rows that have the id."""
    ids = open_columns(handle.folder, files).ids
    kind, size = ids.dtype, ids.nbytes
    if not 0 < len(wanted) <= kind.itemsize:
        # Numpy would cut it short, and find another.
        return
    target = np.bytes_(wanted)
    with (handle.folder / files.ids).open("rb") as file:
        file.seek(-size, 2)
        for start in range(0, files.entries, BLOCK):
            block = np.frombuffer(file.read(BLOCK * kind.itemsize), dtype=kind)
            yield from (start + np.flatnonzero(block == target)).tolist()
