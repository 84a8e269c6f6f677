"""Decode the pixels of a JPEG with private functions of Pillow, directly into the target array.

Another version of Pillow may have other functions. So they are tested with a built-in sample before the first
untrusted picture; if the test fails, Pillow's public functions decode all pictures. This module is the only
part of Pillow that the scan's own process loads, in order to state the result in the report.
"""

from __future__ import annotations

import base64
from functools import cache

import numpy as np
from numpy.typing import NDArray

try:
    from PIL import _imaging
except ImportError:
    _imaging = None  # type: ignore[assignment]

_SAMPLE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1x"
    "eXBkeFxlZ2P/wAALCAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAAYH/8QAFhAAAwAAAAAAAAAAAAAAAAAAABVi/9oACAEBAAA/AJ9P"
    "ITyaAnkJ5P/Z"
)
_SAMPLE_SIZE = 16, 16
_SAMPLE_ROWS = [1, 3, 5, 7, 9, 11, 13, 15]
"""Brightness of the sample's rows at half size, in sixteenths of the range."""


def decode(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    """Decode the brightness of a JPEG.

    Args:
        content: the whole file.
        size: its width and height in pixels.
        scale: 1, 2, 4 or 8: the factor by which it is reduced while it is decoded.

    Returns:
        Shape (height, width); None if the file is incomplete or faulty, or this Pillow lacks the functions.
    """
    return _tried(content, size, scale) if private_decoder_works() else None


@cache
def private_decoder_works() -> bool:
    """Return True if Pillow's private functions decode the sample; if not, its public ones are used."""
    luma = _tried(_SAMPLE, _SAMPLE_SIZE, 2)
    return luma is not None and np.rint(luma.mean(axis=1) / 16).tolist() == _SAMPLE_ROWS


def _tried(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    try:
        return _decode(content, size, scale)
    except MemoryError:
        raise
    except Exception:
        # Another version of Pillow may raise any exception for these arguments.
        return None


def _decode(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    width, height = -(-size[0] // scale), -(-size[1] // scale)
    luma = np.empty((height, width), np.uint8)
    # A picture that uses the array's memory.
    picture = _imaging.map_buffer(luma, (width, height), "raw", 0, ("L", 0, 1))
    decoder = _imaging.jpeg_decoder("L", "L", "", scale, 0)
    try:
        decoder.setimage(picture, (0, 0, width, height))
        state, error = decoder.decode(content)
    finally:
        decoder.cleanup()
    # A state below 0 means done, one above means that more bytes are needed.
    return luma if state < 0 <= error else None
