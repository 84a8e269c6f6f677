"""Calculate recall: distances of altered pictures to their own entries and to others'."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Distances = NDArray[np.uint16]

FAR = 9999
"""The distance of what has no digest to be compared."""
MIN_QUALITY = 50
"""PDQ's digests of lower quality are not compared, neither ours nor the peers'."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """The digests of one file by one tool: the rows of arrays, one for each variant."""

    values: NDArray[np.uint64]
    """Shape (variants, words)."""
    plain: NDArray[np.bool_]
    """True for the picture as stored, whose digest a list would hold."""
    tight: NDArray[np.bool_]
    doubted: NDArray[np.bool_]


def read(path: Path) -> list[Hashed]:
    """Read the digests that digests.py wrote, only those of good quality."""
    return [_hashed(json.loads(line)) for line in path.read_text().splitlines()]


def _hashed(found: list[list[Any]]) -> Hashed:
    good = [row for row in found if row[1] >= MIN_QUALITY]
    return Hashed(
        np.array([np.frombuffer(bytes.fromhex(row[0]), np.uint64) for row in good], np.uint64),
        np.array([row[2] in ("", "as stored") for row in good], bool),
        np.array([row[3] for row in good], bool),
        np.array([bool(row[4]) for row in good], bool),
    )


def entries_of(originals: Sequence[Hashed]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the entries of a list of these pictures: digests, shape (n, words), and picture numbers."""
    chosen = [number for number, hashed in enumerate(originals) if hashed.plain.any()]
    return np.array([originals[number].values[0] for number in chosen]), np.array(chosen)


@dataclass(frozen=True, slots=True)
class Near:
    """Distances of files to entries in bits, each of shape (files, entries)."""

    full: Distances
    """The closest variant that is asked with the full threshold."""
    tight: Distances
    """The closest of the others."""
    doubted: Distances
    """The closest whose likeness says little, of the first kind; those are in neither of the above."""
    doubted_tight: Distances
    """Such distances of the other kind."""

    def within(self, threshold: int, tight: int) -> NDArray[np.bool_]:
        """Return the pairs that match."""
        return (self.full <= threshold) | (self.tight <= min(tight, threshold))

    def doubted_within(self, threshold: int, tight: int) -> NDArray[np.bool_]:
        """Return the pairs that would match but for the doubt."""
        close = (self.doubted <= threshold) | (self.doubted_tight <= min(tight, threshold))
        return close & ~self.within(threshold, tight)

    def part(self, rows: Sequence[int] | NDArray[np.int64]) -> Near:
        """Return the distances of some of the files."""
        return Near(self.full[rows], self.tight[rows], self.doubted[rows], self.doubted_tight[rows])


def distances(files: Sequence[Hashed], entries: NDArray[np.uint64]) -> Near:
    """Compare every file with every entry."""
    found = [np.full((len(files), len(entries)), FAR, np.uint16) for _ in range(4)]
    for row, hashed in enumerate(files):
        if not len(hashed.values):
            continue
        apart = np.bitwise_count(hashed.values[:, None] ^ entries).sum(axis=2, dtype=np.uint16)
        masks = (
            ~hashed.tight & ~hashed.doubted,
            hashed.tight & ~hashed.doubted,
            ~hashed.tight & hashed.doubted,
            hashed.tight & hashed.doubted,
        )
        for table, mask in zip(found, masks, strict=True):
            if mask.any():
                table[row] = apart[mask].min(axis=0)
    return Near(*found)


def largest_without(unrelated: NDArray[np.bool_], near: Near, tight: int, most: int) -> int:
    """Return the largest threshold up to `most` at which no unrelated pair matches; -1 if there is none."""
    for threshold in range(most, -1, -1):
        if not (near.within(threshold, tight) & unrelated).any():
            return threshold
    return -1


def upper_bound(events: int) -> float:
    """95 % upper bound of a count, of which so many were seen (Poisson, exact, one-sided)."""
    low, high = float(events), events + 10 + 5 * math.sqrt(events + 1)
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(math.exp(-middle + k * math.log(middle) - math.lgamma(k + 1)) for k in range(events + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high
