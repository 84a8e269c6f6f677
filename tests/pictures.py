"""Pictures for tests, drawn by code: smooth scenes with enough detail for a hash of good quality."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.decoding_faults import decoding_faults

counts_faults = pytest.mark.skipif(
    decoding_faults() is None, reason="without the module in C, every JPEG is undecoded"
)


def scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A picture in colours that no other seed's resembles."""
    return Image.fromarray(_pixels(seed, width, height)).copy()


@functools.lru_cache(64)
def _pixels(seed: int, width: int, height: int) -> np.ndarray:
    """Tests draw the same few pictures over and over, and drawing takes longer than most tests."""
    random = np.random.default_rng(seed)
    x, y = np.arange(width) * 6.283 / width, np.arange(height) * 6.283 / height
    planes = []
    for _ in range(3):
        # Each wave is a function of `across * x + down * y`: two products of a row and a column. Not by `@`,
        # after which other threads of the library wait actively for more.
        rows, columns = [], []
        for _ in range(12):
            across, down = random.uniform(-9, 9, 2)
            phase, strength = random.uniform(0, 6.3), random.uniform(0.3, 1)
            columns += [strength * np.sin(across * x + phase), strength * np.cos(across * x + phase)]
            rows += [np.cos(down * y), np.sin(down * y)]
        plane = np.einsum("ny,nx->yx", rows, columns)
        low, high = plane.min(), plane.max()
        planes.append((255 * (plane - low) / (high - low)).astype(np.uint8))
    return np.dstack(planes)


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """The picture as a file's content."""
    stream = io.BytesIO()
    if form == "GIF":
        image = _in_few_colours(image)
        if "append_images" in options:
            options["append_images"] = [_in_few_colours(frame) for frame in options["append_images"]]
    image.save(stream, form, **options)
    return stream.getvalue()


def _in_few_colours(image: Image.Image) -> Image.Image:
    """Return it with a palette, by a method that takes a hundredth of the time of Pillow's own choice."""
    return image.quantize(method=Image.Quantize.FASTOCTREE) if image.mode == "RGB" else image
