"""Make digests to fill an index with, uniform or clustered, and digests to query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 20261125
COPIES = 10_000
"""Copies of one digest in a clustered set, fewer only when they would be over a quarter of it."""
CLUSTER = 100
"""Near-duplicates in each cluster, the picture they come from included."""
SPREAD = 12
"""Most bits by which a near-duplicate differs from that picture."""
FEW = 24
"""Bits drawn to be set in a digest that has few: parts are mostly zero, yet two such are seldom near."""


@dataclass(frozen=True, slots=True)
class DigestSet:
    """The entries of a list and what it is asked for; arrays of shape (n, bytes), uint8."""

    entries: NDArray[np.uint8]
    queries: dict[str, NDArray[np.uint8]]
    """By what they have in common."""


def flipped(
    digests: NDArray[np.uint8], most: int, rng: np.random.Generator, least: int = 0
) -> NDArray[np.uint8]:
    """Each digest with `least` to `most` of its bits turned, at places drawn with repetition."""
    bits = digests.shape[1] * 8
    changed = digests.copy()
    rows = np.arange(len(digests))
    turns = rng.integers(least, most + 1, len(digests))
    for turn in range(most):
        at = rng.integers(0, bits, len(digests))
        mask = np.where(turn < turns, 128 >> (at & 7), 0).astype(np.uint8)
        changed[rows, at >> 3] ^= mask
    return changed


def uniform(entries: int, size: int, queries: int, spread: int) -> DigestSet:
    """Random digests, asked for digests at most `spread` bits from an entry and for unrelated ones."""
    rng = np.random.default_rng(SEED)
    held = _random(entries, size, rng)
    near = flipped(held[rng.integers(0, entries, queries)], spread, rng)
    return DigestSet(held, {"hit": near, "miss": _random(queries, size, rng)})


def clustered(entries: int, size: int, queries: int) -> DigestSet:
    """Digests as real lists and hostile ones have them: one copied, a quarter with few bits, near-duplicates.

    It is asked for the copied digest, for digests with few bits, for near-duplicates and for unrelated ones.
    """
    rng = np.random.default_rng(SEED + 1)
    copies = min(COPIES, entries // 4)
    sparse = entries // 4
    centres = _random(-(-(entries - copies - sparse) // CLUSTER), size, rng)
    copied = _random(1, size, rng)
    near = flipped(np.repeat(centres, CLUSTER, axis=0)[: entries - copies - sparse], SPREAD, rng)
    few = _few_bits(sparse, size, rng)
    held = np.concatenate((np.repeat(copied, copies, axis=0), few, near))
    return DigestSet(
        held[rng.permutation(len(held))],
        {
            "copied": np.repeat(copied, queries, axis=0),
            "few bits": _few_bits(queries, size, rng),
            "near-duplicate": flipped(centres[rng.integers(0, len(centres), queries)], SPREAD, rng),
            "miss": _random(queries, size, rng),
        },
    )


def within(entries: NDArray[np.uint8], query: NDArray[np.uint8], threshold: int) -> NDArray[np.int64]:
    """Rows of all entries at most `threshold` bits from a query, by comparing every bit with every entry."""
    words: NDArray[Any] = entries.view(np.uint64)
    found = []
    for start in range(0, len(words), 1 << 16):
        block = words[start : start + (1 << 16)]
        distances = np.bitwise_count(block ^ query.view(np.uint64)).sum(axis=1, dtype=np.int64)
        found.append(start + np.flatnonzero(distances <= threshold))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _few_bits(number: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    return flipped(np.zeros((number, size), dtype=np.uint8), FEW, rng, least=FEW)


def _random(number: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (number, size), dtype=np.uint8)
