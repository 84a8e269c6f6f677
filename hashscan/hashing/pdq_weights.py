"""The weights with which the pixels of one side are summed up to 64, in each way to reduce a picture.

They are worked out anew in every decoder and for every length of a side, so all 64 sums at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing import pdq_rounding
from hashscan.hashing.variants import ENLARGED, PLAIN, SQUARED

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

SIDE = pdq_rounding.SIDE
SQUARE = 512
"""Side in pixels of what the reference's program for files makes of larger pictures before it hashes them."""

ENLARGEMENT = 4

_REDUCTIONS = (1, 2, 4, 8)

_AT_ONCE = 1 << 18
"""Weights that are worked out at once; it bounds memory for sides of millions of pixels."""


class Way(NamedTuple):
    """One way to reduce a side."""

    rendering: int = PLAIN
    """`SQUARED`: as if the picture had been resized to `SQUARE` by taking the nearest pixel; `ENLARGED`: as
    if it had been enlarged by `ENLARGEMENT`, with what is between two pixels taken from both."""
    mirrored: bool = False
    """As if the picture had been mirrored, but with the result mirrored back."""


PLAIN_WAY = Way()


class Band(NamedTuple):
    """Some neighbouring sums, and the stretch of pixels that count in any of them."""

    start: int
    stop: int
    """First pixel, and end."""
    weights: Floats
    """Shape (ways, sums, pixels)."""


class _Rows(NamedTuple):
    """A matrix of weights: of each row the stretch where it is not zero."""

    lows: Numbers
    highs: Numbers
    """First pixel that counts, and end."""
    weights: NDArray[np.float64]
    """Shape (rows, n): those from `lows` on, and zeros after `highs`."""


@lru_cache(maxsize=256)
def bands(length: int, kept: int, ways: tuple[Way, ...]) -> tuple[Band, ...]:
    """The matrices of weights for a side of `length` that was reduced to `kept`, without most of their zeros.

    A row's weights span about length/32 inputs and hardly overlap the next row's. Four rows a band are
    fastest for small pictures, whose cost is the number of calls; one a band for large ones, whose cost is
    arithmetic.

    Raises:
        ValueError: `kept` is not `length` reduced by a power of two.
    """
    factor = reduction(length, kept)
    step = 4 if kept <= 1024 else 1
    window = pdq_rounding.window_size(_side(length, ways[0]))
    rows_at_once = max(step, min(SIDE, _AT_ONCE // window // step * step))
    found: list[Band] = []
    for first in range(0, SIDE, rows_at_once):
        places = slice(first, first + rows_at_once)
        matrices = [_rows(length, factor, way, places) for way in ways]
        starts = np.min([matrix.lows for matrix in matrices], axis=0).reshape(-1, step).min(axis=1)
        stops = np.max([matrix.highs for matrix in matrices], axis=0).reshape(-1, step).max(axis=1)
        widest = max(int((stops - starts).max()), *(matrix.weights.shape[1] for matrix in matrices))
        whole = np.zeros((len(ways), len(starts) * step, 2 * widest), np.float32)
        for number, matrix in enumerate(matrices):
            offsets = matrix.lows - starts.repeat(step)
            columns = offsets[:, None] + np.arange(matrix.weights.shape[1])
            np.put_along_axis(whole[number], columns, matrix.weights.astype(np.float32), axis=1)
        for number, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            block = whole[:, number * step : (number + 1) * step, : stop - start]
            found.append(Band(start, stop, block.copy()))
    return tuple(found)


def reduction(length: int, kept: int) -> int:
    """The power of two by which a side was reduced.

    Raises:
        ValueError: there is none.
    """
    for factor in _REDUCTIONS:
        if -(-length // factor) == kept:
            return factor
    raise ValueError(f"a side of {length} is not reduced to {kept} by a power of two")


def _side(length: int, way: Way) -> int:
    """The length of the side that the reference's filter would see."""
    return {PLAIN: length, SQUARED: SQUARE, ENLARGED: length * ENLARGEMENT}[way.rendering]


def _rows(length: int, factor: int, way: Way, places: slice) -> _Rows:
    """Some rows of a matrix of weights, in the order of the pixels."""
    side = _side(length, way)
    before, after = pdq_rounding.window_reach(pdq_rounding.window_size(side))
    centres = np.array(pdq_rounding.kept_positions(side))
    if way.mirrored:
        before, after = after, before
        centres = side - 1 - centres[::-1]
    tents = _tents(side, centres[places], before, after)
    if way.rendering == PLAIN and factor == 1:
        return tents
    seen = np.minimum(tents.lows[:, None] + np.arange(tents.weights.shape[1]), tents.highs[:, None] - 1)
    return _gathered(tents, _taken_from(seen, length, factor, way))


def _tents(side: int, centres: Numbers, before: int, after: int) -> _Rows:
    """The weights of two passes of a box filter for these positions.

    A mean of means over windows of equal length has a tent's shape, but where an edge of the picture cuts a
    window off.

    Args:
        side: how many pixels there are.
        centres: positions.
        before: how far a window reaches before its position.
        after: how far beyond.
    """
    inner = centres[:, None] + np.arange(-before, after + 1)
    inside = (inner >= 0) & (inner < side)
    inner = inner.clip(0, side - 1)
    starts = np.maximum(inner - before, 0)
    stops = np.minimum(inner + after, side - 1) + 1
    shares = inside / ((stops - starts) * inside.sum(axis=1, keepdims=True))
    lows, highs = starts[:, 0], stops[:, -1]
    width = int((highs - lows).max()) + 1
    # Each window adds its share from its start to its stop: sum up where shares begin and end.
    lines = np.arange(len(centres))[:, None] * width - lows[:, None]
    steps = np.bincount((lines + starts).ravel(), shares.ravel(), len(centres) * width)
    steps -= np.bincount((lines + stops).ravel(), shares.ravel(), len(centres) * width)
    weights = steps.reshape(-1, width).cumsum(axis=1)[:, :-1]
    weights[np.arange(width - 1) >= (highs - lows)[:, None]] = 0
    return _Rows(lows, highs, weights)


def _taken_from(seen: Numbers, length: int, factor: int, way: Way) -> NDArray[np.float64] | Numbers:
    """Where in the reduced side a pixel that the filter sees comes from; between two pixels, from both.

    To hash a reduced picture as if it were the picture would shift the windows by a fraction of their length,
    which turns more bits than the lost detail does.
    """
    if way.rendering == PLAIN:
        return seen // factor
    if way.rendering == ENLARGED:
        return ((seen + 0.5) / (ENLARGEMENT * factor) - 0.5).clip(0, -(-length // factor) - 1)
    if way.mirrored:
        # The nearest pixels of the mirrored picture.
        return (length - 1 - (SQUARE - 1 - seen) * length // SQUARE) // factor
    return seen * length // SQUARE // factor


def _gathered(rows: _Rows, places: NDArray[np.float64] | Numbers) -> _Rows:
    """The weights of the pixels at these ascending places, given those of what was taken from there."""
    whole = np.floor(places).astype(np.int64)
    beyond = places - whole
    lows = whole[:, 0]
    highs = whole[:, -1] + 1 + (beyond[:, -1] > 0)
    width = int((highs - lows).max()) + 1
    at = (np.arange(len(lows))[:, None] * width + whole - lows[:, None]).ravel()
    weights = np.bincount(at, (rows.weights * (1 - beyond)).ravel(), len(lows) * width).astype(np.float64)
    if beyond.any():
        weights += np.bincount(at + 1, (rows.weights * beyond).ravel(), len(lows) * width)
    return _Rows(lows, highs, weights.reshape(-1, width)[:, :-1])
