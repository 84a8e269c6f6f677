"""Define the decoded pictures (frames) of a file, and the limits on how much of a file is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.opening import DEFAULT_MAX_PIXELS
from hashscan.hashing.variants import WHOLE, Part


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on how much of one file is decoded."""

    max_pixels: int = DEFAULT_MAX_PIXELS
    """Maximum pixels of one picture (see `DEFAULT_MAX_PIXELS`)."""

    frames: int = 1000
    """Maximum pictures of one file: some 40 seconds of animation."""

    total_pixels: int = 400_000_000
    """Maximum pixels of all pictures together; decoding them took 2 (WebP) to 8 (PNG) seconds."""

    seconds: float = 10.0
    """Maximum processor time for all frames together; it must leave the decoder time to reply."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture of a file, reduced to its brightness."""

    luma: NDArray[np.uint8]
    """Brightness, shape (height, width), 0 black to 255 white; that of a JPEG may be at a smaller scale."""
    width: int
    """Width as stored, in pixels."""
    height: int
    """Height as stored, in pixels."""
    blocks_of: tuple[int, int] | None = None
    """Height and width of the stored picture if `luma` holds the means of its blocks; else None."""
    orientation: int = 1
    """EXIF orientation, 1 to 8: the turn that viewers apply; `luma` is as stored."""
    part: Part = WHOLE
    """Its kind and number among the pictures of the file."""
    seconds: float = inf
    """Display time in one run of an animation; infinite for a still picture or the last frame.

    0 for a preview, which seldom shows anything else than the file's first picture.
    """
    look: int = 0
    """Place in `variants.LOOKS`: how `luma` was made of what is stored."""
    chroma: Callable[[bool, bool], Iterator[Frame]] | None = None
    """Gives its planes of colour, of all of it and of what is even in brightness, each if it is wanted, until
    the next frame is asked for."""
