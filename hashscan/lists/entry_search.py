"""Finds entries by id in lists of any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

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
    """Return the active entry of a verified list with this id, or None.

    Raises:
        ColumnError: a file is not as its handle describes it.
        OSError: a file can't be read.
    """
    return next(entries_with(handle, (entry_id,)), None)


def entries_with(handle: ListHandle, entry_ids: Iterable[str]) -> Iterator[Entry]:
    """Yield the active entries of a verified list that have any of the ids.

    Iterating raises:
        ColumnError: a file is not as its handle describes it.
        OSError: a file can't be read.
    """
    wanted = sorted({entry_id.encode("ascii") for entry_id in entry_ids if entry_id.isascii()})
    for files in handle.columns:
        some = [raw for raw in wanted if 0 < len(raw) <= files.id_size]
        if not some:
            continue
        columns = open_columns(handle.folder, files)
        for row in _rows(handle, files, np.array(some, dtype=id_dtype(files.id_size))):
            category = handle.categories[columns.category[row]]
            entry_id = bytes(columns.ids[row]).decode("ascii")
            yield Entry(entry_id, files.algorithm, bytes(columns.value[row]), category)


def _rows(handle: ListHandle, files: ColumnFiles, wanted: NDArray[np.bytes_]) -> Iterator[int]:
    """Yield the rows that have one of the sorted ids `wanted` and are not withdrawn."""
    withdrawn = withdrawn_rows(handle.folder, files)
    start = 0
    for ids in read_blocks(handle.folder / files.ids, id_dtype(files.id_size), (files.entries,)):
        at = np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)
        found = start + np.flatnonzero(wanted[at] == ids)
        yield from np.setdiff1d(found, withdrawn, assume_unique=True).tolist()
        start += len(ids)
