from __future__ import annotations

import math

import pytest

from hashscan.lists.index.base import default_threshold
from hashscan.model import ALGORITHMS


@pytest.mark.parametrize(
    ("algorithm", "entries", "expected"),
    [
        ("pdq", 10**8, 31),
        ("sha256", 10**8, 0),
        ("phash", 0, 4),
        ("phash", 1, 4),
        ("phash", 10**6, 4),
        ("phash", 10**7, 3),
        ("phash", 10**8, 2),
        ("ahash", 10**7, 2),
        ("phash", 10**14, 0),
    ],
)
def test_threshold_follows_from_the_entries(algorithm: str, entries: int, expected: int) -> None:
    assert default_threshold(algorithm, entries) == expected


@pytest.mark.parametrize("algorithm", ["phash", "dhash", "ahash", "whash"])
def test_the_next_larger_one_would_be_too_large(algorithm: str) -> None:
    for exponent in range(12):
        threshold = default_threshold(algorithm, 10**exponent)
        if threshold < ALGORITHMS[algorithm].threshold:
            assert 10**exponent * sum(math.comb(64, bits) for bits in range(threshold + 2)) / 2**64 >= 1e-7
