"""The decoded pictures of a file, and how much of it is decoded."""

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
    """How much of one file is decoded."""

    max_pixels: int = DEFAULT_MAX_PIXELS
    """Of one picture (see there)."""

    frames: int = 1000
    """Pictures of one file: some 40 seconds of animation."""

    total_pixels: int = 400_000_000
    """Of all pictures together; decoding them took 2 (WebP) to 8 (PNG) seconds."""

    seconds: float = 10.0
    """Of processor time for all frames together; it must leave the decoder time to answer."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture of a file, without its colours."""

    luma: NDArray[np.uint8]
    """Brightness, shape (height, width), 0 black to 255 white; a JPEG's may be at a smaller scale."""
    width: int
    """As stored, in pixels."""
    height: int
    """As stored, in pixels."""
    blocks_of: tuple[int, int] | None = None
    """Height and width of the stored picture where `luma` holds the means of its blocks; else None."""
    orientation: int = 1
    """How it is to be turned to be shown, 1 to 8 as in EXIF; `luma` is as stored."""
    part: Part = WHOLE
    """What it is to its file."""
    seconds: float = inf
    """How long it is shown in one run of an animation; for ever if it is none, or the last of one.

    0 for a preview, which seldom shows anything else than the file's first picture.
    """
    look: int = 0
    """Place in `variants.LOOKS`: how `luma` was made of what is stored."""
    chroma: Callable[[bool, bool], Iterator[Frame]] | None = None
    """Gives its planes of colour, of all of it and of what is even in brightness, each if it is wanted, until
    the next frame is asked for."""
