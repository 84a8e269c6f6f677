"""Extract brightness (luma) and transparency (alpha) of loaded pictures; compose over backgrounds.

Pages are white, dark pages and slide shows black or dark grey, and viewers of single pictures grey or
chequered; browsers show single pictures over light grey. The picture over another grey is between these,
since all viewers compose the stored values. But the mean of two pictures may show a third, so the greys must
be close to each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.variants import OVER_BLACK, OVER_DARK_GREY, OVER_GREY, OVER_LIGHT_GREY, OVER_WHITE

_STRIP_PIXELS = 1 << 20
_BITS_PER_SAMPLE = 258


def luma_of(image: Image.Image) -> NDArray[np.uint8]:
    """Return the brightness of a loaded picture, shape (height, width).

    Colours have the weights of ITU-R 601-2, as in Pillow and other hashing tools. Transparency is ignored:
    colours are hashed as if they were opaque.
    """
    with without_transparent_colour(image):
        return _luma(image)


_COLOURED = frozenset({"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr"})
_COLOURS_MAX = 4_000_000
"""Pixels of a picture from which its colours are only returned reduced."""


def colours_of(image: Image.Image) -> NDArray[np.uint8] | None:
    """Return the colours of a loaded picture, shape (height, width, 3); None if it is grey.

    Transparency is ignored, as in `luma_of`. A picture of many pixels is reduced by a whole number.
    """
    if image.mode not in _COLOURED:
        return None
    scale = 1
    while image.width * image.height > _COLOURS_MAX * scale**2:
        scale += 1
    with without_transparent_colour(image):
        if image.mode == "RGBa":
            image = image.convert("RGBA")
        if scale > 1 and image.mode in {"P", "PA"}:
            # A mean of palette indices is no colour.
            image = image.convert("RGB")
        smaller = image if scale == 1 else image.reduce(scale)
        return np.asarray(smaller.convert("RGB"))


@contextmanager
def without_transparent_colour(image: Image.Image) -> Iterator[None]:
    """Remove a picture's transparent colour from its metadata while it is converted.

    Pillow would convert it with the picture, and warns of some such colours or fails on them. It is restored
    afterwards: Pillow may need it to compose the next frame of an animation.
    """
    transparency = image.info.pop("transparency", None)
    try:
        yield
    finally:
        if transparency is not None:
            image.info["transparency"] = transparency


def _luma(image: Image.Image) -> NDArray[np.uint8]:
    luma = np.empty((image.height, image.width), np.uint8)
    # Pasting into a picture that uses the array's memory avoids two copies that np.asarray makes.
    view = Image.frombuffer("L", image.size, luma, "raw", "L", 0, 1)
    view.readonly = 0
    if image.mode == "L":
        view.paste(image)
    elif image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        low, high = _value_range(image)
        for top, strip in strips(image):
            luma[top : top + strip.height] = _scaled(strip, low, high)
    else:
        for top, strip in strips(image):
            view.paste(_grey(strip), (0, top))
    return luma


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield a picture in strips from top to bottom, so that no whole copy of a large one is converted."""
    width, height = image.size
    step = max(1, _STRIP_PIXELS // width)
    if step >= height:
        yield 0, image
        return
    for top in range(0, height, step):
        yield top, image.crop((0, top, width, min(top + step, height)))


def _grey(image: Image.Image) -> Image.Image:
    """Convert a picture with eight bits a sample to grey."""
    match image.mode:
        case "LAB" | "LA" | "YCbCr":
            return image.getchannel(0)
        case "RGBa":
            # The colours are stored multiplied by their opacity.
            return image.convert("RGBA").convert("L")
        case "La":
            return image.convert("LA").getchannel(0)
        case _:
            return image.convert("L")


def _scaled(strip: Image.Image, low: float, high: float) -> NDArray[np.uint8]:
    """Scale values of more than eight bits to 0 to 255; Pillow's own conversion would clip them at 255."""
    values = np.nan_to_num(np.asarray(strip, np.float64), nan=low, posinf=high, neginf=low)
    factor = 255 / (high - low) if high > low else 0.0
    return np.rint(np.clip((values - low) * factor, 0, 255)).astype(np.uint8)


def _value_range(image: Image.Image) -> tuple[float, float]:
    """Return the values that mean black and white."""
    if image.mode.startswith("I;16"):
        # 12 bits is the only depth below 16 that Pillow does not scale.
        twelve_bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,)
        return 0.0, 4095.0 if twelve_bits else 65535.0
    low, high = np.inf, -np.inf
    for _, strip in strips(image):
        values = np.asarray(strip)
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    # Pictures within a customary range are not stretched, so that faint ones stay faint; all others are.
    for customary in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
        if low >= 0 and high <= customary:
            return 0.0, customary
    return low, high


Plane = NDArray[np.uint8]

BACKGROUNDS = {OVER_WHITE: 255, OVER_BLACK: 0, OVER_GREY: 128, OVER_LIGHT_GREY: 230, OVER_DARK_GREY: 40}
"""The brightness of the background, by look."""

_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_PREMULTIPLIED = frozenset({"RGBa", "La"})
_STRIP_VALUES = 1 << 18


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
    for start in range(0, flat.size, _STRIP_VALUES):
        here = slice(start, start + _STRIP_VALUES)
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
