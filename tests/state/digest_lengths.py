"""Picture hash algorithms with digests of unusual lengths, for the tests of what the state keeps of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hashscan import model
from hashscan.hashing.hash_algorithms import PictureHash
from hashscan.model import ALGORITHMS
from hashscan.plugins import Algorithm

SIZES = (18, 32, 144, 300)
NAMES = tuple(f"odd{size}" for size in SIZES)
ROWS = {
    name: Algorithm(name, 8 * size, "hamming", of_picture=True, threshold=4)
    for name, size in zip(NAMES, SIZES, strict=True)
}


class _Odd(PictureHash):
    """A digest of the brightness in eight times eight fields."""

    size: ClassVar[int]

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        height, width = luma.shape
        fields = luma[: height // 8 * 8, : width // 8 * 8].reshape(8, height // 8, 8, width // 8)
        coarse = (fields.mean(axis=(1, 3)) / 16).round().astype(np.uint8)
        return hashlib.shake_256(coarse.tobytes()).digest(self.size), 100


class Odd18(_Odd):
    name, size = "odd18", 18


class Odd32(_Odd):
    name, size = "odd32", 32


class Odd144(_Odd):
    name, size = "odd144", 144


class Odd300(_Odd):
    name, size = "odd300", 300


def register() -> None:
    """Register the algorithms for the rest of this process, before modules make tables of them."""
    ALGORITHMS.update(ROWS)
    model.COMPUTED = (*model.COMPUTED, *NAMES)
    model.MATCHED = (*model.MATCHED, *NAMES)
    from hashscan.registry import PICTURE_HASHES, Row

    for name in NAMES:
        PICTURE_HASHES.rows[name] = Row(name, f"{__name__}:{name.capitalize()}", "")


def load(*arguments: str) -> Callable[[int, bytes], bytes]:
    """The real decoder, in a process that has the algorithms."""
    ALGORITHMS.update(ROWS)
    from hashscan.hashing.media import decoder

    return decoder.load(*arguments)
