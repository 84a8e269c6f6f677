"""Compute PDQ of a picture as if a lost margin was restored, or a small rotation undone; and of its sections.

A crop of 5 % moves everything by up to a fortieth of the side, which changes some 45 of the 256 bits. So the
picture is hashed in the outlines that its original may have had (`variants.RESTORATIONS`); what was lost is
filled by repeating the picture's outermost pixels. `benchmarks/recall/near_copies.py` shows how many copies
this finds.

Restorations are sampled from the means of 128x128 boxes, between which brightness is interpolated: that is
nearly PDQ's own filter. Sampled from the 64x64 picture of PDQ, which is blurred already, 78 % of the crops of
5 % were found instead of 87 % (60 photos).

Sections are sampled likewise. A half or quarter has 64 boxes along its shorter side, which is what PDQ needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_reduction import CACHED_SIDE_MAX, SIDE, Floats, dct_matrix
from hashscan.hashing.variants import RESTORATIONS, SECTIONS, Restoration

BOXES = 128
"""Boxes along a side."""
SIDE_MAX = 1 << 16
"""Longest side in pixels of a picture that is restored: weights of a longer one would take much memory."""
_DCT = dct_matrix()
_STEPS = 15
"""Steps until the size of a rotated original converges to a hundredth of a pixel; it takes 5 at 5 degrees."""


class BoxWeights(NamedTuple):
    """The pixels of each box along a side, in the layout of the C loops."""

    spans: NDArray[np.int32]
    """Shape (128, 2): first pixel and number of pixels."""
    weights: Floats
    """Shape (128, n): n is the largest number of pixels; unused weights are zero."""


def box_weights(length: int) -> BoxWeights:
    """Return the weights by which a side of this many pixels is reduced to 128 boxes.

    A box has at least the width of a pixel, so that between the pixels of a small picture it interpolates.
    """
    return (_box_weights if length <= CACHED_SIDE_MAX else _box_weights.__wrapped__)(length)


@lru_cache(maxsize=256)
def _box_weights(length: int) -> BoxWeights:
    middle = (np.arange(BOXES) + 0.5) * length / BOXES
    half = max(length / BOXES, 1.0) / 2
    start, stop = middle - half, middle + half
    first = np.maximum(np.floor(start).astype(np.int32), 0)
    last = np.minimum(np.ceil(stop).astype(np.int32), length)
    count = last - first
    pixels = first[:, None] + np.arange(count.max())
    weights = np.minimum(stop[:, None], pixels + 1) - np.maximum(start[:, None], pixels)
    weights = np.where(pixels < last[:, None], weights.clip(0), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return BoxWeights(np.stack((first, count), axis=1), weights.astype(np.float32))


def box_means(luma: NDArray[np.uint8]) -> Floats:
    """Reduce a picture of any shape to the means of 128x128 boxes."""
    down, across = box_weights(luma.shape[0]), box_weights(luma.shape[1])
    wide = _weighted_sums(luma, down)
    return np.ascontiguousarray(_weighted_sums(wide.T, across).T)


def _weighted_sums(lines: NDArray[np.uint8] | Floats, boxes: BoxWeights) -> Floats:
    """Sum lines for each box, so that only those of one box are held as floats."""
    found = np.empty((BOXES, lines.shape[1]), np.float32)
    for place, (first, count) in enumerate(boxes.spans.tolist()):
        found[place] = boxes.weights[place, :count] @ lines[first : first + count].astype(np.float32)
    return found


@lru_cache(maxsize=256)
def restoration_maps(height: int, width: int) -> NDArray[np.float32]:
    """Return how each restoration is sampled from the means of 128x128 boxes.

    Args:
        height: height of the picture that was reduced, in pixels; its shape decides how a rotation looks.
        width: width of that picture.

    Returns:
        Shape (restorations, 6). For a row (a, b, c, d, e, f), the pixel in row i and column j of the
        restoration lies at column a·j + b·i + c and row d·j + e·i + f of the boxes.
    """
    maps = []
    for restoration in RESTORATIONS:
        matrix, offset = (
            _rotated(restoration, height, width) if restoration.degrees else _widened(restoration)
        )
        maps.append(_map(matrix, offset))
    return _constant(maps)


_SECTION_SHARES = 0.25, 0.94
"""Minimum and maximum share of the picture that a section around its middle is: a smaller one has too few
boxes, and a larger one is nearly the whole."""


@lru_cache(maxsize=256)
def section_maps(height: int, width: int) -> tuple[tuple[int, ...], NDArray[np.float32]]:
    """Return the sections of a picture, and how each is sampled from the means of 128x128 boxes.

    Args:
        height: height of the picture that was reduced, in pixels; its shape decides which there are.
        width: width of that picture.

    Returns:
        Indices in `SECTIONS`, and for each a row as of `restoration_maps`.
    """
    indices, maps = [], []
    for index, section in enumerate(SECTIONS):
        left, top, right, bottom = section.box
        if section.shape is not None:
            # The share of the width that remains; over 1 where some of the height is left out.
            kept = section.shape[0] * height / (section.shape[1] * width)
            if not _SECTION_SHARES[0] <= min(kept, 1 / kept) <= _SECTION_SHARES[1]:
                continue
            left, top = (1 - min(kept, 1)) / 2, (1 - min(1 / kept, 1)) / 2
            right, bottom = 1 - left, 1 - top
        indices.append(index)
        maps.append(_map(np.diag((right - left, bottom - top)), np.array((left, top))))
    return tuple(indices), _constant(maps)


def _map(matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> tuple[float, ...]:
    """Return a row of maps for positions as shares of the sides; pixels lie at half numbers."""
    matrix = matrix * (BOXES / SIDE)
    shift = matrix @ np.array((0.5, 0.5)) + BOXES * offset - 0.5
    return (*matrix[0], shift[0], *matrix[1], shift[1])


def _constant(maps: list[tuple[float, ...]]) -> NDArray[np.float32]:
    found = np.array(maps, np.float32)
    found.setflags(write=False)
    return found


def _widened(restoration: Restoration) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    across, down = 1 - restoration.left - restoration.right, 1 - restoration.top - restoration.bottom
    return np.diag((1 / across, 1 / down)), np.array((-restoration.left / across, -restoration.top / down))


def _rotated(
    restoration: Restoration, height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map an original of which the largest rectangle without empty corners was kept."""
    angle = math.radians(restoration.degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    across, down = float(width), float(height)
    for _ in range(_STEPS):
        kept = _kept(across, down, abs(sine), cosine)
        # A rotation does not make a strip of a few pixels from any original.
        across = min(across * width / kept[0], 2.0 * width)
        down = min(down * height / kept[1], 2.0 * height)
    matrix = np.array(
        ((cosine * across / width, -sine * down / width), (sine * across / height, cosine * down / height))
    )
    return matrix, 0.5 - matrix @ np.array((0.5, 0.5))


def _kept(width: float, height: float, sine: float, cosine: float) -> tuple[float, float]:
    """Return width and height of the largest rectangle in a rotated one that has no empty corner."""
    if min(width, height) <= 2 * sine * cosine * max(width, height):
        half = min(width, height) / 2
        return (half / sine, half / cosine) if width >= height else (half / cosine, half / sine)
    shrunk = cosine**2 - sine**2
    return (width * cosine - height * sine) / shrunk, (height * cosine - width * sine) / shrunk


def restored_frequencies(small: Floats, maps: NDArray[np.float32]) -> Iterator[Floats]:
    """Yield the 16x16 lowest frequencies of restorations of a picture.

    Beyond its edge, its outermost pixels are repeated.

    Args:
        small: the means of its boxes, shape (128, 128).
        maps: shape (restorations, 6), as `restoration_maps` returns it.
    """
    row, column = np.arange(SIDE, dtype=np.float32)[:, None], np.arange(SIDE, dtype=np.float32)
    for a, b, c, d, e, f in maps:
        if not b and not d:
            # Rows and columns are moved apart from each other, so that the weights say it all.
            found = _moved_weights(e, f) @ small @ _moved_weights(a, c).T
        else:
            left, beside = _between(a * column + b * row + c)
            top, below = _between(d * column + e * row + f)
            lines = [
                small[at, left] + (small[at, left + 1] - small[at, left]) * beside for at in (top, top + 1)
            ]
            found = _DCT @ (lines[0] + (lines[1] - lines[0]) * below) @ _DCT.T
        yield np.asarray(found, np.float32)


def _between(places: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return the pixel before each place, and the share of the next; places beyond the edge are clamped."""
    places = places.clip(0, np.float32(BOXES - 1))
    before = np.minimum(places.astype(np.int32), BOXES - 2)
    return before, places - before.astype(np.float32)


@lru_cache(maxsize=64)
def _moved_weights(scale: float, offset: float) -> Floats:
    """Return the cosine transform of a side that is sampled at other places, shape (16, 128)."""
    before, share = _between(np.float32(scale) * np.arange(SIDE, dtype=np.float32) + np.float32(offset))
    weights = np.zeros((SIDE, BOXES), np.float32)
    places = np.arange(SIDE)
    weights[places, before] = 1 - share
    weights[places, before + 1] = share
    return _DCT @ weights
