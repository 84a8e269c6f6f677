"""The transparency of loaded pictures, and their brightness over the backgrounds that viewers have.

Pages are white, dark pages and slide shows black or a dark grey, and viewers of single pictures grey or
chequered; browsers show those over a light grey. What is shown over another grey lies between these, since
all of them compose the stored values. But the mean of two pictures may be a third: they must be close.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.luma import strips
from hashscan.hashing.variants import OVER_BLACK, OVER_DARK_GREY, OVER_GREY, OVER_LIGHT_GREY, OVER_WHITE

Plane = NDArray[np.uint8]

BACKGROUNDS = {OVER_WHITE: 255, OVER_BLACK: 0, OVER_GREY: 128, OVER_LIGHT_GREY: 230, OVER_DARK_GREY: 40}
"""By look, the brightness behind a picture."""

_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_PREMULTIPLIED = frozenset({"RGBa", "La"})
_STRIP = 1 << 18


def may_be_translucent(image: Image.Image) -> bool:
    """Whether an opened picture has something to say of opacity."""
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def alpha_of(image: Image.Image, depth: int = 8) -> Plane | None:
    """The same as `opacity_of`; None also where all pixels are equally opaque, so that any background changes
    contrast alone."""
    alpha = opacity_of(image, depth)
    return None if alpha is None or alpha.min() == alpha.max() else alpha


def opacity_of(image: Image.Image, depth: int = 8) -> Plane | None:
    """How opaque each pixel is, shape (height, width), 255 where nothing shines through.

    Args:
        image: loaded.
        depth: bits of a sample in the file; the transparent grey of a PNG is given in these.

    Returns:
        None where nothing is said of opacity.

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
    """The same for a picture in which one colour is transparent, or each of a palette somewhat."""
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
        # Not said of this kind of picture, as a key of another kind is of a converted one.
        transparent = np.zeros((strip.height, strip.width), bool)
    return np.where(transparent, np.uint8(0), np.uint8(255))


def composed(luma: Plane, alpha: Plane, background: int) -> Plane:
    """A picture over one background, as browsers compose it: by the stored values, not by light.

    Args:
        luma: brightness of the colours as if they were opaque, shape (height, width).
        alpha: of the same shape.
        background: brightness.
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
    """The brightness of colours that are stored multiplied by their opacity, as viewers show that have no
    regard to it; None for others."""
    if image.mode not in _PREMULTIPLIED:
        return None
    bands = image.split()[:-1]
    luma = bands[0] if len(bands) == 1 else Image.merge("RGB", bands).convert("L")
    return np.asarray(luma)
