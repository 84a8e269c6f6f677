"""PDQ's steps up to the median in the C++ reference's own order of float32 operations.

The reference keeps running sums in float32, so its result depends on the order of its additions. Most
pictures' hashes don't; for the others this module repeats that order exactly. The order is that of
ThreatExchange's `pdq/cpp` built for x86-64, which has no fused multiply-add.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIDE = 64
FREQUENCIES = 16

_BLOCK_ROWS = 1024
_BLOCK_VALUES = 1 << 20
"""Rows are blurred so many at a time, fewer if they are long: it bounds memory to some 50 MB."""


def window_size(length: int) -> int:
    """Length of the box filter's window for a side of this length."""
    return (length + 2 * SIDE - 1) // (2 * SIDE)


def window_reach(window: int) -> tuple[int, int]:
    """How far a window reaches before and after the position it is for."""
    after = (window + 2) // 2 - 1
    return window - 1 - after, after


def kept_positions(length: int) -> list[int]:
    """The 64 positions that are kept of a side of this length."""
    return [int((index + 0.5) * length / SIDE) for index in range(SIDE)]


def dct_matrix() -> Floats:
    """The rows 1 to 16 of the 64-point cosine transform, shape (16, 64)."""
    scale = float(np.float32(math.sqrt(2.0 / SIDE)))
    # math.cos is the C library's, as in the reference; numpy's may differ in the last bit.
    return np.array(
        [
            [scale * math.cos((math.pi / 2 / SIDE) * row * (2 * column + 1)) for column in range(SIDE)]
            for row in range(1, FREQUENCIES + 1)
        ],
        np.float32,
    )


def reduced(luma: NDArray[np.uint8]) -> Floats:
    """The picture blurred and reduced to shape (64, 64), as rounded by the reference.

    It streams through the picture, and holds a window's height and some hundred rows of it as floats.
    """
    height, width = luma.shape
    if (height, width) == (SIDE, SIDE):
        return luma.astype(np.float32)
    rows: Iterator[Floats] = (row.astype(np.float32) for row in luma)
    rows = _blurred(_blurred_across(rows, width, range(width)), height, range(height))
    # Nothing follows the last pass, so it need give only what is kept.
    rows = _blurred(_blurred_across(rows, width, kept_positions(width)), height, kept_positions(height))
    return np.array(list(rows))


def lowest_frequencies(small: Floats) -> Floats:
    """The 16x16 lowest frequencies of a picture of shape (64, 64), summed in the reference's order."""
    matrix = dct_matrix()
    half = np.zeros((FREQUENCIES, SIDE), np.float32)
    for index in range(SIDE):
        half += matrix[:, index, None] * small[index]
    whole = np.zeros((FREQUENCIES, FREQUENCIES), np.float32)
    for index in range(SIDE):
        whole += half[:, index, None] * matrix[:, index]
    return whole


def _blurred(rows: Iterator[Floats], length: int, kept: Sequence[int]) -> Iterator[Floats]:
    """Blur a picture of this many rows downwards, all columns at once; give the rows at these positions.

    For each column this adds and subtracts in the order of the reference's `box1DFloat`. The positions are in
    ascending order, and may repeat.
    """
    before, after = window_reach(window_size(length))
    held = deque([next(rows)])
    total = held[0].copy()
    given = 0
    for newest in range(length + after):
        if 0 < newest < length:
            held.append(next(rows))
            total += held[-1]
        position = newest - after
        if position > before:
            total -= held.popleft()
        while given < len(kept) and kept[given] == position:
            yield np.divide(total, len(held), dtype=np.float32)
            given += 1


def _blurred_across(rows: Iterator[Floats], width: int, kept: Sequence[int]) -> Iterator[Floats]:
    """Blur each row along itself; give the columns at these positions."""
    block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // width))
    while block := list(islice(rows, block_rows)):
        turned = np.ascontiguousarray(np.array(block).T)
        blurred = np.array(list(_blurred(iter(turned), width, kept)))
        yield from np.ascontiguousarray(blurred.T)
