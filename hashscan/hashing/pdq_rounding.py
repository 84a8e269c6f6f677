"""Compute PDQ's steps before the median in the C++ reference's order of float32 operations.

The reference keeps running sums in float32, so its result depends on the order of its additions. The digests
of most pictures do not depend on it; for the others this module repeats that order exactly. The order is that
of ThreatExchange's `pdq/cpp` built for x86-64, which has no fused multiply-add.
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
"""Maximum rows, and maximum values, that are blurred at a time: it limits memory to some 50 MB."""


def window_size(length: int) -> int:
    """Return the length of the box filter's window for a side of this length."""
    return (length + 2 * SIDE - 1) // (2 * SIDE)


def window_reach(window: int) -> tuple[int, int]:
    """Return how many pixels a window extends before and after its position."""
    after = (window + 2) // 2 - 1
    return window - 1 - after, after


def kept_positions(length: int) -> list[int]:
    """Return the 64 positions that are kept of a side of this length."""
    return [int((index + 0.5) * length / SIDE) for index in range(SIDE)]


def dct_matrix() -> Floats:
    """Return rows 1 to 16 of the 64-point cosine transform, shape (16, 64)."""
    scale = float(np.float32(math.sqrt(2.0 / SIDE)))
    # math.cos calls the C library, as the reference does; numpy's result may differ in the last bit.
    return np.array(
        [
            [scale * math.cos((math.pi / 2 / SIDE) * row * (2 * column + 1)) for column in range(SIDE)]
            for row in range(1, FREQUENCIES + 1)
        ],
        np.float32,
    )


def blur_and_reduce(luma: NDArray[np.uint8]) -> Floats:
    """Blur a picture and reduce it to shape (64, 64), with the rounding of the reference.

    The picture is processed as a stream: a window's height and some hundred rows are held as floats.
    """
    height, width = luma.shape
    if (height, width) == (SIDE, SIDE):
        return luma.astype(np.float32)
    rows: Iterator[Floats] = (row.astype(np.float32) for row in luma)
    rows = _blurred(_blurred_across(rows, width, range(width)), height, range(height))
    # Nothing follows the last pass, so it computes only the kept rows and columns.
    rows = _blurred(_blurred_across(rows, width, kept_positions(width)), height, kept_positions(height))
    return np.array(list(rows))


def lowest_frequencies(small: Floats) -> Floats:
    """Return the 16x16 lowest frequencies of a picture of shape (64, 64), summed in the reference's order."""
    matrix = dct_matrix()
    half = np.zeros((FREQUENCIES, SIDE), np.float32)
    for index in range(SIDE):
        half += matrix[:, index, None] * small[index]
    whole = np.zeros((FREQUENCIES, FREQUENCIES), np.float32)
    for index in range(SIDE):
        whole += half[:, index, None] * matrix[:, index]
    return whole


def _blurred(rows: Iterator[Floats], length: int, kept: Sequence[int]) -> Iterator[Floats]:
    """Blur a picture of `length` rows vertically, all columns at once; yield the rows at positions `kept`.

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
    """Blur each row horizontally; yield the rows with only the columns at the `kept` positions."""
    block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // width))
    while block := list(islice(rows, block_rows)):
        turned = np.ascontiguousarray(np.array(block).T)
        blurred = np.array(list(_blurred(iter(turned), width, kept)))
        yield from np.ascontiguousarray(blurred.T)
