"""Renderings of pictures whose brightness hardly varies: with more contrast, and their planes of colour.

PDQ takes a picture for no picture where there is little contrast in its brightness. People still see one, if
it is faint, or if it is drawn in colours of one brightness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.luma import strips, without_key
from hashscan.hashing.variants import CB, CR

Plane = NDArray[np.uint8]

_LEAST = 6
"""Greys between the 5th and the 95th hundredth of a plane's values, below which there is nothing to see."""
_DARK, _BRIGHT = 32, 224
"""What these become, so that values beyond them stay apart, too."""


def raised(plane: Plane) -> Plane | None:
    """A plane with its contrast raised, the same where it has enough; None where there is nothing to see.

    Single spots and lines that are black or white change nothing, as they would the least and largest value.
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
    """Return whether a picture has no colours by its mode."""
    return image.mode in {"1", "L", "LA", "La", "I", "F"} or image.mode.startswith("I;16")


def chroma_planes(image: Image.Image) -> list[tuple[int, Plane]]:
    """The planes of colour of a loaded picture with their looks, contrast raised; none of a grey one."""
    if is_grey(image):
        return []
    planes = np.empty((2, image.height, image.width), np.uint8)
    with without_key(image):
        for top, strip in strips(image):
            planes[:, top : top + strip.height] = np.moveaxis(_colours(strip)[:, :, 1:], 2, 0)
    clear = ((look, raised(plane)) for look, plane in zip((CB, CR), planes, strict=True))
    return [(look, plane) for look, plane in clear if plane is not None]


def _colours(strip: Image.Image) -> NDArray[np.uint8]:
    """Shape (height, width, 3): brightness, and two planes of colour."""
    if strip.mode not in {"YCbCr", "LAB"}:
        if strip.mode in {"RGBa", "PA"}:
            strip = strip.convert("RGBA")
        strip = strip.convert("RGB").convert("YCbCr")
    return np.asarray(strip)[:, :, :3]
