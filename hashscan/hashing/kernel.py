"""Run the inner loops of picture hashing behind one interface: in C if it was built, else in numpy.

One of them looks for pictures for which similarity says little. Tables, screens of text, codes, charts and
logos have much contrast, so PDQ gives them a high quality. But they consist of a few grey levels or of rows
and columns, and at 64x64 all pictures with the same layout look much the same. Measured over photos and
pictures drawn by code; `benchmarks/recall/recall.py` shows the cost and benefit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.c_parts import BUILT
from hashscan.hashing import pdq_reduction
from hashscan.hashing.pdq_reduction import (
    CACHED_SIDE_MAX,
    SIDE,
    Floats,
    ReductionMode,
    places_of,
    reduction_factor,
    reductions,
    turned_digests,
)
from hashscan.hashing.pdq_restored import BOXES, box_means, box_weights, restored_frequencies
from hashscan.hashing.variants import FEW_GREYS, ROWS_AND_COLUMNS

if BUILT:
    from hashscan.hashing import _pdq

_BINS = 32
_MOST_OF_ONE_GREY = 0.55
"""Share of the picture with one brightness, in 32 steps, above which it may have too few grey levels."""
_MIN_ENTROPY = 2.5
"""Entropy in bits of the brightness, in 32 steps, below which it has: one photo in a hundred is below."""
_MAX_EXPLAINED = 0.98
"""Share of the variance explained by the means of rows and columns, above which the picture counts as made of
rows and columns; no measured photo had as much."""
_MAX_WITH_PRODUCT = 0.995
"""Share explained by these means and their product, above which it counts as made of them, too. Where lines
cross, a place is dark by its row or its column: their sum less their product. JPEGs of 60 grids at quality
30 have 0.9989 at least, 202 photos 0.98 at most, and 0.991 with borders added."""

SIMILARITY_LIMITS = (_MOST_OF_ONE_GREY, _MIN_ENTROPY, _MAX_EXPLAINED, _MAX_WITH_PRODUCT)
"""The limits, for the C loops."""
_LEAST_PRODUCT = 1e-12
"""Product of the shares of rows and of columns, below which one of them may be rounding errors; as in
_pdq_loops.h."""


def similarity_doubt(small: NDArray[np.float32]) -> int:
    """Return the index in `SIMILARITY_DOUBTS` of the reason why similarity says little; 0 if there is none.

    Args:
        small: brightness 0 to 255, shape (64, 64).
    """
    # Rounded, so that integer grey levels at the edge of a step are all counted on the same side of it.
    steps = (small.clip(0, 255) + np.float32(0.5)).astype(np.uint8).ravel() >> 3
    shares = np.bincount(steps, minlength=_BINS) / small.size
    if shares.max() > _MOST_OF_ONE_GREY:
        seen = shares[shares > 0]
        if -float((seen * np.log2(seen)).sum()) < _MIN_ENTROPY:
            return FEW_GREYS
    mean, whole = small.mean(dtype=np.float64), float(small.var(dtype=np.float64))
    rows = small.mean(axis=1, dtype=np.float64) - mean
    columns = small.mean(axis=0, dtype=np.float64) - mean
    of_rows, of_columns = float(np.square(rows).mean()), float(np.square(columns).mean())
    if of_rows + of_columns > _MAX_EXPLAINED * whole:
        return ROWS_AND_COLUMNS
    # J. W. Tukey, One degree of freedom for non-additivity, Biometrics 5 (1949). Only the product of these
    # rows and columns counts, not any product: hiding a photo beneath lines takes as strong ones as without.
    if of_rows * of_columns <= _LEAST_PRODUCT * whole**2:
        return 0
    both = float(rows @ (small - mean) @ columns) / small.size
    of_product = both**2 / (of_rows * of_columns)
    return ROWS_AND_COLUMNS if of_rows + of_columns + of_product > _MAX_WITH_PRODUCT * whole else 0


Luma = NDArray[np.uint8]

_SAMPLES = 128
"""Number of pixels to sample from a line, so that large pictures cost no more than others; as in _pdq.c. The
sample has at most 255 pixels, whose sum of squares is exact as a float in any order."""
_TILES, _EVEN, _BLACK, _WHITE = 16, 12, 8, 248
"""Tiles along a side of a picture, and the grey levels that define an even tile; as in _pdq.c."""
_MIDDLE = pdq_reduction.FREQUENCIES**2 // 2
_DCT = pdq_reduction.dct_matrix()
_LIMITS = np.array(SIMILARITY_LIMITS)


class KernelResult(NamedTuple):
    """The digests and properties of a reduced picture."""

    digests: bytes
    """The digests, concatenated in the order of the requested turns."""
    gap: float
    """Difference between the plain picture's median frequency and the next one above it."""
    lowest: int
    quality: int
    highest: int
    """The quality, and its minimum and maximum if gradients are off by the slack."""
    doubt: int
    """The result of `similarity_doubt`."""
    even: int
    """Tiles, of 256, in the largest rectangle of tiles with even brightness; see `low_contrast`."""


class FilterWeights(NamedTuple):
    """The non-zero parts of the weight matrices, row by row, in the layout of the C loops."""

    spans: bytes
    """Shape (ways, 64, 2), int32: first pixel and number of pixels."""
    weights: bytes
    """Shape (ways, 64, n), float32: n is the largest number of pixels; unused weights are zero."""


class Kernel(ABC):
    """One implementation of the loops."""

    name: ClassVar[str]

    @abstractmethod
    def reductions(
        self, luma: Luma, stored: tuple[int, int] | None, groups: tuple[tuple[ReductionMode, ...], ...]
    ) -> list[Floats]:
        """Reduce a picture in several ways; see `pdq_reduction.reductions`."""

    @abstractmethod
    def judged(self, small: Floats, turns: Sequence[int], slack: float) -> KernelResult:
        """Hash a reduced picture.

        Args:
            small: shape (n, 64, n, 64) as `reductions` returns it: plain, and mirrored for n > 1.
            turns: some of `variants.DIHEDRAL`, 0 first; only 0 if n is 1.
            slack: maximum error of a gradient, in hundredths of the whole range.
        """

    def hashed(
        self,
        luma: Luma,
        stored: tuple[int, int] | None,
        groups: tuple[tuple[ReductionMode, ...], ...],
        turns: tuple[int, ...],
        slack: float,
    ) -> Iterator[KernelResult]:
        """Reduce a picture by each group of ways, and hash each result."""
        for small in self.reductions(luma, stored, groups):
            yield self.judged(small, turns, slack)

    @abstractmethod
    def restored(self, luma: Luma, maps: NDArray[np.float32]) -> bytes:
        """Hash restorations of a picture; return the digests, concatenated.

        Args:
            luma: brightness, shape (height, width).
            maps: shape (restorations, 6), as `pdq_restored.restoration_maps` returns it.
        """

    @abstractmethod
    def rounded(self, luma: Luma) -> tuple[Floats, Floats]:
        """Return the picture reduced to (64, 64) and its 16x16 frequencies, rounded as in `pdq_reduction`."""

    @abstractmethod
    def lines(self, luma: Luma) -> tuple[Floats, Floats]:
        """Return the mean and standard deviation of each row of a picture, from every n-th pixel."""

    @abstractmethod
    def least_edge(self, luma: Luma) -> float:
        """Return the smallest standard deviation among the first and last row and column."""

    def inner_boxes(self, luma: Luma) -> list[tuple[int, int, int, int]] | None:
        """Return the result of `borders.find_inner_boxes`; None if this kernel has no loop for it."""
        return None


class NumpyKernel(Kernel):
    """The loops in numpy."""

    name = "numpy"

    def reductions(
        self, luma: Luma, stored: tuple[int, int] | None, groups: tuple[tuple[ReductionMode, ...], ...]
    ) -> list[Floats]:
        """Reduce with matrix products, one band of rows at a time."""
        return reductions(luma, stored, groups)

    def judged(self, small: Floats, turns: Sequence[int], slack: float) -> KernelResult:
        """Hash with one numpy operation per step."""
        plain = np.ascontiguousarray(small[0, :, 0])
        frequencies = np.matmul(_DCT @ plain, _DCT.T).ravel()
        ordered = np.partition(frequencies, (_MIDDLE - 1, _MIDDLE))
        steps = np.abs(gradients(plain))
        narrow = np.float32(slack)
        return KernelResult(
            b"".join((digest_of(frequencies), *turned_digests(small, turns[1:]))),
            float(ordered[_MIDDLE]) - float(ordered[_MIDDLE - 1]),
            quality_of(np.maximum(steps - narrow, 0)),
            quality_of(steps),
            quality_of(steps + narrow),
            similarity_doubt(plain),
            _area(largest_rectangle(rows_of_tiles(plain))),
        )

    def restored(self, luma: Luma, maps: NDArray[np.float32]) -> bytes:
        """Hash one restoration after another."""
        return b"".join(map(digest_of, restored_frequencies(box_means(luma), maps)))

    def rounded(self, luma: Luma) -> tuple[Floats, Floats]:
        """Reduce row by row."""
        small = pdq_reduction.blur_and_reduce(luma)
        return small, pdq_reduction.lowest_frequencies(small)

    def lines(self, luma: Luma) -> tuple[Floats, Floats]:
        """Compute all lines at once."""
        step = max(1, luma.shape[1] // _SAMPLES)
        values = luma[:, ::step].astype(np.float32)
        means: Floats = values.mean(axis=1)
        squares = np.einsum("ij,ij->i", values, values) / np.float32(values.shape[1])
        spreads: Floats = np.sqrt(np.maximum(squares - means**2, 0))
        return means, spreads

    def least_edge(self, luma: Luma) -> float:
        """Compute one edge after another."""
        edges = (luma[0], luma[-1], luma[:, 0], luma[:, -1])
        return min(float(self.lines(edge[None])[1][0]) for edge in edges)


class CKernel(Kernel):
    """The loops in C: intermediate values are not stored in memory, and one call handles a whole picture."""

    name = "C"

    def reductions(
        self, luma: Luma, stored: tuple[int, int] | None, groups: tuple[tuple[ReductionMode, ...], ...]
    ) -> list[Floats]:
        """Sum strips of columns, which stay in the core's cache."""

        luma = _with_rows(luma)
        height, width = stored or luma.shape
        found = []
        for ways in groups:
            down, across = taps(height, luma.shape[0], ways), taps(width, luma.shape[1], ways)
            small = np.empty((len(ways), SIDE, len(ways), SIDE), np.float32)
            _pdq.reduce(luma, *down, *across, small)
            found.append(small.transpose(2, 3, 0, 1))
        return found

    def judged(self, small: Floats, turns: Sequence[int], slack: float) -> KernelResult:
        """Run all steps in one call."""

        as_left = np.ascontiguousarray(small.transpose(2, 3, 0, 1))
        return _judged(_pdq.judge(as_left, _DCT, _LIMITS, places_of(tuple(turns)), slack))

    def hashed(
        self,
        luma: Luma,
        stored: tuple[int, int] | None,
        groups: tuple[tuple[ReductionMode, ...], ...],
        turns: tuple[int, ...],
        slack: float,
    ) -> Iterator[KernelResult]:
        """Reduce and hash each group in one call."""

        luma = _with_rows(luma)
        height, width = luma.shape
        places = places_of(turns)
        for tables in _tables_of(stored or luma.shape, height, width, groups):
            yield _judged(_pdq.hashed(luma, *tables, _DCT, _LIMITS, places, slack))

    def restored(self, luma: Luma, maps: NDArray[np.float32]) -> bytes:
        """Hash all restorations in one call."""
        down, across = box_weights(luma.shape[0]), box_weights(luma.shape[1])
        small = np.empty((BOXES, BOXES), np.float32)
        _pdq.reduce(_with_rows(luma), *down, *across, small)
        return _pdq.restored(small, maps, _DCT)

    def rounded(self, luma: Luma) -> tuple[Floats, Floats]:
        """Reduce eight rows at a time."""

        small = np.empty((SIDE, SIDE), np.float32)
        frequencies = np.empty((pdq_reduction.FREQUENCIES,) * 2, np.float32)
        _pdq.rounded(_with_rows(luma), _DCT, small, frequencies)
        return small, frequencies

    def lines(self, luma: Luma) -> tuple[Floats, Floats]:
        """Compute line by line; for a transposed picture, by its columns in memory."""

        found = np.empty((2, luma.shape[0]), np.float32)
        turned_only = luma.strides[0] == 1 and luma.strides[1] != 1
        _pdq.lines(luma.T if turned_only else _with_rows(luma), turned_only, found)
        return found[0], found[1]

    def least_edge(self, luma: Luma) -> float:
        """Compute all edges in one call."""

        return _pdq.least_edge(_with_rows(luma))

    def inner_boxes(self, luma: Luma) -> list[tuple[int, int, int, int]]:
        """Find the boxes; a line is measured only if the result depends on it."""

        return _pdq.inner_boxes(_with_rows(luma))


def taps(length: int, kept: int, ways: tuple[ReductionMode, ...]) -> FilterWeights:
    """Return the weights that reduce a side of `length`, decoded at `kept` pixels, to 64 positions."""
    return (_taps if kept <= CACHED_SIDE_MAX else _taps.__wrapped__)(length, kept, ways)


def _tables_of(
    stored: tuple[int, ...], height: int, width: int, groups: tuple[tuple[ReductionMode, ...], ...]
) -> tuple[tuple[bytes, bytes, bytes, bytes], ...]:
    """Return the weights for the rows and columns of each group of ways."""
    remembered = max(height, width) <= CACHED_SIDE_MAX
    return (_tables if remembered else _tables.__wrapped__)(stored, height, width, groups)


@lru_cache(maxsize=64)
def _tables(
    stored: tuple[int, ...], height: int, width: int, groups: tuple[tuple[ReductionMode, ...], ...]
) -> tuple[tuple[bytes, bytes, bytes, bytes], ...]:
    return tuple((*taps(stored[0], height, ways), *taps(stored[1], width, ways)) for ways in groups)


@lru_cache(maxsize=256)
def _taps(length: int, kept: int, ways: tuple[ReductionMode, ...]) -> FilterWeights:
    numbers = bytes(number for way in ways for number in (way.rendering, way.mirrored))
    return FilterWeights(*_pdq.weights(length, kept, reduction_factor(length, kept), numbers))


@cache
def best_kernel() -> Kernel:
    """Return the C loops if they were built for this machine, else the numpy loops."""
    return CKernel() if BUILT else NumpyKernel()


def rows_of_tiles(small: Floats) -> list[int]:
    """Return which tiles of a reduced picture have even brightness and are neither black nor white.

    Args:
        small: shape (64, 64).

    Returns:
        A number for each of 16 rows, with a bit for each of 16 tiles; the lowest bit is the leftmost tile.
    """
    tiles = small.reshape(_TILES, SIDE // _TILES, _TILES, SIDE // _TILES)
    least, most = tiles.min(axis=(1, 3)), tiles.max(axis=(1, 3))
    both = least + most
    even = (most - least < _EVEN) & (both > 2 * _BLACK) & (both < 2 * _WHITE)
    return [sum(1 << place for place in np.flatnonzero(row).tolist()) for row in even]


def largest_rectangle(rows: Sequence[int]) -> tuple[int, int, int, int]:
    """Return first row, end of rows, first column and end of columns of the largest rectangle of set bits."""
    best = (0, 0, 0, 0)
    for top in range(len(rows)):
        common = rows[top]
        for bottom in range(top, len(rows)):
            common &= rows[bottom]
            if not common:
                break
            run, width = common, 0
            while run:
                last, width = run, width + 1
                run &= run >> 1
            left = (last & -last).bit_length() - 1
            if (bottom + 1 - top) * width > _area(best):
                best = (top, bottom + 1, left, left + width)
    return best


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[1] - box[0]) * (box[3] - box[2])


def digest_of(frequencies: Floats) -> bytes:
    """Return the digest of 16x16 frequencies; its hexadecimal form starts with the highest bit."""
    flat = frequencies.ravel()
    above = flat > np.partition(flat, _MIDDLE - 1)[_MIDDLE - 1]
    return np.packbits(above[::-1]).tobytes()


def gradients(small: Floats) -> Floats:
    """Return the differences between vertical and horizontal neighbours, in hundredths of the whole range."""
    down = small[:-1] - small[1:]
    across = small[:, :-1] - small[:, 1:]
    return np.concatenate((down.ravel(), across.ravel())) * np.float32(100) / np.float32(255)


def quality_of(steps: Floats) -> int:
    """Return the quality from 0 to 100, from the sum of the gradients, each truncated to an integer."""
    return min(100, int(np.abs(steps.astype(np.int32)).sum()) // 90)


def _judged(found: tuple[bytes, float, int, int, int, int, int, int]) -> KernelResult:
    """Convert the result of the C loops."""
    digests, gap, lowest, quality, highest, few, lined, even = found
    doubt = FEW_GREYS if few else ROWS_AND_COLUMNS if lined else 0
    return KernelResult(digests, gap, lowest, quality, highest, doubt, even)


def _with_rows(luma: Luma) -> Luma:
    """Return the picture with each row contiguous in memory; a copy only if needed."""
    return luma if luma.strides[1] == 1 else np.ascontiguousarray(luma)
