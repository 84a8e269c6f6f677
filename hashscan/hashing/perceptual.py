"""Compute the four 64-bit perceptual hashes of the ImageHash library: pHash, dHash, aHash and wHash."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.hash_algorithms import PictureHash

_WHASH_SCALE = 1024


class _ImageHash(PictureHash):
    """A hash that ImageHash computes from a grey Pillow picture.

    ImageHash and its dependencies (scipy, PyWavelets) are imported only when an object is made, and some of
    them only at the first digest, since few lists have these hashes.
    """

    def __init__(self) -> None:
        import imagehash

        self._library: Any = imagehash

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture, shape (height, width); bits in the order of ImageHash's hexadecimal form."""
        bits = self._compute(Image.fromarray(luma)).hash
        return np.packbits(bits.ravel()).tobytes(), 100

    @abstractmethod
    def _compute(self, image: Image.Image) -> Any:
        """Compute the library's own hash object."""


class PHash(_ImageHash):
    """PHash: the lowest frequencies of the cosine transform, each compared with their median."""

    name = "phash"

    def _compute(self, image: Image.Image) -> Any:
        return self._library.phash(image)


class DHash(_ImageHash):
    """DHash: a bit for each pair of neighbouring columns, set if the brightness rises."""

    name = "dhash"

    def _compute(self, image: Image.Image) -> Any:
        return self._library.dhash(image)


class AHash(_ImageHash):
    """AHash: a bit for each part of the picture, set if it is brighter than the mean."""

    name = "ahash"

    def _compute(self, image: Image.Image) -> Any:
        return self._library.average_hash(image)


class WHash(_ImageHash):
    """WHash: the lowest frequencies of a wavelet transform, each compared with their median.

    ImageHash uses the largest power of two within the picture's shorter side, in float64. Here the size is
    limited to 1024: beyond, a large picture takes gigabytes, and the 8x8 lowest frequencies hardly change.
    """

    name = "whash"

    def _compute(self, image: Image.Image) -> Any:
        scale = _WHASH_SCALE if min(image.size) >= 2 * _WHASH_SCALE else None
        return self._library.whash(image, image_scale=scale)
