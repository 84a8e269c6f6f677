"""Compute PDQ of the four quadrants of a picture, as one hash: it finds copies that something lies over.

A sticker or a caption changes PDQ of the whole picture, but not that of the quadrants that it leaves free.
Two quadrants of four that are alike are enough for a review; see `benchmarks/recall/near_copies.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.hash_algorithms import PictureHash
from hashscan.hashing.media.borders import Luma, Size, crop_luma
from hashscan.hashing.pdq import PDQ
from hashscan.model import ALGORITHMS, QUADRANTS

MIN_SIDE = 128
"""Minimum side of a picture in pixels, as stored: a quadrant of one needs the 64 of PDQ."""


class PDQQuadrants(PictureHash):
    """PDQ of the upper left, upper right, lower left and lower right quadrant, concatenated.

    The value of a quadrant is zero, which is near no other, if its quality is below that of PDQ's matches. So
    is that of all quadrants of a small picture.
    """

    name = QUADRANTS
    first_only = True

    def __init__(self) -> None:
        self._pdq = PDQ()

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture; arguments as those of `PictureHash.digest`.

        Returns:
            The values of the quadrants, 128 bytes, and 100: quadrants have qualities of their own.
        """
        if min(stored or luma.shape) < MIN_SIDE:
            return bytes(ALGORITHMS[self.name].size), 100
        return b"".join(self._value(*part) for part in _quadrants(luma, stored)), 100

    def _value(self, luma: Luma, stored: Size | None) -> bytes:
        value, quality = self._pdq.digest(luma, stored)
        return value if quality >= ALGORITHMS[self._pdq.name].min_quality else bytes(len(value))


def _quadrants(luma: Luma, stored: Size | None) -> Iterator[tuple[Luma, Size | None]]:
    """Yield the arguments of `PictureHash.digest` for each.

    If a side has an odd number of pixels, no quadrant has the line in the middle.
    """
    height, width = luma.shape
    down, across = height // 2, width // 2
    for top in (0, height - down):
        for left in (0, width - across):
            yield crop_luma(luma, stored, (top, top + down, left, left + across))
