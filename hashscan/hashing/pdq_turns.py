"""PDQ of the mirrored and turned picture, from the one cosine transform.

To mirror a picture changes the sign of every other frequency, and to swap its axes swaps theirs. Each has a
median of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_rounding import FREQUENCIES
from hashscan.hashing.variants import TURNS

_MIDDLE = FREQUENCIES * FREQUENCIES // 2 - 1
# Frequencies count from 1.
_SIGNS = np.where(np.arange(1, FREQUENCIES + 1) % 2, -1, 1).astype(np.float32)


def turned(frequencies: NDArray[np.float32], turns: Sequence[int]) -> list[bytes]:
    """The digests of the picture that was mirrored and turned to get this one, one for each guess.

    Args:
        frequencies: shape (16, 16), by row and column, without the constant ones.
        turns: places in `variants.TURNS`, what is guessed to have been done to that picture.
    """
    if not turns:
        return []
    chosen = list(turns)
    found = frequencies.ravel()[_PLACES[chosen]] * _FACTORS[chosen]
    medians = np.partition(found, _MIDDLE, axis=1)[:, _MIDDLE, None]
    packed = np.packbits((found > medians)[:, ::-1], axis=1)
    return [row.tobytes() for row in packed]


def _undone(values: NDArray[np.float32], turn: int, signs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The frequencies of a picture after a turn has been undone."""
    mirrored, quarters = divmod(turn, 4)
    for _ in range(quarters):
        # Counterclockwise: axes swapped, then top and bottom.
        values = signs[:, None] * values.T
    return values * signs if mirrored else values


_PLACES = np.array(
    [
        _undone(
            np.arange(FREQUENCIES**2, dtype=np.float32).reshape(FREQUENCIES, -1), turn, np.ones_like(_SIGNS)
        ).ravel()
        for turn in range(len(TURNS))
    ]
).astype(np.int64)
_FACTORS = np.array(
    [
        _undone(np.ones((FREQUENCIES, FREQUENCIES), np.float32), turn, _SIGNS).ravel()
        for turn in range(len(TURNS))
    ]
)
