"""Convert a loaded picture of any colour mode to its brightness (luma)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STRIP_PIXELS = 1 << 20
_BITS_PER_SAMPLE = 258


def luma_of(image: Image.Image) -> NDArray[np.uint8]:
    """Return the brightness of a loaded picture, shape (height, width).

    Colours have the weights of ITU-R 601-2, as in Pillow and other hashing tools. Transparency is ignored:
    colours are hashed as if they were opaque.
    """
    with without_transparent_colour(image):
        return _luma(image)


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
