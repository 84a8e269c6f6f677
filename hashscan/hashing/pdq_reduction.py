"""PDQ's first step: a picture blurred and reduced to 64x64, as a product with the box filter's weights.

The 64x64 picture is R·X·Cᵗ, where R and C hold the weights of the reference's two passes of a box filter for
the 64 rows and columns it keeps. Other ways to reduce are other weights, applied to the same rows in the same
pass over the picture:

- mirrored: the reference's windows and positions lie off the middle by a pixel, so a small picture and its
  mirror image are not reduced to mirror images: their hashes differ by 13 bits at 480 pixels a side, and
  seldom by less at 512x512.
- squared: the reference's program for files takes the nearest of 512x512 pixels first.
- enlarged: the filter hardly blurs a small picture, and keeps pixels that lie off the 64 places by a good
  part of their distance. Quarter-sized copies lie 18 bits from their photos, 8 if they are enlarged first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_weights import PLAIN_WAY, SIDE, Floats, Way, bands

_WIDE = 1 << 14
"""From this width on columns are summed up first, since a kilobyte is held for each."""


def reduced(luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> Floats:
    """The picture blurred and reduced to shape (64, 64), brightness 0 to 255."""
    height, width = stored or luma.shape
    if luma.shape == (height, width) == (SIDE, SIDE):
        return luma.astype(np.float32)
    (found,) = reductions(luma, stored, ((PLAIN_WAY,),))
    small: Floats = found[0, :, 0]
    return small


def reductions(
    luma: NDArray[np.uint8], stored: tuple[int, int] | None, groups: tuple[tuple[Way, ...], ...]
) -> list[Floats]:
    """The picture reduced in several ways.

    Args:
        luma: brightness, shape (height, width).
        stored: as for `PictureHash.digest`.
        groups: the ways of each group are combined, those for rows with those for columns.

    Returns:
        For each group of n ways shape (n, 64, n, 64): the way for rows, row, the way for columns, column.
    """
    if luma.shape[1] > _WIDE and luma.shape[0] < luma.shape[1]:
        turned = reductions(luma.T, None if stored is None else stored[::-1], groups)
        return [found.transpose(2, 3, 0, 1) for found in turned]
    height, width = stored or luma.shape
    ways = tuple(way for group in groups for way in group)
    of_rows = bands(height, luma.shape[0], ways)
    step = SIDE // len(of_rows)
    # A band of rows at a time, so that no float copy of a large picture is ever made.
    values = np.empty((max(band.stop - band.start for band in of_rows), luma.shape[1]), np.float32)
    wide = np.empty((len(ways), SIDE, luma.shape[1]), np.float32)
    for number, (start, stop, weights) in enumerate(of_rows):
        rows = values[: stop - start]
        rows[:] = luma[start:stop]
        sums = weights.reshape(-1, stop - start) @ rows
        wide[:, number * step : (number + 1) * step] = sums.reshape(len(ways), step, -1)
    found = []
    begin = 0
    for group in groups:
        of_group = wide[begin : begin + len(group)].reshape(len(group) * SIDE, -1)
        begin += len(group)
        of_columns = bands(width, luma.shape[1], group)
        step = SIDE // len(of_columns)
        small = np.empty((len(of_group), len(group), SIDE), np.float32)
        for number, (start, stop, weights) in enumerate(of_columns):
            sums = of_group[:, start:stop] @ weights.reshape(-1, stop - start).T
            small[:, :, number * step : (number + 1) * step] = sums.reshape(len(small), len(group), step)
        found.append(small.reshape(len(group), SIDE, len(group), SIDE))
    return found
