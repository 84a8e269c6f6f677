"""PDQ of the mirrored and turned picture, without a second pass over it.

To mirror a picture changes the sign of every other frequency, and to swap its axes swaps theirs. Each has a
median of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_rounding import FREQUENCIES, dct_matrix
from hashscan.hashing.variants import DIHEDRAL

Floats = NDArray[np.float32]

_SIDE = 2 * FREQUENCIES
_MIDDLE = FREQUENCIES * FREQUENCIES // 2 - 1
_DCT = dct_matrix()
# Frequencies count from 1.
_MIRRORED_DCT = _DCT * np.where(np.arange(1, FREQUENCIES + 1) % 2, -1, 1).astype(np.float32)[:, None]


def turned(small: Floats, turns: Sequence[int]) -> list[bytes]:
    """The digests of the picture that was mirrored and turned to get this one, one for each guess.

    Args:
        small: shape (2, 64, 2, 64), rows and columns each reduced plain and mirrored (see `pdq_reduction`).
        turns: those of `variants.DIHEDRAL`, what is guessed to have been done to that picture.
    """
    if not turns:
        return []
    across = np.concatenate((small[:, :, 0] @ _DCT.T, small[:, :, 1] @ _MIRRORED_DCT.T), axis=2)
    frequencies = np.concatenate((_DCT @ across[0], _MIRRORED_DCT @ across[1]))
    found = frequencies.ravel()[_PLACES[list(turns)]]
    medians = np.partition(found, _MIDDLE, axis=1)[:, _MIDDLE, None]
    packed = np.packbits((found > medians)[:, ::-1], axis=1)
    return [row.tobytes() for row in packed]


def _undone(turn: int, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """A picture after a turn has been undone."""
    mirrored, quarters = divmod(turn, 4)
    values = np.rot90(values, quarters)
    return values[:, ::-1] if mirrored else values


def _places(turn: int) -> NDArray[np.int64]:
    """Where the frequencies of a picture whose turn has been undone stand in the table of 32x32.

    The table's second half of rows is of the picture mirrored top to bottom, and so for columns.
    """
    corners = _undone(turn, np.arange(4).reshape(2, 2))
    table = np.arange(_SIDE * _SIDE).reshape(2, FREQUENCIES, 2, FREQUENCIES)
    for swapped in (False, True):
        for below in range(2):
            for beside in range(2):
                guess = np.arange(4).reshape(2, 2)[:: 1 - 2 * below, :: 1 - 2 * beside]
                if np.array_equal(guess.T if swapped else guess, corners):
                    chosen = table[below, :, beside]
                    return (chosen.T if swapped else chosen).ravel()
    raise AssertionError(turn)


_PLACES = np.array([_places(turn) for turn in range(DIHEDRAL)])
