"""Compute the four 64-bit perceptual hashes of the ImageHash library: pHash, dHash, aHash and wHash."""

from __future__ import annotations

from typing import Any, ClassVar

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

    _function: ClassVar[str]

    def __init__(self) -> None:
        import imagehash

        self._library: Any = imagehash

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture, shape (height, width); bits in the order of ImageHash's hexadecimal form."""
        found = getattr(self._library, self._function)(Image.fromarray(luma), **self._options(luma.shape))
        return np.packbits(found.hash.ravel()).tobytes(), 100

    def _options(self, shape: tuple[int, ...]) -> dict[str, Any]:
        return {}


class PHash(_ImageHash):
    """PHash: the lowest frequencies of the cosine transform, each compared with their median."""

    name = _function = "phash"


class DHash(_ImageHash):
    """DHash: a bit for each pair of neighbouring columns, set if the brightness rises."""

    name = _function = "dhash"


class AHash(_ImageHash):
    """AHash: a bit for each part of the picture, set if it is brighter than the mean."""

    name, _function = "ahash", "average_hash"


class WHash(_ImageHash):
    """WHash: the lowest frequencies of a wavelet transform, each compared with their median.

    ImageHash uses the largest power of two within the picture's shorter side, in float64. Here the size is
    limited to 1024: beyond, a large picture takes gigabytes, and the 8x8 lowest frequencies hardly change.
    """

    name = _function = "whash"

    def _options(self, shape: tuple[int, ...]) -> dict[str, Any]:
        return {"image_scale": _WHASH_SCALE} if min(shape) >= 2 * _WHASH_SCALE else {}
