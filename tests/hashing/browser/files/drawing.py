"""Draw the scene that all files show."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.media.icc_profiles import SRGB_COLORANTS, make_profile
from tests.pictures import scene

Pixels = NDArray[np.uint8]

SIZE = WIDTH, HEIGHT = 160, 120

SRGB, P3, ADOBE, PROPHOTO = (
    SRGB_COLORANTS,
    np.array([[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]]),
    np.array([[0.6097, 0.3111, 0.0195], [0.2053, 0.6257, 0.0609], [0.1492, 0.0632, 0.7446]]),
    np.array([[0.7977, 0.2880, 0.0000], [0.1352, 0.7119, 0.0000], [0.0313, 0.0001, 0.8249]]),
)


@cache
def drawn(seed: int = 1, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Return a picture in colours; it is shared, so don't change it."""
    return scene(seed, width, height)


def grey(seed: int = 1, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """Return a picture's brightness, shape (height, width)."""
    return np.asarray(drawn(seed, width, height).convert("L"))


def rgb(seed: int = 1, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """Return a picture's colours, shape (height, width, 3)."""
    return np.asarray(drawn(seed, width, height))


def translucent(seed: int = 1, alpha_seed: int = 7, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Return a picture whose opacity is another one."""
    image = drawn(seed, width, height).copy()
    image.putalpha(Image.fromarray(grey(alpha_seed, width, height)))
    return image


def cut_out(seed: int = 1, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Return a picture that is opaque within an ellipse, and transparent elsewhere."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image = drawn(seed, width, height).copy()
    image.putalpha(Image.fromarray(((x * x + y * y < 0.9) * 255).astype(np.uint8)))
    return image


@cache
def profiles() -> dict[str, bytes]:
    """Return ICC profiles by name: usual ones, and odd ones."""
    steps = np.arange(256) / 255
    light = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    return {
        "srgb": make_profile(SRGB, [light] * 3),
        "p3": make_profile(P3, [light] * 3),
        "adobe": make_profile(ADOBE, [steps**2.2] * 3),
        "prophoto": make_profile(PROPHOTO, [steps**1.8] * 3),
        "linear": make_profile(SRGB, [steps] * 3),
        "steep": make_profile(SRGB, [steps**6] * 3),
        "inverting": make_profile(SRGB, [light[::-1]] * 3),
        "folded": make_profile(SRGB, [np.abs(2 * steps - 1)] * 3),
        "channels-swapped": make_profile(SRGB[[2, 0, 1]], [light] * 3),
        "red-only": make_profile(SRGB * [[1], [0], [0]], [light] * 3),
    }


def exif(orientation: int, order: str = "<") -> bytes:
    """Return EXIF data (without `Exif\\0\\0`) that states an orientation."""
    import struct

    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    value = struct.pack(f"{order}HH", orientation, 0)
    return head + struct.pack(f"{order}HHHI", 1, 0x0112, 3, 1) + value + bytes(4)
