"""Whether a picture is of those that perceptual hashes take for each other, judged by its 64x64 buffer.

Tables, screens of text, codes, charts and logos have much contrast, so PDQ calls them good. But they are made
of a few greys or of rows and columns, and what is left of that at 64x64 is much the same in all of a layout.
Measured over photos and pictures drawn by code; `benchmarks/recall.py` says what it costs and saves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.variants import FEW_GREYS, ROWS_AND_COLUMNS

_BINS = 32
_MOST = 0.55
"""Share of the picture that is of one brightness, in 32 steps, from which on there may be too few others."""
_BITS = 2.5
"""Entropy of the brightness, in 32 steps, below which there are: one photo in a hundred has so little."""
_ALIKE = 0.98
"""Share of the variance that the means of rows and columns explain; no photo measured had so much."""

LIMITS = (_MOST, _BITS, _ALIKE)
"""The same for the loops in C."""


def doubt_of(small: NDArray[np.float32]) -> int:
    """Place in `variants.DOUBTS` of what speaks against likeness; 0 where nothing does.

    Args:
        small: brightness 0 to 255, shape (64, 64).
    """
    # Rounded, so that whole greys at the edge of a step are all counted on one side of it.
    steps = (small.clip(0, 255) + np.float32(0.5)).astype(np.uint8).ravel() >> 3
    shares = np.bincount(steps, minlength=_BINS) / small.size
    if shares.max() > _MOST:
        seen = shares[shares > 0]
        if -float((seen * np.log2(seen)).sum()) < _BITS:
            return FEW_GREYS
    rows, columns = small.mean(axis=1, dtype=np.float64), small.mean(axis=0, dtype=np.float64)
    explained = float(rows.var() + columns.var())
    return ROWS_AND_COLUMNS if explained > _ALIKE * float(small.var(dtype=np.float64)) else 0
