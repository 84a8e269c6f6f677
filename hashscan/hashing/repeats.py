"""Tells which pictures of a file show the same as one before, so that they needn't be matched again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from hashscan.hashing.variants import LONG, Kind, PictureDigest
from hashscan.model import ALGORITHMS

_SHARES = {Kind.PREVIEW: 2}
_SHARE = 4
"""A picture repeats another if each of its digests is within a quarter of its algorithm's threshold from the
other's: 7 bits of PDQ. What lies within the threshold of one is then nearly always within that of the other.
A preview is given half: its own small size turns as many bits, and it is there to look like its picture."""
_UNLIKE = 3
"""Thresholds from which on a preview is taken to show something else: 94 bits of PDQ, and no two unrelated
photos of 250 came closer. Of 202 photos' previews 38 were no repeats, 7 of them so far away."""


class Judgement(NamedTuple):
    """What is to be done with one more picture."""

    repeated: bool
    """Whether it would be matched for nothing."""
    full: bool
    """Whether it is to be hashed in all variants."""


_FIRST = Judgement(False, True)


@dataclass(slots=True)
class _Seen:
    values: tuple[int, ...]
    full: bool
    seconds: float
    """How long pictures like it were shown since one of them was hashed in all variants."""


class Repeats:
    """The pictures of one file that have been seen."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []

    def judge(self, digests: Sequence[PictureDigest], seconds: float = inf) -> Judgement:
        """Compare one more picture with those before it, and remember it.

        The time of pictures within the threshold of each other counts together, so that nobody shows one for
        long by many frames that hardly differ.

        Args:
            digests: of the picture as it is stored, by each algorithm, always in the same order.
            seconds: how long it is shown.
        """
        if all(digest.quality < ALGORITHMS[digest.algorithm].min_quality for digest in digests):
            return Judgement(True, seconds >= LONG)
        values = tuple(int.from_bytes(digest.value) for digest in digests)
        if not self._seen and seconds >= LONG:
            self._seen.append(_Seen(values, True, 0.0))
            return _FIRST
        share = _SHARES.get(digests[0].part.kind, _SHARE)
        thresholds = tuple(ALGORITHMS[digest.algorithm].threshold for digest in digests)
        limits = tuple(threshold // share for threshold in thresholds)
        alike = [seen for seen in self._seen if _within(values, seen.values, thresholds)]
        if seconds < LONG:
            for seen in alike:
                seen.seconds += seconds
        together = max((seen.seconds for seen in alike), default=0.0)
        full = max(seconds, together) >= LONG or (
            digests[0].part.kind is Kind.PREVIEW and self._is_unlike_all(values, thresholds)
        )
        repeated = any(seen.full >= full and _within(values, seen.values, limits) for seen in alike)
        if full:
            for seen in alike:
                seen.seconds = 0.0
        if not repeated:
            self._seen.append(_Seen(values, full, 0.0 if full else seconds))
        return Judgement(repeated, full)

    def _is_unlike_all(self, values: tuple[int, ...], thresholds: tuple[int, ...]) -> bool:
        limits = tuple(_UNLIKE * threshold for threshold in thresholds)
        return not any(_within(values, seen.values, limits) for seen in self._seen)


def _within(values: tuple[int, ...], others: tuple[int, ...], limits: tuple[int, ...]) -> bool:
    # Most differ in the first already.
    if (values[0] ^ others[0]).bit_count() > limits[0]:
        return False
    return all(
        (one ^ other).bit_count() <= limit for one, other, limit in zip(values, others, limits, strict=True)
    )
