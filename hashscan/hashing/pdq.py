"""Compute PDQ, the 256-bit perceptual hash of photographs.

The algorithm is that of "TMK+PDQF: A Test-Drive of Facebook's Perceptual Hashing Algorithms" (the document
`hashing.pdf` of ThreatExchange): blur, reduce to 64x64, take the 16x16 lowest frequencies of its cosine
transform without the constant ones, and set a bit for each that is above their median.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.hash_algorithms import PictureHash, RenderingDigests
from hashscan.hashing.kernel import Kernel, KernelResult, best_kernel, digest_of, gradients, quality_of
from hashscan.hashing.pdq_reduction import SQUARED_SIDE, ReductionMode
from hashscan.hashing.pdq_restored import SIDE_MAX, restoration_maps, section_maps
from hashscan.hashing.variants import (
    DIHEDRAL,
    ENLARGED,
    INVERTED,
    PLAIN,
    RENDERINGS,
    RESTORATIONS,
    RESTORED,
    SECTION,
    SQUARED,
)
from hashscan.model import ALGORITHMS

MIN_SIDE = 5
"""Minimum side in pixels. Smaller pictures have the digest zero and the quality 0, as in the reference."""

_BITS = 256
EVEN_MAX = 80
"""Share of a picture, in 256ths, in one part with even brightness, from which no crop or rotation of it is
undone: what remains resembles that of other such pictures. The 202 photographs had 75 at most."""
_RESTORATIONS = tuple(range(len(RESTORATIONS)))
_INVERSE = bytes(byte ^ 0xFF for byte in range(256))


class _Plan(NamedTuple):
    """The renderings and turns to compute for a picture; it does not depend on the pixels."""

    renderings: tuple[int, ...]
    groups: tuple[tuple[ReductionMode, ...], ...]
    """The ways to reduce the picture, for each rendering."""
    dihedral: tuple[int, ...]
    turns: tuple[int, ...]
    """The turns of `dihedral`, and `INVERTED` if it is requested."""


@lru_cache(maxsize=256)
def _plan(more: int | None, turns: tuple[int, ...]) -> _Plan:
    renderings = (PLAIN,) if more is None else (PLAIN, more)
    dihedral = (0, *(turn for turn in turns if 0 < turn < DIHEDRAL))
    ways = (False, True) if len(dihedral) > 1 else (False,)
    groups = tuple(tuple(ReductionMode(rendering, mirrored) for mirrored in ways) for rendering in renderings)
    return _Plan(renderings, groups, dihedral, (*dihedral, INVERTED) if INVERTED in turns else dihedral)


class PDQ(PictureHash):
    """PDQ with the digest and quality of the C++ reference, bit for bit.

    All steps before the median are linear, so the 64x64 picture is R·X·Cᵗ, where R and C hold the weights of
    the reference's two passes of a box filter for the 64 rows and columns it keeps. This takes a fiftieth of
    the reference's time, but rounds differently. If a bit or the quality depends on rounding (mirrored
    drawings, flat areas, one photo in fifty), the reference's own operations are used instead, in its order.
    """

    name = "pdq"
    has_variants = True

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel or best_kernel()

    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture, shape (height, width), of any size.

        For a picture decoded at a smaller scale, this is the stored picture's digest except for the detail
        that the blocks' means lose: 0.7 bits on average for photos reduced to 256 pixels a side.
        """
        found = next(self.runs(luma, stored))
        return found.values, found.quality

    def runs(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: tuple[int, ...] = (0,),
        wanted: Collection[str] = (),
    ) -> Iterator[RenderingDigests]:
        """Hash one picture in several renderings, each mirrored and turned, all from one pass over it.

        `RESTORED` and `SECTION` come last, and only of a picture with enough detail, not of a near-empty one.
        """
        stored = None if stored == luma.shape else stored
        height, width = stored or luma.shape
        if min(height, width) < MIN_SIDE:
            yield RenderingDigests(PLAIN, (0,), bytes(_BITS // 8), 0)
            return
        more = SQUARED if max(height, width) > SQUARED_SIDE else ENLARGED
        plan = _plan(more if RENDERINGS[more] in wanted else None, turns)
        noise = rounding_noise(luma.shape)
        slack = 2 * noise * 100 / 255
        found = self._kernel.hashed(luma, stored, plan.groups, plan.dihedral, slack)
        detailed = 0
        for rendering, judged in zip(plan.renderings, found, strict=True):
            values, quality = judged.digests, judged.quality
            if rendering == PLAIN and stored is None and not _sure(judged, noise):
                as_reference, frequencies = self._kernel.rounded(luma)
                values = digest_of(frequencies) + values[_BITS // 8 :]
                quality = quality_of(gradients(as_reference))
            if plan.turns[-1] == INVERTED:
                # Inversion negates all frequencies, and so their median.
                values += values[: _BITS // 8].translate(_INVERSE)
            # A digest below the minimum quality is not matched, so it needs no doubt.
            doubt = judged.doubt if quality >= ALGORITHMS[self.name].min_quality else 0
            if rendering == PLAIN and not doubt and judged.even < EVEN_MAX:
                detailed = quality if quality >= ALGORITHMS[self.name].min_quality else 0
            yield RenderingDigests(rendering, plan.turns, values, quality, doubt, judged.even)
        if detailed and max(luma.shape) <= SIDE_MAX:
            yield from self._sampled(luma, (height, width), wanted, detailed)

    def _sampled(
        self, luma: NDArray[np.uint8], shape: tuple[int, int], wanted: Collection[str], quality: int
    ) -> Iterator[RenderingDigests]:
        """Hash restorations and sections, all from one reduction of the picture."""
        asked: list[tuple[int, tuple[int, ...], NDArray[np.float32]]] = []
        if "restored" in wanted:
            asked.append((RESTORED, _RESTORATIONS, restoration_maps(*shape)))
        if "sections" in wanted:
            asked.append((SECTION, *section_maps(*shape)))
        if not asked:
            return
        values = self._kernel.restored(luma, np.concatenate([maps for _, _, maps in asked]))
        for rendering, turns, maps in asked:
            size = len(maps) * _BITS // 8
            yield RenderingDigests(rendering, turns, values[:size], quality)
            values = values[size:]


def rounding_noise(shape: tuple[int, ...]) -> float:
    """Return the largest brightness by which rounding may change the reduced picture from the reference's.

    The reference adds and subtracts along a whole row or column, so its error grows with the length. The
    value is twice the largest difference found over 2300 photos and some hundred drawings made to round
    badly.
    """
    return 2e-3 + 5e-7 * max(shape)


def _sure(judged: KernelResult, noise: float) -> bool:
    """Return True if rounding can change neither a bit nor the quality."""
    # Only the median and the next frequency above it could change their order. The error of a frequency is
    # larger than that of a brightness, since it is a sum of 4096, but less than 2.5 times the noise: 0.0018
    # for these photos, 0.006 for these drawings.
    return judged.gap > 5 * noise and judged.lowest == judged.highest
