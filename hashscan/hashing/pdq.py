"""PDQ, the 256-bit perceptual hash of photographs.

The algorithm is that of "TMK+PDQF: A Test-Drive of Facebook's Perceptual Hashing Algorithms" (the document
`hashing.pdf` of ThreatExchange): blur, reduce to 64x64, take the 16x16 lowest frequencies of its cosine
transform without the constant ones, and say of each whether it lies above their median.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing import pdq_rounding
from hashscan.hashing.base import PictureHash

Floats = NDArray[np.float32]
Bands = tuple[tuple[int, int, int, int, Floats], ...]
Tent = tuple[int, int, Floats]

SIDE = pdq_rounding.SIDE
MIN_SIDE = 5
"""Pictures with a shorter side have the hash zero and the quality 0, as in the reference."""

_REDUCTIONS = (1, 2, 4, 8)
_BITS = 256
_ZERO = bytes(_BITS // 8)
_DCT = pdq_rounding.dct_matrix()


class PDQ(PictureHash):
    """PDQ with the hash and quality of the C++ reference, bit for bit.

    Up to the median everything is linear, so the 64x64 picture is R·X·Cᵗ, where R and C hold the weights of
    the reference's two passes of a box filter for the 64 rows and columns it keeps. That takes a fiftieth of
    the reference's time, but rounds otherwise. Where a bit or the quality hangs on rounding (mirrored
    drawings, flat areas, one photo in fifty) the reference's own operations are done instead, in its order.
    """

    name = "pdq"

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture, shape (height, width), of any size.

        Of a picture decoded at a smaller scale, this is the stored picture's hash but for what the blocks'
        means don't tell: 0.7 bits on average for photos of which 256 pixels a side are left.
        """
        if min(stored or luma.shape) < MIN_SIDE:
            return _ZERO, 0
        if stored is not None and stored != luma.shape:
            # There is no reference to agree with, so rounding is of no account.
            small = reduced(luma, stored)
            flat = np.matmul(_DCT @ small, _DCT.T).ravel()
            bits = flat > np.partition(flat, _BITS // 2 - 1)[_BITS // 2 - 1]
            return np.packbits(bits[::-1]).tobytes(), _quality(_gradients(small))
        noise = _rounding_noise(luma.shape)
        small = reduced(luma)
        quality = _sure_quality(small, noise)
        bits = _sure_bits(np.matmul(_DCT @ small, _DCT.T), noise)
        if quality is None or bits is None:
            small = pdq_rounding.reduced(luma)
            quality = _quality(_gradients(small))
            frequencies = pdq_rounding.lowest_frequencies(small).ravel()
            bits = frequencies > np.partition(frequencies, _BITS // 2 - 1)[_BITS // 2 - 1]
        # The hexadecimal form starts with the highest bit.
        return np.packbits(bits[::-1]).tobytes(), quality


def reduced(luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> Floats:
    """The picture blurred and reduced to shape (64, 64), brightness 0 to 255."""
    height, width = stored or luma.shape
    if luma.shape == (height, width) == (SIDE, SIDE):
        return luma.astype(np.float32)
    # A band of rows at a time, so that no float copy of a large picture is ever made.
    wide = np.empty((SIDE, luma.shape[1]), np.float32)
    for first, last, start, stop, weights in _bands(height, luma.shape[0]):
        np.dot(weights, luma[start:stop].astype(np.float32), out=wide[first:last])
    small = np.empty((SIDE, SIDE), np.float32)
    for first, last, start, stop, weights in _bands(width, luma.shape[1]):
        small[:, first:last] = wide[:, start:stop] @ weights.T
    return small


@lru_cache(maxsize=128)
def _bands(length: int, kept: int) -> Bands:
    """The non-zero blocks of the 64 x kept matrix of weights for a side of `length`, reduced to `kept`.

    Each is (first and last row of the matrix, first and last column of the block, block). A row's weights
    span about length/32 inputs and hardly overlap the next row's. Four rows a block is fastest for small
    pictures, whose cost is the number of calls; one a block for large ones, whose cost is arithmetic.
    """
    rows = list(_tents(length) if kept == length else _folded(_tents(length), _reduction(length, kept)))
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


def _reduction(length: int, kept: int) -> int:
    """The power of two by which a side was reduced."""
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


def _rounding_noise(shape: tuple[int, ...]) -> float:
    """A brightness by which `reduced` may differ from the reference's through rounding.

    The reference adds and subtracts along a whole row or column, so its error grows with the length. Twice
    the largest difference that was found, over 2300 photos and some hundred drawings made to round badly.
    """
    return 2e-3 + 5e-7 * max(shape)


def _sure_bits(frequencies: Floats, noise: float) -> NDArray[np.bool_] | None:
    """The 256 bits, or None if rounding could change one."""
    flat = frequencies.ravel()
    middle = _BITS // 2
    ordered = np.partition(flat, (middle - 1, middle))
    median, next_above = ordered[middle - 1], ordered[middle]
    # Only these two could change places. A frequency differs by more than a brightness, since it is a sum of
    # 4096, but by less than 2.5 times the noise: these photos' by 0.0018, these drawings' by 0.006.
    return flat > median if next_above - median > 5 * noise else None


def _sure_quality(small: Floats, noise: float) -> int | None:
    """The quality, or None if rounding could change it."""
    gradients = np.abs(_gradients(small))
    slack = np.float32(2 * noise * 100 / 255)
    lowest = _quality(np.maximum(gradients - slack, 0))
    return lowest if lowest == _quality(gradients + slack) else None


def _gradients(small: Floats) -> Floats:
    """Differences between neighbours below and beside each other, in hundredths of the whole range."""
    down = small[:-1] - small[1:]
    across = small[:, :-1] - small[:, 1:]
    return np.concatenate((down.ravel(), across.ravel())) * np.float32(100) / np.float32(255)


def _quality(gradients: Floats) -> int:
    """0 to 100: how much there is to see; each gradient counts by its whole part."""
    return min(100, int(np.abs(gradients.astype(np.int32)).sum()) // 90)
