"""Whether the rows of a list's columns have a meaning, and how many entries of each category they make."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.columns import ColumnError


def check_ids(blocks: Iterable[NDArray[np.bytes_]], name: str) -> None:
    """Make sure that ids are made of printable ASCII, with padding only at the end.

    Args:
        blocks: in order.
        name: what to call them in an error.

    Raises:
        ColumnError: an id isn't.
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
    """Active entries of each category that has some.

    Args:
        blocks: category numbers, in order.
        categories: what the numbers mean.
        withdrawn: rows that are entries no more, ascending; their numbers must have a meaning all the same.

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
