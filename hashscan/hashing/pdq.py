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
from hashscan.hashing.pdq_reduction import SQUARE, Floats, Way, reduced, reductions
from hashscan.hashing.pdq_turns import turned
from hashscan.hashing.variants import PLAIN, SQUARED

MIN_SIDE = 5
"""Pictures with a shorter side have the hash zero and the quality 0, as in the reference."""

_BITS = 256
_DCT = pdq_rounding.dct_matrix()
_BOTH = tuple((Way(squared, mirrored=False), Way(squared, mirrored=True)) for squared in (False, True))


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
        if min(stored or luma.shape) < MIN_SIDE:
            return bytes(_BITS // 8), 0
        return _plain(luma, None if stored == luma.shape else stored, reduced(luma, stored))

    def hashed(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: Sequence[int] = (0,),
        *,
        squared: bool = False,
    ) -> Iterator[Hashed]:
        """Hash one picture in both conventions, and mirrored and turned from the same cosine transform."""
        stored = None if stored == luma.shape else stored
        if min(stored or luma.shape) < MIN_SIDE or (len(turns) == 1 and not squared):
            yield Hashed(PLAIN, 0, *self.digest(luma, stored))
            return
        both = squared and max(stored or luma.shape) > SQUARE
        found = reductions(luma, stored, _BOTH if both else _BOTH[:1])
        value, quality = _plain(luma, stored, np.ascontiguousarray(found[0][0, :, 0]))
        yield Hashed(PLAIN, 0, value, quality)
        others = [turn for turn in turns if turn]
        for turn, digest in zip(others, turned(found[0], others), strict=True):
            yield Hashed(PLAIN, turn, digest, quality)
        if both:
            quality = _quality(_gradients(found[1][0, :, 0]))
            for turn, digest in zip(turns, turned(found[1], turns), strict=True):
                yield Hashed(SQUARED, turn, digest, quality)


def _plain(luma: NDArray[np.uint8], stored: tuple[int, int] | None, small: Floats) -> tuple[bytes, int]:
    """Digest and quality of a picture as it is, given what it was reduced to."""
    if stored is not None:
        # There is no reference to agree with, so rounding is of no account.
        return _packed(_above_median(_frequencies(small))), _quality(_gradients(small))
    noise = _rounding_noise(luma.shape)
    quality = _sure_quality(small, noise)
    bits = _sure_bits(_frequencies(small), noise)
    if quality is None or bits is None:
        small = pdq_rounding.reduced(luma)
        return _packed(_above_median(pdq_rounding.lowest_frequencies(small))), _quality(_gradients(small))
    return _packed(bits), quality


def _above_median(frequencies: Floats) -> NDArray[np.bool_]:
    flat = frequencies.ravel()
    above: NDArray[np.bool_] = flat > np.partition(flat, _BITS // 2 - 1)[_BITS // 2 - 1]
    return above


def _packed(bits: NDArray[np.bool_]) -> bytes:
    """The digest, whose hexadecimal form starts with the highest bit."""
    return np.packbits(bits[::-1]).tobytes()


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
