"""Look up many digests in a filter at a time, with numpy; the same as `format` does for one.

Importing this module imports numpy, so modules that look up few digests don't import it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.filters.format import (
    HEADER_SIZE,
    KEY_BYTES,
    MIX_1,
    MIX_2,
    DigestFilter,
    FilterHeader,
    FilterPart,
)

BLOCK = 1 << 18
"""Digests that are looked up at a time, to bound the memory."""

_SHIFT_33, _SHIFT_32, _SHIFT_18 = np.uint64(33), np.uint64(32), np.uint64(18)
_LOW = np.uint64(0xFFFFFFFF)


def heads_of(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the part of digests that is used of them, shape (n,).

    Args:
        values: digests, shape (n, size).
    """
    return np.ascontiguousarray(values[:, :KEY_BYTES]).view("<u8").astype(np.uint64).ravel()


def keys_of(header: FilterHeader, algorithm: str, heads: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the keys of digests in a filter, shape (n,)."""
    return _mixed(heads ^ np.uint64(header.offset(algorithm)))


def let_through(found: DigestFilter, algorithm: str, heads: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which digests a filter lets through, shape (n,)."""
    passed = np.zeros(len(heads), bool)
    for start in range(0, len(heads), BLOCK):
        block = heads[start : start + BLOCK]
        for part in found.parts:
            passed[start : start + BLOCK] |= let_through_part(part, algorithm, block)
    return passed


def let_through_part(part: FilterPart, algorithm: str, heads: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which digests a single filter lets through, shape (n,)."""
    header = part.header
    if algorithm not in header.algorithms:
        return np.ones(len(heads), bool)
    fingerprints = np.frombuffer(part.data, "<u2", offset=HEADER_SIZE)
    mixed = _mixed(keys_of(header, algorithm, heads) + np.uint64(int(header.seed, 16)))
    length, mask = np.uint64(header.segment_length), np.uint64(header.segment_length - 1)
    first = _high_product(mixed, header.first_positions)
    second = (first + length) ^ (mixed >> _SHIFT_18 & mask)
    third = (first + length + length) ^ (mixed & mask)
    found = (mixed ^ mixed >> _SHIFT_32).astype(np.uint16)
    for places in (first, second, third):
        found ^= fingerprints[places]
    passed: NDArray[np.bool_] = found == 0
    return passed


def _high_product(values: NDArray[np.uint64], factor: int) -> NDArray[np.uint64]:
    """Return the upper 64 bits of products; the factor has at most 32 bits."""
    by = np.uint64(factor)
    return ((values >> _SHIFT_32) * by + ((values & _LOW) * by >> _SHIFT_32)) >> _SHIFT_32


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ values >> _SHIFT_33) * np.uint64(MIX_1)
    values = (values ^ values >> _SHIFT_33) * np.uint64(MIX_2)
    return values ^ values >> _SHIFT_33
