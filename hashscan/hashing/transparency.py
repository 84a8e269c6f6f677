"""Read the transparency (alpha) of loaded pictures, and compose their brightness over viewers' backgrounds.

Pages are white, dark pages and slide shows black or dark grey, and viewers of single pictures grey or
chequered; browsers show single pictures over light grey. The picture over another grey is between these,
since all viewers compose the stored values. But the mean of two pictures may show a third, so the greys must
be close to each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.luma import strips
from hashscan.hashing.variants import OVER_BLACK, OVER_DARK_GREY, OVER_GREY, OVER_LIGHT_GREY, OVER_WHITE

Plane = NDArray[np.uint8]

BACKGROUNDS = {OVER_WHITE: 255, OVER_BLACK: 0, OVER_GREY: 128, OVER_LIGHT_GREY: 230, OVER_DARK_GREY: 40}
"""The brightness of the background, by look."""

_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_PREMULTIPLIED = frozenset({"RGBa", "La"})
_STRIP = 1 << 18


def may_be_translucent(image: Image.Image) -> bool:
    """Return True if an opened picture has opacity information."""
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def alpha_of(image: Image.Image, depth: int = 8) -> Plane | None:
    """Return `opacity_of`, but None if all pixels are equally opaque.

    Over any background, such a picture changes in contrast only.
    """
    alpha = opacity_of(image, depth)
    return None if alpha is None or alpha.min() == alpha.max() else alpha


def opacity_of(image: Image.Image, depth: int = 8) -> Plane | None:
    """Return the opacity of each pixel, shape (height, width), 255 for opaque.

    Args:
        image: the picture, loaded.
        depth: bits of a sample in the file; the transparent grey of a PNG is stored with this depth.

    Returns:
        The opacity; None if the picture has no opacity information.

    Raises:
        NotImplementedError: the picture has a transparent colour of more bits than were decoded.
    """
    if image.mode in _WITH_ALPHA:
        return np.asarray(image.getchannel(len(image.getbands()) - 1))
    key = image.info.get("transparency")
    if key is None:
        return None
    alpha = np.empty((image.height, image.width), np.uint8)
    for top, strip in strips(image):
        alpha[top : top + strip.height] = _keyed(strip, key, depth)
    return alpha


def _keyed(strip: Image.Image, key: object, depth: int) -> Plane:
    """Return the opacity of a strip with a transparent colour, or with an opacity for each palette colour."""
    if strip.mode == "P" and isinstance(key, bytes):
        table = np.frombuffer(key[:256].ljust(256, b"\xff"), np.uint8)
        opacity: Plane = table[np.asarray(strip)]
        return opacity
    if isinstance(key, int):
        if strip.mode == "L" and depth < 8:
            key *= 255 // ((1 << depth) - 1)
        transparent = np.asarray(strip) == (bool(key) if strip.mode == "1" else key)
    elif isinstance(key, tuple) and strip.mode == "RGB":
        if depth > 8:
            raise NotImplementedError
        transparent = (np.asarray(strip) == key).all(axis=2)
    else:
        # The key is not valid for this mode, as for a converted picture with the key of its former mode.
        transparent = np.zeros((strip.height, strip.width), bool)
    return np.where(transparent, np.uint8(0), np.uint8(255))


def compose_over(luma: Plane, alpha: Plane, background: int) -> Plane:
    """Compose a picture over one background as browsers do: with the stored values, not with linear light.

    Args:
        luma: brightness of the colours as if they were opaque, shape (height, width).
        alpha: opacity, of the same shape.
        background: brightness of the background.
    """
    out = np.empty_like(luma)
    flat, opaque, result = luma.ravel(), alpha.ravel(), out.ravel()
    for start in range(0, flat.size, _STRIP):
        here = slice(start, start + _STRIP)
        weights = opaque[here].astype(np.uint16)
        values = flat[here] * weights
        values += np.uint16(background) * (np.uint16(255) - weights)
        values += np.uint16(127)
        values //= np.uint16(255)
        result[here] = values
    return out


def premultiplied_luma(image: Image.Image) -> Plane | None:
    """Return the brightness of colours that are stored multiplied by their opacity; None for other pictures.

    Viewers that ignore opacity show this brightness.
    """
    if image.mode not in _PREMULTIPLIED:
        return None
    bands = image.split()[:-1]
    luma = bands[0] if len(bands) == 1 else Image.merge("RGB", bands).convert("L")
    return np.asarray(luma)
