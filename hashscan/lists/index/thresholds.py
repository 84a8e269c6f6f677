"""Default thresholds: the largest distance of a match, given the number of entries."""

from __future__ import annotations

import math

from hashscan.model import ALGORITHMS

_SHORT = 64
"""Hash length in bits up to which unrelated entries come near by chance alone."""
_CHANCE = 1e-7
"""Expected number of random neighbours that one picture may have in the whole list."""


def default_threshold(algorithm: str, entries: int) -> int:
    """Return the model's threshold, lowered for short hashes until chance gives under 1e-7 neighbours.

    Args:
        algorithm: any algorithm.
        entries: entries of that algorithm, in all lists of the scan together.
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
