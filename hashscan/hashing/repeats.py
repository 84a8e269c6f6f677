"""Tells which pictures of a file show the same as one before, so that they needn't be matched again."""

from __future__ import annotations

from collections.abc import Sequence

from hashscan.hashing.variants import Kind, PictureDigest
from hashscan.model import ALGORITHMS

_SHARES = {Kind.PREVIEW: 2}
_SHARE = 4
"""A picture repeats another if each of its digests is within a quarter of its algorithm's threshold from the
other's: 7 bits of PDQ. What lies within the threshold of one is then nearly always within that of the other.
A preview is given half: its own small size turns as many bits, and it is there to look like its picture."""


class Repeats:
    """The pictures of one file that have been seen."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, ...]] = []

    def adds_nothing(self, digests: Sequence[PictureDigest]) -> bool:
        """Whether one more picture, which is remembered, would be matched for nothing.

        Args:
            digests: of the picture as it is stored, by each algorithm, always in the same order.
        """
        if all(digest.quality < ALGORITHMS[digest.algorithm].min_quality for digest in digests):
            return True
        values = tuple(int.from_bytes(digest.value) for digest in digests)
        share = _SHARES.get(digests[0].part.kind, _SHARE)
        limits = tuple(ALGORITHMS[digest.algorithm].threshold // share for digest in digests)
        for seen in self._seen:
            if all(
                (one ^ other).bit_count() <= limit
                for one, other, limit in zip(values, seen, limits, strict=True)
            ):
                return True
        self._seen.append(values)
        return False
