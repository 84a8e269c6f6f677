"""Makes values that are hard to search, and searches them by counting bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.index.base import Hits
from hashscan.lists.index.kernel import CKernel, Kernel, NumpyKernel, best_kernel

KERNELS: tuple[Kernel, ...] = (
    (NumpyKernel(), CKernel()) if isinstance(best_kernel(), CKernel) else (NumpyKernel(),)
)
"""Those that were built on this machine."""

CLUSTERS = ("uniform", "near", "few bits", "equal", "copies")


def values_of(rng: np.random.Generator, kind: str, count: int, size: int) -> NDArray[np.uint8]:
    """Digests: uniform; a few bits from 3 centres; with few bits set; all equal; half of them equal."""
    values = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == "near":
        flipped = np.packbits(rng.random((count, size * 8)) < rng.random((count, 1)) * 0.16, axis=1)
        return values[rng.integers(0, min(3, count), count)] ^ flipped if count else values
    if kind == "few bits":
        return np.packbits(rng.random((count, size * 8)) < 0.03, axis=1)
    if kind == "equal" and count:
        values[:] = values[0]
    if kind == "copies" and count:
        values[rng.random(count) < 0.5] = values[0]
    return values


def brute_force(
    values: NDArray[np.uint8], queries: NDArray[np.uint8], thresholds: Sequence[int] | NDArray[np.int64]
) -> list[tuple[int, int, int]]:
    found = []
    for query_row, (query, threshold) in enumerate(zip(queries, thresholds, strict=True)):
        distances = np.unpackbits(values ^ query, axis=1).sum(axis=1, dtype=np.int64)
        rows = np.flatnonzero(distances <= threshold).tolist()
        found += [(query_row, row, int(distances[row])) for row in rows]
    return found


def tuples(hits: Hits) -> list[tuple[int, int, int]]:
    return [(int(q), int(e), int(d)) for q, e, d in zip(*hits, strict=True)]
