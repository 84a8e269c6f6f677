"""Compute PDQ's first steps: blur a picture and reduce it to 64x64, and take its lowest frequencies.

The reference keeps running sums in float32, so its result depends on the order of its additions. The digests
of most pictures do not depend on it; for the others this module repeats that order exactly. The order is that
of ThreatExchange's `pdq/cpp` built for x86-64, which has no fused multiply-add.

The 64x64 picture is R·X·Cᵗ, where R and C hold the weights of the reference's two passes of a box filter for
the 64 rows and columns it keeps. Other ways of reduction use other weights, applied to the same rows in the
same pass over the picture:

- mirrored: the reference's windows and positions are one pixel off the middle, so a small picture and its
  mirror image are not reduced to mirror images: their digests differ by 13 bits at 480 pixels a side, and
  seldom by less at 512x512.
- squared: the reference's program for files first resizes to 512x512 by the nearest pixel.
- enlarged: the filter hardly blurs a small picture, and keeps pixels that are off the 64 positions by a large
  part of their spacing. Quarter-sized copies are 18 bits from their photos, 8 if they are enlarged first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.variants import DIHEDRAL, ENLARGED, PLAIN, SQUARED

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


SQUARED_SIDE = 512
"""Side in pixels to which the reference's program for files resizes larger pictures before it hashes them."""

ENLARGEMENT = 4

_REDUCTIONS = (1, 2, 4, 8)
CACHED_SIDE_MAX = 1 << 12
"""Longest side in pixels whose weights are cached for later pictures; they take 130 kB."""
_WIDE = 1 << 14
"""Width from which columns are summed first, since each column takes a kilobyte."""


class ReductionMode(NamedTuple):
    """One way to reduce a side."""

    rendering: int = PLAIN
    """`SQUARED`: as if the picture had been resized to `SQUARE` by taking the nearest pixel; `ENLARGED`: as
    if it had been enlarged by `ENLARGEMENT`, with linear interpolation between two pixels."""
    mirrored: bool = False
    """True to reduce as if the picture had been mirrored, with the result mirrored back."""


PLAIN_WAY = ReductionMode()


class WeightBlock(NamedTuple):
    """The non-zero part of some neighbouring rows of the weight matrices."""

    first: int
    last: int
    """First row and end of the rows."""
    start: int
    stop: int
    """First column and end of the columns; a column is a pixel."""
    weights: Floats
    """Shape (ways, rows, pixels)."""


def reductions(
    luma: NDArray[np.uint8], stored: tuple[int, int] | None, groups: tuple[tuple[ReductionMode, ...], ...]
) -> list[Floats]:
    """Reduce a picture in several ways.

    Args:
        luma: brightness, shape (height, width).
        stored: as for `PictureHash.digest`.
        groups: groups of ways; in each, every way for rows is combined with every way for columns.

    Returns:
        For each group of n ways, shape (n, 64, n, 64): the way for rows, row, the way for columns, column.
    """
    if luma.shape[1] > _WIDE and luma.shape[0] < luma.shape[1]:
        turned = reductions(luma.T, None if stored is None else stored[::-1], groups)
        return [found.transpose(2, 3, 0, 1) for found in turned]
    height, width = stored or luma.shape
    ways = tuple(way for group in groups for way in group)
    # One band of rows at a time, so that no float copy of a large picture is made.
    wide = np.empty((len(ways), SIDE, luma.shape[1]), np.float32)
    for first, last, start, stop, weights in _weights(height, luma.shape[0], ways):
        rows = luma[start:stop].astype(np.float32)
        wide[:, first:last] = np.dot(weights.reshape(-1, stop - start), rows).reshape(
            len(ways), last - first, -1
        )
    found = []
    begin = 0
    for group in groups:
        of_group = wide[begin : begin + len(group)].reshape(len(group) * SIDE, -1)
        begin += len(group)
        small = np.empty((len(group) * SIDE, len(group), SIDE), np.float32)
        for first, last, start, stop, weights in _weights(width, luma.shape[1], group):
            small[:, :, first:last] = (of_group[:, start:stop] @ weights.reshape(-1, stop - start).T).reshape(
                len(small), len(group), last - first
            )
        found.append(small.reshape(len(group), SIDE, len(group), SIDE))
    return found


def _weights(length: int, kept: int, ways: tuple[ReductionMode, ...]) -> tuple[WeightBlock, ...]:
    """Return `_bands`, cached only for short sides: its size grows with the side."""
    return (_bands if kept <= CACHED_SIDE_MAX else _bands.__wrapped__)(length, kept, ways)


@lru_cache(maxsize=256)
def _bands(length: int, kept: int, ways: tuple[ReductionMode, ...]) -> tuple[WeightBlock, ...]:
    """Return the non-zero blocks of the 64 x kept weight matrices for a side of `length`, reduced to `kept`.

    A row's weights span about length/32 inputs and hardly overlap the next row's. Blocks of four rows are
    fastest for small pictures, where the number of calls dominates the cost; blocks of one row for large
    pictures, where arithmetic dominates.
    """
    factor = reduction_factor(length, kept)
    matrices = [_matrix(length, factor, way) for way in ways]
    step = 4 if kept <= 1024 else 1
    bands = []
    for first in range(0, SIDE, step):
        start = min(int(starts[first]) for starts, _ in matrices)
        stop = min(max(int(starts[first + step - 1]) + rows.shape[1] for starts, rows in matrices), kept)
        weights = np.zeros((len(ways), step, stop - start), np.float32)
        for block, (starts, rows) in zip(weights, matrices, strict=True):
            for line, at, row in zip(
                block, starts[first : first + step].tolist(), rows[first : first + step], strict=True
            ):
                place = line[at - start : at - start + len(row)]
                place[:] = row[: len(place)]
        bands.append(WeightBlock(first, first + step, start, stop, weights))
    return tuple(bands)


def _matrix(length: int, factor: int, way: ReductionMode) -> tuple[NDArray[np.int64], Floats]:
    """Return a weight matrix: the first input of each row with a weight, and the weights from there on.

    Hashing a reduced picture as if it were the stored picture would shift the windows by a fraction of their
    length, which changes more bits than the lost detail does. So the weights are computed for the stored
    length, and added up for the block that represents several inputs.
    """
    side = {PLAIN: length, SQUARED: SQUARED_SIDE, ENLARGED: length * ENLARGEMENT}[way.rendering]
    rows, places, weights = _tents(side)
    if way.mirrored:
        rows, places, weights = SIDE - 1 - rows[::-1], side - 1 - places[::-1], weights[::-1]
    kept = -(-length // factor)
    share: NDArray[np.float64] | None = None
    if way.rendering == PLAIN:
        inputs = places // factor
    elif way.rendering == SQUARED:
        # The nearest pixels, also for the mirrored picture.
        inputs = (
            length - 1 - (side - 1 - places) * length // side if way.mirrored else places * length // side
        ) // factor
    else:
        between = ((places + 0.5) / (ENLARGEMENT * factor) - 0.5).clip(0, kept - 1)
        inputs = between.astype(np.int64)
        share = between - inputs
    starts = inputs[np.searchsorted(rows, np.arange(SIDE))]
    beside = inputs - starts[rows]
    # A position between two inputs uses both, so there is one more.
    width = int(beside.max()) + 2
    cells = rows * width + beside
    if share is None:
        found = np.bincount(cells, weights, SIDE * width)
    else:
        found = np.bincount(cells, weights * (1 - share), SIDE * width)
        found += np.bincount(cells + 1, weights * share, SIDE * width)
    return starts, found.reshape(SIDE, width).astype(np.float32)


def reduction_factor(length: int, kept: int) -> int:
    """Return the power of two by which a side was reduced.

    Raises:
        ValueError: no power of two up to 8 reduces `length` to `kept`.
    """
    for factor in _REDUCTIONS:
        if -(-length // factor) == kept:
            return factor
    raise ValueError(f"a side of {length} is not reduced to {kept} by a power of two")


@lru_cache(maxsize=4)
def _tents(length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return the weights of the reference's filter for the 64 positions it keeps: rows, inputs and weights.

    A mean of means over windows of equal length has triangular weights. Only where an edge of the picture
    cuts a window does the shape have to be computed.
    """
    window = window_size(length)
    before, after = window_reach(window)
    slope = np.arange(1, window + 1, dtype=np.float64)
    tent = (np.concatenate((slope, slope[-2::-1])) / window**2).astype(np.float32)
    places = []
    weights = []
    for centre in kept_positions(length):
        if centre - 2 * before >= 0 and centre + 2 * after < length:
            places.append(np.arange(centre - 2 * before, centre + 2 * after + 1))
            weights.append(tent)
            continue
        inner = np.arange(max(centre - before, 0), min(centre + after, length - 1) + 1)
        starts = np.maximum(inner - before, 0)
        stops = np.minimum(inner + after, length - 1) + 1
        low, high = int(starts[0]), int(stops[-1])
        share = 1.0 / ((stops - starts) * len(inner))
        # Each window adds its share from its start to its stop: sum the points where shares begin and end.
        steps = np.bincount(starts - low, share, high - low + 1) - np.bincount(stops - low, share)
        places.append(np.arange(low, high))
        weights.append(np.cumsum(steps)[:-1].astype(np.float32))
    rows = np.repeat(np.arange(SIDE), [len(row) for row in places])
    return rows, np.concatenate(places), np.concatenate(weights)


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
