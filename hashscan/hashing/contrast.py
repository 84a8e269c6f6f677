"""Render pictures whose brightness hardly varies: raise their contrast, and extract their chroma planes.

PDQ gives a picture with little contrast in brightness a low quality, so it is not matched. People can still
see such a picture if it is faint, or if it is drawn in colours of one brightness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.luma import strips, without_transparent_colour
from hashscan.hashing.variants import CB, CR

Plane = NDArray[np.uint8]

_LEAST = 6
"""Minimum grey levels between the 5th and 95th percentile of a plane's values; below, nothing is visible."""
_DARK, _BRIGHT = 32, 224
"""New values of the two percentiles; they leave room for the values beyond, so that these stay distinct."""


def raise_contrast(plane: Plane) -> Plane | None:
    """Raise the contrast of a plane; return it unchanged if it has enough, None if nothing is visible in it.

    Percentiles are used, not the minimum and maximum, which a single black or white spot or line would set.
    """
    image = Image.fromarray(plane)
    shares = np.cumsum(image.histogram()) / plane.size
    low, high = int(np.searchsorted(shares, 0.05)), int(np.searchsorted(shares, 0.95))
    if high - low < _LEAST:
        return None
    if high - low >= _BRIGHT - _DARK:
        return plane
    table = (np.arange(256) - low) * ((_BRIGHT - _DARK) / (high - low)) + _DARK
    return np.asarray(image.point(np.rint(table.clip(0, 255)).astype(int).tolist()))


def is_grey(image: Image.Image) -> bool:
    """Return True if a picture's mode has no colours."""
    return image.mode in {"1", "L", "LA", "La", "I", "F"} or image.mode.startswith("I;16")


def chroma_planes(image: Image.Image) -> list[tuple[int, Plane]]:
    """Return the chroma planes of a loaded picture with their looks, contrast raised; none for a grey one."""
    if is_grey(image):
        return []
    planes = np.empty((2, image.height, image.width), np.uint8)
    with without_transparent_colour(image):
        for top, strip in strips(image):
            planes[:, top : top + strip.height] = np.moveaxis(_colours(strip)[:, :, 1:], 2, 0)
    clear = ((look, raise_contrast(plane)) for look, plane in zip((CB, CR), planes, strict=True))
    return [(look, plane) for look, plane in clear if plane is not None]


def _colours(strip: Image.Image) -> NDArray[np.uint8]:
    """Return shape (height, width, 3): brightness and two chroma planes."""
    if strip.mode not in {"YCbCr", "LAB"}:
        if strip.mode in {"RGBa", "PA"}:
            strip = strip.convert("RGBA")
        strip = strip.convert("RGB").convert("YCbCr")
    return np.asarray(strip)[:, :, :3]
