"""Compute PDQ of the mirrored and rotated picture, without a second pass over it.

Mirroring a picture changes the sign of every other frequency; swapping its axes swaps those of the
frequencies. Each mirroring has a median of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_reduction import FREQUENCIES, SIDE, dct_matrix
from hashscan.hashing.variants import DIHEDRAL

Floats = NDArray[np.float32]

_MIDDLE = FREQUENCIES * FREQUENCIES // 2 - 1
_DCT = dct_matrix()
# Frequencies are numbered from 1.
_MIRRORED_DCT = _DCT * np.where(np.arange(1, FREQUENCIES + 1) % 2, -1, 1).astype(np.float32)[:, None]


def turned_digests(small: Floats, turns: Sequence[int]) -> list[bytes]:
    """Return the digests of the original picture from which this one was made, for each assumed turn.

    Args:
        small: shape (2, 64, 2, 64), rows and columns each reduced plain and mirrored (see `pdq_reduction`).
        turns: indices below `variants.DIHEDRAL`: the turns that are assumed to have been applied.
    """
    if not turns:
        return []
    rows = (_DCT @ small[0].reshape(SIDE, -1), _MIRRORED_DCT @ small[1].reshape(SIDE, -1))
    across = np.concatenate(rows).reshape(-1, 2, SIDE)
    # The axes are the mirrorings and the frequency; swapping the picture's axes doesn't change the median.
    quarters = np.stack((across[:, 0] @ _DCT.T, across[:, 1] @ _MIRRORED_DCT.T)).reshape(2, 2, -1)
    medians = np.partition(quarters, _MIDDLE, axis=2)[:, :, _MIDDLE, None]
    bits = (quarters > medians).ravel()[_PLACES[list(turns)]]
    packed = np.packbits(bits, axis=1)
    return [row.tobytes() for row in packed]


@lru_cache(maxsize=64)
def places_of(turns: tuple[int, ...]) -> NDArray[np.int32]:
    """Return the index of each turn's digest bits among those of the four mirrorings, shape (turns, 256).

    The mirrorings are ordered as in `_places`; the unaltered picture needs only the first.
    """
    return _PLACES[list(turns)].astype(np.int32)


def _undone(turn: int, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a picture with a turn undone."""
    mirrored, quarters = divmod(turn, 4)
    values = np.rot90(values, quarters)
    return values[:, ::-1] if mirrored else values


def _places(turn: int) -> NDArray[np.int64]:
    """Return the index of each digest bit of a picture with a turn undone, among the bits of four mirrorings.

    The mirrorings are ordered by whether columns and then whether rows are mirrored. A digest starts with its
    highest bit.
    """
    corners = _undone(turn, np.arange(4).reshape(2, 2))
    table = np.arange(4 * FREQUENCIES**2).reshape(2, 2, FREQUENCIES, FREQUENCIES)
    for swapped in (False, True):
        for below in range(2):
            for beside in range(2):
                guess = np.arange(4).reshape(2, 2)[:: 1 - 2 * below, :: 1 - 2 * beside]
                if np.array_equal(guess.T if swapped else guess, corners):
                    chosen = table[beside, below]
                    places: NDArray[np.int64] = (chosen.T if swapped else chosen).ravel()[::-1]
                    return places
    raise AssertionError(turn)


_PLACES = np.array([_places(turn) for turn in range(DIHEDRAL)])


def likely_turned(digest: bytes, turns: Sequence[int]) -> NDArray[np.uint8]:
    """Predict the digests of a turned picture as if each median were zero; most bits are right.

    Args:
        turns: indices in `variants.TURNS`.

    Returns:
        Shape (turns, 32).
    """
    bits = np.zeros(FREQUENCIES * FREQUENCIES, np.uint8)
    bits[_PLACES[0]] = np.unpackbits(np.frombuffer(digest, np.uint8))
    everywhere = (bits ^ _SIGNS).ravel()
    plain = everywhere[_PLACES[0]]
    rows = [everywhere[_PLACES[turn]] if turn < DIHEDRAL else plain ^ 1 for turn in turns]
    return np.packbits(np.array(rows, np.uint8).reshape(len(turns), -1), axis=1)


def _signs() -> NDArray[np.uint8]:
    """Return 1 where a mirroring changes the sign of a frequency, ordered as in `_places`, shape (4, 256)."""
    odd = (np.arange(1, FREQUENCIES + 1) % 2).astype(np.uint8)
    return np.array(
        [np.add.outer(odd * below, odd * beside).ravel() % 2 for beside in range(2) for below in range(2)],
        np.uint8,
    )


_SIGNS = _signs()
