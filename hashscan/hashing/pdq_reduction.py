"""PDQ's first step: a picture blurred and reduced to 64x64, as a product with the box filter's weights.

The 64x64 picture is R·X·Cᵗ, where R and C hold the weights of the reference's two passes of a box filter for
the 64 rows and columns it keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing import pdq_rounding

Floats = NDArray[np.float32]
Bands = tuple[tuple[int, int, int, int, Floats], ...]
Tent = tuple[int, int, Floats]

SIDE = pdq_rounding.SIDE
SQUARE = 512
"""Side in pixels of what the reference's program for files makes of larger pictures before it hashes them."""

_REDUCTIONS = (1, 2, 4, 8)


def reduced(
    luma: NDArray[np.uint8], stored: tuple[int, int] | None = None, *, squared: bool = False
) -> Floats:
    """The picture blurred and reduced to shape (64, 64), brightness 0 to 255.

    Args:
        luma: brightness, shape (height, width).
        stored: height and width of the picture of which `luma` holds the means of blocks; see `PictureHash`.
        squared: as if it had been resized to `SQUARE` by taking the nearest pixel, as the reference's program
            for files does with pictures that have a longer side. Of a reduced picture the pixel's block
            stands for it.
    """
    height, width = stored or luma.shape
    if not squared and luma.shape == (height, width) == (SIDE, SIDE):
        return luma.astype(np.float32)
    # A band of rows at a time, so that no float copy of a large picture is ever made.
    wide = np.empty((SIDE, luma.shape[1]), np.float32)
    for first, last, start, stop, weights in _bands(height, luma.shape[0], squared=squared):
        np.dot(weights, luma[start:stop].astype(np.float32), out=wide[first:last])
    small = np.empty((SIDE, SIDE), np.float32)
    for first, last, start, stop, weights in _bands(width, luma.shape[1], squared=squared):
        small[:, first:last] = wide[:, start:stop] @ weights.T
    return small


@lru_cache(maxsize=128)
def _bands(length: int, kept: int, *, squared: bool = False) -> Bands:
    """The non-zero blocks of the 64 x kept matrix of weights for a side of `length`, reduced to `kept`.

    Each is (first and last row of the matrix, first and last column of the block, block). A row's weights
    span about length/32 inputs and hardly overlap the next row's. Four rows a block is fastest for small
    pictures, whose cost is the number of calls; one a block for large ones, whose cost is arithmetic.
    """
    if squared:
        rows = list(_picked(_tents(SQUARE), length, reduction(length, kept)))
    else:
        rows = list(_tents(length) if kept == length else _folded(_tents(length), reduction(length, kept)))
    step = 4 if kept <= 1024 else 1
    blocks = []
    for first in range(0, SIDE, step):
        group = rows[first : first + step]
        start, stop = group[0][0], group[-1][1]
        block = np.zeros((step, stop - start), np.float32)
        for line, (low, high, weights) in zip(block, group, strict=True):
            line[low - start : high - start] = weights
        blocks.append((first, first + step, start, stop, block))
    return tuple(blocks)


def reduction(length: int, kept: int) -> int:
    """The power of two by which a side was reduced.

    Raises:
        ValueError: there is none.
    """
    for factor in _REDUCTIONS:
        if -(-length // factor) == kept:
            return factor
    raise ValueError(f"a side of {length} is not reduced to {kept} by a power of two")


def _folded(tents: Iterable[Tent], factor: int) -> Iterator[Tent]:
    """The weights for the means of blocks of `factor` inputs, so that positions stay where they were.

    To hash the reduced picture as if it were the picture would shift the windows by a fraction of their
    length, which turns more bits than the lost detail does.
    """
    for low, high, weights in tents:
        first, last = low // factor, (high - 1) // factor + 1
        whole = np.zeros((last - first) * factor, np.float32)
        whole[low - first * factor : high - first * factor] = weights
        yield first, last, whole.reshape(-1, factor).sum(axis=1)


def _picked(tents: Iterable[Tent], length: int, factor: int) -> Iterator[Tent]:
    """The weights for a side of `length`, reduced by `factor`, of which `SQUARE` pixels are picked."""
    places = np.arange(SQUARE) * length // SQUARE // factor
    for low, high, weights in tents:
        first = int(places[low])
        whole = np.bincount(places[low:high] - first, weights)
        yield first, first + len(whole), whole.astype(np.float32)


def _tents(length: int) -> Iterator[Tent]:
    """For each of the 64 kept positions: first and last input that counts, and the weights of those between.

    A mean of means over windows of equal length has a tent's shape. Only where a window was cut off by an
    edge of the picture does the shape have to be worked out.
    """
    window = pdq_rounding.window_size(length)
    before, after = pdq_rounding.window_reach(window)
    slope = np.arange(1, window + 1, dtype=np.float64)
    tent = (np.concatenate((slope, slope[-2::-1])) / window**2).astype(np.float32)
    for centre in pdq_rounding.kept_positions(length):
        if centre - 2 * before >= 0 and centre + 2 * after < length:
            yield centre - 2 * before, centre + 2 * after + 1, tent
            continue
        inner = np.arange(max(centre - before, 0), min(centre + after, length - 1) + 1)
        starts = np.maximum(inner - before, 0)
        stops = np.minimum(inner + after, length - 1) + 1
        low, high = int(starts[0]), int(stops[-1])
        share = 1.0 / ((stops - starts) * len(inner))
        # Each window adds its share from its start to its stop: sum up where shares begin and end.
        steps = np.bincount(starts - low, share, high - low + 1) - np.bincount(stops - low, share)
        yield low, high, np.cumsum(steps)[:-1].astype(np.float32)
