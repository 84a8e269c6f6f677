"""Checks the rows of a list's columns: ids are printable, category numbers are valid and counted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import ColumnError


def check_ids(blocks: Iterable[NDArray[np.bytes_]], name: str) -> None:
    """Check that ids are printable ASCII, with padding only at the end.

    Args:
        blocks: blocks of ids, in order.
        name: name of the ids for errors.

    Raises:
        ColumnError: an id is not printable ASCII.
    """
    start = 0
    for ids in blocks:
        letters = ids.view(np.uint8)
        if (
            not ids.all()
            or (letters[letters != 0] - 0x20 > 0x7E - 0x20).any()
            or np.count_nonzero(letters) != np.strings.str_len(ids).sum()
        ):
            raise ColumnError(
                f"an id between rows {start} and {start + len(ids)} of {name} is not printable ASCII"
            )
        start += len(ids)


def count_categories(
    blocks: Iterable[NDArray[np.uint8]], categories: tuple[str, ...], withdrawn: NDArray[np.int64]
) -> dict[str, int]:
    """Count the active entries of each category that has some.

    Args:
        blocks: category numbers, in order.
        categories: the meaning of the numbers.
        withdrawn: withdrawn rows, ascending; their category numbers must be valid too.

    Raises:
        ColumnError: a number has no meaning.
    """
    total = np.zeros(len(categories), dtype=np.int64)
    start = 0
    for numbers in blocks:
        every = np.bincount(numbers, minlength=len(categories))
        if len(every) > len(categories):
            raise ColumnError(f"category number {len(every) - 1} has no meaning")
        end = start + len(numbers)
        first, last = np.searchsorted(withdrawn, (start, end))
        gone = numbers[withdrawn[first:last] - start]
        total += every - np.bincount(gone, minlength=len(categories))
        start = end
    return {name: count for name, count in zip(categories, total.tolist(), strict=True) if count}
