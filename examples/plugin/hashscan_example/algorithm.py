"""A perceptual hash: a bit for each of 8x8 blocks, set if it is brighter than the median of all."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.hash_algorithms import PictureHash
from hashscan_example import BLOCKMEAN

_SIDE = 8


class BlockMean(PictureHash):
    """The means of 8x8 blocks, compared with their median."""

    name = "blockmean"
    algorithm = BLOCKMEAN

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture, shape (height, width)."""
        rows, columns = (np.linspace(0, size, _SIDE + 1).astype(int) for size in luma.shape)
        means = np.array(
            [
                [
                    luma[top : max(bottom, top + 1), left : max(right, left + 1)].mean()
                    for left, right in pairwise(columns)
                ]
                for top, bottom in pairwise(rows)
            ]
        )
        return np.packbits(means > np.median(means)).tobytes(), 100
