"""Tell which entries' perceptual digests say so little that unrelated pictures are near them.

The PDQ of a smooth wallpaper, a gradient or an even plane has rows, or columns, that are hardly more than one
row repeated, as it is or inverted. Such an entry would send hundreds of unrelated pictures to review: each
plane of opacity with round corners, for example. PDQ's own quality does not tell: it is 78 for a radial
gradient, and 100 for a rectangle. The rule looks at the listed digest alone, so that the maker of a picture
that is scanned has no part in it.

None of 202 photographs is degenerate, nor any of 4,992 crops of them that have the quality that a match needs
(`benchmarks/recall/degenerate.py`); of 30 test pictures of PDQ one is, with quality 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashscan.model import ALGORITHMS, QUADRANTS

_SIDE = 16
_ALIKE = 14
"""Number of rows, of 16, that are alike in a degenerate digest."""
_SLACK = 2
"""Bits in which rows differ that are alike, as they are or inverted."""
_EVEN_SHARE = 32
"""Divisor of the bits of other digests: a degenerate one has no more that differ from all others."""
_BLOCK = 1 << 16

Words = NDArray[np.uint16]


def are_degenerate(algorithm: str, values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which entries, shape (n, size), are not matched by similarity; none of an exact algorithm."""
    known = ALGORITHMS[algorithm]
    if not len(values) or known.metric == "exact":
        return np.zeros(len(values), bool)
    if known.metric == "euclidean":
        return np.asarray(~values.any(axis=1))
    if algorithm == QUADRANTS:
        single = np.ascontiguousarray(values).reshape(-1, 2 * _SIDE)
        # Two quadrants must be near for a match.
        return np.asarray((~_are_uniform(single)).reshape(len(values), -1).sum(axis=1) < 2)
    if known.size == 2 * _SIDE:
        return _are_uniform(values)
    bits = np.bitwise_count(values).sum(axis=1, dtype=np.int64)
    return np.asarray(np.minimum(bits, 8 * known.size - bits) <= 8 * known.size // _EVEN_SHARE)


def is_degenerate(algorithm: str, value: bytes) -> bool:
    """Return True if an entry with this digest is not matched by similarity."""
    return bool(are_degenerate(algorithm, np.frombuffer(value, np.uint8)[None])[0])


def _are_uniform(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which digests of 16 by 16 bits have rows, or columns, that are alike; in blocks."""
    found = np.zeros(len(values), bool)
    for start in range(0, len(values), _BLOCK):
        rows: Words = np.ascontiguousarray(values[start : start + _BLOCK]).view(np.uint16)
        found[start : start + len(rows)] = _have_alike(rows) | _have_alike(_turned(rows))
    return found


def without_uniform(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return digests of quadrants with zero for each quadrant that is degenerate."""
    single = np.array(values, copy=True).reshape(-1, 2 * _SIDE)
    single[_are_uniform(single)] = 0
    return single.reshape(values.shape)


def _have_alike(rows: Words) -> NDArray[np.bool_]:
    """Return which digests have enough rows that are alike one of them; shape of `rows` (n, 16)."""
    # Rows that are alike a third one differ in twice the bits at most. Of 8 pairs, two may be lacking: of
    # random digests, this leaves one in 100,000.
    least = _SIDE // 2 - (_SIDE - _ALIKE)
    pairs = _near(rows[:, ::2] ^ rows[:, 1::2], 2 * _SLACK)
    found = pairs.sum(axis=1, dtype=np.uint8) >= least
    some = np.flatnonzero(found)
    alike = _near(rows[some][:, :, None] ^ rows[some][:, None, :], _SLACK)
    found[some] = alike.sum(axis=2, dtype=np.uint8).max(axis=1, initial=0) >= _ALIKE
    return np.asarray(found)


def _near(differ: Words, bits: int) -> NDArray[np.bool_]:
    count = np.bitwise_count(differ)
    return np.asarray((count <= bits) | (count >= _SIDE - bits))


def _turned(rows: Words) -> Words:
    """Return the columns as rows, in another order."""
    made = rows.copy()
    for distance, mask in ((8, 0x00FF), (4, 0x0F0F), (2, 0x3333), (1, 0x5555)):
        halves = made.reshape(len(made), -1, 2, distance)
        high, low = halves[:, :, 0], halves[:, :, 1]
        differ = (high ^ (low >> np.uint16(distance))) & np.uint16(mask)
        high ^= differ
        low ^= differ << np.uint16(distance)
    return made
