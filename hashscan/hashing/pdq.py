"""PDQ, the 256-bit perceptual hash of photographs.

The algorithm is that of "TMK+PDQF: A Test-Drive of Facebook's Perceptual Hashing Algorithms" (the document
`hashing.pdf` of ThreatExchange): blur, reduce to 64x64, take the 16x16 lowest frequencies of its cosine
transform without the constant ones, and say of each whether it lies above their median.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing import pdq_rounding
from hashscan.hashing.base import Hashed, PictureHash
from hashscan.hashing.pdq_reduction import SQUARE, Floats, Way, reduced, reductions
from hashscan.hashing.pdq_turns import turned
from hashscan.hashing.structure import doubt_of
from hashscan.hashing.variants import DIHEDRAL, ENLARGED, INVERTED, PLAIN, RENDERINGS, SQUARED
from hashscan.model import ALGORITHMS

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
        if min(stored or luma.shape) < MIN_SIDE:
            return bytes(_BITS // 8), 0
        return _plain(luma, None if stored == luma.shape else stored, reduced(luma, stored))

    def hashed(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: Sequence[int] = (0,),
        wanted: Collection[str] = (),
    ) -> Iterator[Hashed]:
        """Hash one picture in several renderings, each mirrored and turned, all from one pass over it."""
        stored = None if stored == luma.shape else stored
        large = max(stored or luma.shape) > SQUARE
        more = SQUARED if large else ENLARGED
        renderings = (PLAIN, more) if RENDERINGS[more] in wanted else (PLAIN,)
        dihedral = [turn for turn in turns if turn < DIHEDRAL]
        if min(stored or luma.shape) < MIN_SIDE:
            yield Hashed(PLAIN, 0, *self.digest(luma, stored))
            return
        ways = (False, True) if len(dihedral) > 1 else (False,)
        groups = tuple(tuple(Way(rendering, mirrored) for mirrored in ways) for rendering in renderings)
        for rendering, small in zip(renderings, reductions(luma, stored, groups), strict=True):
            plain = np.ascontiguousarray(small[0, :, 0])
            if rendering == PLAIN:
                value, quality = _plain(luma, stored, plain)
            else:
                value, quality = _unrounded(plain)
            # Of what isn't matched, nothing needs to be said.
            doubt = doubt_of(plain) if quality >= ALGORITHMS[self.name].min_quality else 0
            yield Hashed(rendering, 0, value, quality, doubt)
            others = [turn for turn in dihedral if turn]
            for turn, digest in zip(others, turned(small, others), strict=True):
                yield Hashed(rendering, turn, digest, quality, doubt)
            if INVERTED in turns:
                # All frequencies change their sign, and so does their median.
                yield Hashed(rendering, INVERTED, bytes(byte ^ 0xFF for byte in value), quality, doubt)


def _plain(luma: NDArray[np.uint8], stored: tuple[int, int] | None, small: Floats) -> tuple[bytes, int]:
    """Digest and quality of a picture as it is, given what it was reduced to."""
    if stored is not None:
        return _unrounded(small)
    noise = _rounding_noise(luma.shape)
    quality = _sure_quality(small, noise)
    bits = _sure_bits(_frequencies(small), noise)
    if quality is None or bits is None:
        small = pdq_rounding.reduced(luma)
        return _packed(_above_median(pdq_rounding.lowest_frequencies(small))), _quality(_gradients(small))
    return _packed(bits), quality


def _unrounded(small: Floats) -> tuple[bytes, int]:
    """Digest and quality where there is no reference whose rounding counts."""
    return _packed(_above_median(_frequencies(small))), _quality(_gradients(small))


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
