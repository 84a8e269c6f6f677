"""How far an entry may lie from a picture by default, given how many entries there are."""

from __future__ import annotations

import math

from hashscan.model import ALGORITHMS

_SHORT = 64
"""Bits up to which chance alone brings entries near."""
_CHANCE = 1e-7
"""Random neighbours that one picture may have, expected over the whole list."""


def default_threshold(algorithm: str, entries: int) -> int:
    """The model's threshold, lowered for short hashes until chance gives under one neighbour in ten million.

    Args:
        algorithm: any.
        entries: of that algorithm, in all lists of the sweep together.
    """
    spec = ALGORITHMS[algorithm]
    if spec.metric == "exact" or spec.bits > _SHORT:
        return spec.threshold
    allowed = 0
    near = 0
    for threshold in range(spec.threshold + 1):
        near += math.comb(spec.bits, threshold)
        if entries * near / 2**spec.bits < _CHANCE:
            allowed = threshold
    return allowed
