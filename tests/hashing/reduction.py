"""Pictures reduced, and the tables for it, in plain numpy, to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_reduction import (
    PLAIN_WAY,
    SIDE,
    Floats,
    ReductionMode,
    _matrix,
    reduction_factor,
    reductions,
)


def reduced(luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> Floats:
    """The picture blurred and reduced to shape (64, 64), brightness 0 to 255."""
    (found,) = reductions(luma, stored, ((PLAIN_WAY,),))
    small: Floats = found[0, :, 0]
    return small


def tables(length: int, kept: int, ways: tuple[ReductionMode, ...]) -> tuple[NDArray[np.int32], Floats]:
    """Return the content of `kernel.taps` as arrays."""
    matrices = [_matrix(length, reduction_factor(length, kept), way) for way in ways]
    spans = np.empty((len(ways), SIDE, 2), np.int32)
    for span, (starts, rows) in zip(spans, matrices, strict=True):
        span[:, 0] = starts
        # Behind a row's last weight there are zeros, for which there may be no pixels.
        span[:, 1] = np.minimum(rows.shape[1] - np.argmax(rows[:, ::-1] != 0, axis=1), kept - starts)
    most = int(spans[:, :, 1].max())
    weights = np.zeros((len(ways), SIDE, most), np.float32)
    for block, (_, rows) in zip(weights, matrices, strict=True):
        block[:, : rows.shape[1]] = rows[:, :most]
    return spans, weights
