"""PDQ, the 256-bit perceptual hash of photographs.

The algorithm is that of "TMK+PDQF: A Test-Drive of Facebook's Perceptual Hashing Algorithms" (the document
`hashing.pdf` of ThreatExchange): blur, reduce to 64x64, take the 16x16 lowest frequencies of its cosine
transform without the constant ones, and say of each whether it lies above their median.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.base import Hashed, PictureHash
from hashscan.hashing.kernel import Judged, Kernel, best_kernel, digest_of, gradients, quality_of
from hashscan.hashing.pdq_reduction import SQUARE, Way
from hashscan.hashing.variants import DIHEDRAL, ENLARGED, INVERTED, PLAIN, RENDERINGS, SQUARED
from hashscan.model import ALGORITHMS

MIN_SIDE = 5
"""Pictures with a shorter side have the hash zero and the quality 0, as in the reference."""

_BITS = 256


class PDQ(PictureHash):
    """PDQ with the hash and quality of the C++ reference, bit for bit.

    Up to the median everything is linear, so the 64x64 picture is R·X·Cᵗ, where R and C hold the weights of
    the reference's two passes of a box filter for the 64 rows and columns it keeps. That takes a fiftieth of
    the reference's time, but rounds otherwise. Where a bit or the quality hangs on rounding (mirrored
    drawings, flat areas, one photo in fifty) the reference's own operations are done instead, in its order.
    """

    name = "pdq"
    has_variants = True

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel or best_kernel()

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture, shape (height, width), of any size.

        Of a picture decoded at a smaller scale, this is the stored picture's hash but for what the blocks'
        means don't tell: 0.7 bits on average for photos of which 256 pixels a side are left.
        """
        found = next(self.hashed(luma, stored))
        return found.value, found.quality

    def hashed(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: Sequence[int] = (0,),
        wanted: Collection[str] = (),
    ) -> Iterator[Hashed]:
        """Hash one picture in several renderings, each mirrored and turned, all from one pass over it."""
        stored = None if stored == luma.shape else stored
        if min(stored or luma.shape) < MIN_SIDE:
            yield Hashed(PLAIN, 0, bytes(_BITS // 8), 0)
            return
        large = max(stored or luma.shape) > SQUARE
        more = SQUARED if large else ENLARGED
        renderings = (PLAIN, more) if RENDERINGS[more] in wanted else (PLAIN,)
        dihedral = [0, *(turn for turn in turns if 0 < turn < DIHEDRAL)]
        ways = (False, True) if len(dihedral) > 1 else (False,)
        groups = tuple(tuple(Way(rendering, mirrored) for mirrored in ways) for rendering in renderings)
        noise = _rounding_noise(luma.shape)
        slack = 2 * noise * 100 / 255
        for rendering, small in zip(renderings, self._kernel.reductions(luma, stored, groups), strict=True):
            judged = self._kernel.judged(small, dihedral, slack)
            value, quality = judged.digests[0], judged.quality
            if rendering == PLAIN and stored is None and not _sure(judged, noise):
                as_reference, frequencies = self._kernel.rounded(luma)
                value, quality = digest_of(frequencies), quality_of(gradients(as_reference))
            # Of what isn't matched, nothing needs to be said.
            doubt = judged.doubt if quality >= ALGORITHMS[self.name].min_quality else 0
            yield Hashed(rendering, 0, value, quality, doubt)
            for turn, digest in zip(dihedral[1:], judged.digests[1:], strict=True):
                yield Hashed(rendering, turn, digest, quality, doubt)
            if INVERTED in turns:
                # All frequencies change their sign, and so does their median.
                yield Hashed(rendering, INVERTED, bytes(byte ^ 0xFF for byte in value), quality, doubt)


def _rounding_noise(shape: tuple[int, ...]) -> float:
    """A brightness by which the reduced picture may differ from the reference's through rounding.

    The reference adds and subtracts along a whole row or column, so its error grows with the length. Twice
    the largest difference that was found, over 2300 photos and some hundred drawings made to round badly.
    """
    return 2e-3 + 5e-7 * max(shape)


def _sure(judged: Judged, noise: float) -> bool:
    """Whether rounding could change neither a bit nor the quality."""
    # Only the median and the next above it could change places. A frequency differs by more than a
    # brightness, since it is a sum of 4096, but by less than 2.5 times the noise: these photos' by 0.0018,
    # these drawings' by 0.006.
    return judged.gap > 5 * noise and judged.lowest == judged.highest
