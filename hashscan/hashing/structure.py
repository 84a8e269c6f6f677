"""Detect pictures that perceptual hashes confuse with each other (false positives), from their 64x64 buffer.

Tables, screens of text, codes, charts and logos have much contrast, so PDQ gives them a high quality. But
they consist of a few grey levels or of rows and columns, and at 64x64 all pictures with the same layout look
much the same. Measured over photos and pictures drawn by code; `benchmarks/recall/recall.py` shows the cost
and benefit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.variants import FEW_GREYS, ROWS_AND_COLUMNS

_BINS = 32
_MOST = 0.55
"""Share of the picture with one brightness, in 32 steps, above which it may have too few grey levels."""
_BITS = 2.5
"""Entropy in bits of the brightness, in 32 steps, below which it has: one photo in a hundred is below."""
_ALIKE = 0.98
"""Share of the variance explained by the means of rows and columns, above which the picture counts as made of
rows and columns; no measured photo had as much."""

LIMITS = (_MOST, _BITS, _ALIKE)
"""The three limits, for the C loops."""


def similarity_doubt(small: NDArray[np.float32]) -> int:
    """Return the index in `variants.DOUBTS` of the reason why similarity says little; 0 if there is none.

    Args:
        small: brightness 0 to 255, shape (64, 64).
    """
    # Rounded, so that integer grey levels at the edge of a step are all counted on the same side of it.
    steps = (small.clip(0, 255) + np.float32(0.5)).astype(np.uint8).ravel() >> 3
    shares = np.bincount(steps, minlength=_BINS) / small.size
    if shares.max() > _MOST:
        seen = shares[shares > 0]
        if -float((seen * np.log2(seen)).sum()) < _BITS:
            return FEW_GREYS
    rows, columns = small.mean(axis=1, dtype=np.float64), small.mean(axis=0, dtype=np.float64)
    explained = float(rows.var() + columns.var())
    return ROWS_AND_COLUMNS if explained > _ALIKE * float(small.var(dtype=np.float64)) else 0
