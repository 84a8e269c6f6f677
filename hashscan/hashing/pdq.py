"""PDQ, the 256-bit perceptual hash of photographs.

The algorithm is that of "TMK+PDQF: A Test-Drive of Facebook's Perceptual Hashing Algorithms" (the document
`hashing.pdf` of ThreatExchange): blur, reduce to 64x64, take the 16x16 lowest frequencies of its cosine
transform without the constant ones, and say of each whether it lies above their median.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing import pdq_rounding
from hashscan.hashing.base import Hashed, PictureHash
from hashscan.hashing.pdq_reduction import SQUARE, Floats, reduced
from hashscan.hashing.pdq_turns import turned
from hashscan.hashing.variants import PLAIN, SQUARED

MIN_SIDE = 5
"""Pictures with a shorter side have the hash zero and the quality 0, as in the reference."""

_BITS = 256
_DCT = pdq_rounding.dct_matrix()


class PDQ(PictureHash):
    """PDQ with the hash and quality of the C++ reference, bit for bit.

    Up to the median everything is linear, so the 64x64 picture is R·X·Cᵗ, where R and C hold the weights of
    the reference's two passes of a box filter for the 64 rows and columns it keeps. That takes a fiftieth of
    the reference's time, but rounds otherwise. Where a bit or the quality hangs on rounding (mirrored
    drawings, flat areas, one photo in fifty) the reference's own operations are done instead, in its order.
    """

    name = "pdq"
    has_variants = True

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture, shape (height, width), of any size.

        Of a picture decoded at a smaller scale, this is the stored picture's hash but for what the blocks'
        means don't tell: 0.7 bits on average for photos of which 256 pixels a side are left.
        """
        return self._digest(luma, stored)[:2]

    def hashed(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: Sequence[int] = (0,),
        *,
        squared: bool = False,
    ) -> Iterator[Hashed]:
        """Hash one picture in both conventions, and mirrored and turned from the same cosine transform."""
        value, quality, small = self._digest(luma, stored)
        yield Hashed(PLAIN, 0, value, quality)
        if small is None:
            return
        others = [turn for turn in turns if turn]
        for turn, digest in zip(others, turned(_frequencies(small), others), strict=True):
            yield Hashed(PLAIN, turn, digest, quality)
        if squared and max(stored or luma.shape) > SQUARE:
            small = reduced(luma, stored, squared=True)
            quality = _quality(_gradients(small))
            for turn, digest in zip(turns, turned(_frequencies(small), turns), strict=True):
                yield Hashed(SQUARED, turn, digest, quality)

    @staticmethod
    def _digest(luma: NDArray[np.uint8], stored: tuple[int, int] | None) -> tuple[bytes, int, Floats | None]:
        """Digest, quality, and the picture of shape (64, 64); none of a picture that is too small."""
        if min(stored or luma.shape) < MIN_SIDE:
            return bytes(_BITS // 8), 0, None
        if stored is not None and stored != luma.shape:
            # There is no reference to agree with, so rounding is of no account.
            small = reduced(luma, stored)
            (value,) = turned(_frequencies(small), (0,))
            return value, _quality(_gradients(small)), small
        noise = _rounding_noise(luma.shape)
        small = reduced(luma)
        quality = _sure_quality(small, noise)
        bits = _sure_bits(_frequencies(small), noise)
        if quality is None or bits is None:
            small = pdq_rounding.reduced(luma)
            quality = _quality(_gradients(small))
            frequencies = pdq_rounding.lowest_frequencies(small).ravel()
            bits = frequencies > np.partition(frequencies, _BITS // 2 - 1)[_BITS // 2 - 1]
        # The hexadecimal form starts with the highest bit.
        return np.packbits(bits[::-1]).tobytes(), quality, small


def _frequencies(small: Floats) -> Floats:
    """The 16x16 lowest frequencies of a picture of shape (64, 64), without the constant ones."""
    found: Floats = np.matmul(_DCT @ small, _DCT.T)
    return found


def _rounding_noise(shape: tuple[int, ...]) -> float:
    """A brightness by which `reduced` may differ from the reference's through rounding.

    The reference adds and subtracts along a whole row or column, so its error grows with the length. Twice
    the largest difference that was found, over 2300 photos and some hundred drawings made to round badly.
    """
    return 2e-3 + 5e-7 * max(shape)


def _sure_bits(frequencies: Floats, noise: float) -> NDArray[np.bool_] | None:
    """The 256 bits, or None if rounding could change one."""
    flat = frequencies.ravel()
    middle = _BITS // 2
    ordered = np.partition(flat, (middle - 1, middle))
    median, next_above = ordered[middle - 1], ordered[middle]
    # Only these two could change places. A frequency differs by more than a brightness, since it is a sum of
    # 4096, but by less than 2.5 times the noise: these photos' by 0.0018, these drawings' by 0.006.
    return flat > median if next_above - median > 5 * noise else None


def _sure_quality(small: Floats, noise: float) -> int | None:
    """The quality, or None if rounding could change it."""
    gradients = np.abs(_gradients(small))
    slack = np.float32(2 * noise * 100 / 255)
    lowest = _quality(np.maximum(gradients - slack, 0))
    return lowest if lowest == _quality(gradients + slack) else None


def _gradients(small: Floats) -> Floats:
    """Differences between neighbours below and beside each other, in hundredths of the whole range."""
    down = small[:-1] - small[1:]
    across = small[:, :-1] - small[:, 1:]
    return np.concatenate((down.ravel(), across.ravel())) * np.float32(100) / np.float32(255)


def _quality(gradients: Floats) -> int:
    """0 to 100: how much there is to see; each gradient counts by its whole part."""
    return min(100, int(np.abs(gradients.astype(np.int32)).sum()) // 90)
