"""The brightness of a loaded picture, whatever its colours are stored as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STRIP_PIXELS = 1 << 20
_BITS_PER_SAMPLE = 258


def luma_of(image: Image.Image) -> NDArray[np.uint8]:
    """The brightness of a loaded picture, as Pillow and the field's other tools weigh colours (ITU-R 601-2).

    Transparency is dropped: the colours beneath are hashed as if they were opaque.
    """
    with without_key(image):
        return _luma(image)


@contextmanager
def without_key(image: Image.Image) -> Iterator[None]:
    """Forget which colour of a picture is transparent while it is converted.

    It would be converted with the picture, and Pillow warns of some or fails on some. It is put back: the
    next frame of an animation may be composed by it.
    """
    transparency = image.info.pop("transparency", None)
    try:
        yield
    finally:
        if transparency is not None:
            image.info["transparency"] = transparency


def _luma(image: Image.Image) -> NDArray[np.uint8]:
    luma = np.empty((image.height, image.width), np.uint8)
    # Pasting into a picture that lies in the array's memory spares two copies that np.asarray makes.
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
    """A picture from top to bottom, so that no converted copy of a large one is ever whole."""
    width, height = image.size
    step = max(1, _STRIP_PIXELS // width)
    if step >= height:
        yield 0, image
        return
    for top in range(0, height, step):
        yield top, image.crop((0, top, width, min(top + step, height)))


def _grey(image: Image.Image) -> Image.Image:
    """A picture in colours of eight bits, without them."""
    match image.mode:
        case "LAB" | "LA" | "YCbCr":
            return image.getchannel(0)
        case "RGBa":
            # Colours already multiplied by their transparency.
            return image.convert("RGBA").convert("L")
        case "La":
            return image.convert("LA").getchannel(0)
        case _:
            return image.convert("L")


def _scaled(strip: Image.Image, low: float, high: float) -> NDArray[np.uint8]:
    """Values of more than eight bits, scaled; Pillow's own conversion would clip them at 255."""
    values = np.nan_to_num(np.asarray(strip, np.float64), nan=low, posinf=high, neginf=low)
    factor = 255 / (high - low) if high > low else 0.0
    return np.rint(np.clip((values - low) * factor, 0, 255)).astype(np.uint8)


def _value_range(image: Image.Image) -> tuple[float, float]:
    """The values that are black and white."""
    if image.mode.startswith("I;16"):
        # The only depth below 16 that Pillow leaves as it is.
        twelve_bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,)
        return 0.0, 4095.0 if twelve_bits else 65535.0
    low, high = np.inf, -np.inf
    for _, strip in strips(image):
        values = np.asarray(strip)
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    # The customary ranges keep faint pictures faint; anything else is stretched.
    for customary in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
        if low >= 0 and high <= customary:
            return 0.0, customary
    return low, high
