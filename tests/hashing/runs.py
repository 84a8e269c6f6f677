"""Digests as a decoder hands them to be packed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.hash_algorithms import PictureHash
from hashscan.hashing.variants import DigestRun, PictureDigest


def runs(digests: Iterable[PictureDigest]) -> Iterator[DigestRun]:
    """Each as a run of its own."""
    for found in digests:
        yield DigestRun(
            found.part,
            found.rendering,
            (found.turn,),
            found.turn if found.shown else 0,
            found.algorithm,
            found.value,
            found.quality,
            found.doubt,
        )


class Found(NamedTuple):
    """One digest of one picture."""

    rendering: int
    turn: int
    value: bytes
    quality: int
    doubt: int


def digests(
    algorithm: PictureHash,
    luma: NDArray[np.uint8],
    stored: tuple[int, int] | None = None,
    turns: Sequence[int] = (0,),
    wanted: Collection[str] = (),
) -> Iterator[Found]:
    """The digests of one picture, one by one."""
    for run in algorithm.runs(luma, stored, tuple(turns), wanted):
        size = len(run.values) // len(run.turns)
        for place, turn in enumerate(run.turns):
            value = run.values[place * size : (place + 1) * size]
            yield Found(run.rendering, turn, value, run.quality, run.doubt)
