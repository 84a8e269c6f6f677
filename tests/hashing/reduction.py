"""The plain way to reduce a picture, for tests of what follows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_reduction import PLAIN_WAY, Floats, reductions


def reduced(luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> Floats:
    """The picture blurred and reduced to shape (64, 64), brightness 0 to 255."""
    (found,) = reductions(luma, stored, ((PLAIN_WAY,),))
    small: Floats = found[0, :, 0]
    return small
