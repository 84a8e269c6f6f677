"""Computes the withdrawn rows of a list from the withdrawals that its parts declare for earlier parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import ColumnError, map_column
from hashscan.lists.manifest import Manifest

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
