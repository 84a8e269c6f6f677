"""The search of vectors of bytes by squared Euclidean distance: leaves of near entries, coarse coordinates.

Each entry has 16 coordinates. The first 15 are those of its vector along the principal axes of a sample of
the entries; the last is the length of what these leave over. Along orthonormal axes, two vectors are never
farther apart than they are in full, and neither are the lengths of their rests. So the distance of two
entries' coordinates never exceeds that of their vectors, whatever the axes are: a poor sample costs time, but
no match. A coordinate is stored as a byte, in steps. Coordinates beyond a byte are clipped, which brings none
farther apart, and rounding moves each by half a step at most, which the limit of a search allows for.

Entries are split in two halves along the axis in which they differ most, again and again, until leaves of
128 are left. A query passes over leaves whose box of coordinates is beyond the limit, then over entries whose
coordinates are, first by half of the axes; what remains is compared in full.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hashscan.c_parts import BUILT
from hashscan.lists.index.base import DamagedIndexError, Hits, Segment, Strategy, joined

if BUILT:
    from hashscan.lists.index import _euclid

AXES = 16
"""Number of coordinates of an entry; as in _euclid.c."""
LEAF = 128
"""Number of entries of a leaf; as in _euclid.c."""
GROUP = 16
"""The number of boxes is padded to a multiple of this; as in _euclid.c."""
_SAMPLE = 1 << 15
"""Number of entries that determine the axes."""
_SPREAD_SAMPLE = 1 << 12
"""Number of entries by which the axis of a split is chosen."""
_BLOCK = 1 << 14
"""Number of entries projected at a time."""
_AT_ONCE = 1 << 10
"""Number of leaves whose entries numpy compares at a time."""
_SIGMAS = 3.5
"""Standard deviations on each side of the mean that a byte covers; the rest is clipped."""
_STEP_LEAST = 0.5
_SLACK = 1e-3
"""Allowance, in steps, for floating-point arithmetic, whose errors are a millionth of it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The axes along which coordinates are measured, and the steps in which they are stored."""

    step: float
    centre: NDArray[np.float64]
    """Coordinates that are stored as 128, shape (AXES,)."""
    axes: NDArray[np.float64]
    """Orthonormal, shape (AXES - 1, size)."""

    @classmethod
    def of(cls, values: NDArray[np.uint8]) -> Frame:
        """Choose the frame for some vectors, shape (entries, size)."""
        stride = max(len(values) // _SAMPLE, 1)
        sample = values[::stride][:_SAMPLE].astype(np.float64)
        _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(sample, rowvar=False, bias=True)))
        axes = np.zeros((AXES - 1, values.shape[1]))
        count = min(AXES - 1, values.shape[1])
        axes[:count] = vectors.T[::-1][:count]
        coordinates = _coordinates(sample, axes)
        step = max(float(coordinates.std(axis=0).max()) * _SIGMAS / 127, _STEP_LEAST)
        return cls(step, coordinates.mean(axis=0), axes)

    @classmethod
    def read(cls, column: NDArray[np.float64], size: int) -> Frame:
        """Return the frame of which `column` was made, else raise DamagedIndexError."""
        if not np.isfinite(column).all() or column[0] < _STEP_LEAST:
            raise DamagedIndexError("the axes are no numbers")
        return cls(float(column[0]), column[1 : 1 + AXES], column[1 + AXES :].reshape(AXES - 1, size))

    def column(self) -> NDArray[np.float64]:
        """Return all numbers of the frame, shape (length_of_column(size),)."""
        return np.concatenate(([self.step], self.centre, self.axes.ravel()))

    def codes(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the coordinates of vectors as bytes, shape (n, AXES)."""
        steps = (_coordinates(values.astype(np.float64), self.axes) - self.centre) / self.step
        codes: NDArray[np.uint8] = np.clip(np.rint(steps) + 128, 0, 255).astype(np.uint8)
        return codes

    def limits(self, thresholds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the largest squared distance of codes whose vectors may be within the thresholds."""
        limits = np.floor((np.sqrt(thresholds) / self.step + math.sqrt(AXES) + _SLACK) ** 2)
        return np.minimum(limits, AXES * 255**2).astype(np.int64)


def _coordinates(vectors: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    along = vectors @ axes.T
    rest = np.einsum("ij,ij->i", vectors, vectors) - np.einsum("ij,ij->i", along, along)
    return np.column_stack((along, np.sqrt(np.maximum(rest, 0))))


@dataclass(frozen=True, slots=True)
class Leaves:
    """The compiled columns of one segment, and the vectors they were built from."""

    values: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    """For each leaf, for each pair of axes, two bytes for each of LEAF entries; the last may be none."""
    low: NDArray[np.uint8]
    """Least code of each leaf: for each pair of axes, two bytes for each leaf, padded to groups."""
    high: NDArray[np.uint8]
    rows: NDArray[np.uint32]
    """Row of each entry of the leaves, shape (entries,)."""


class EuclideanKernel(ABC):
    """One implementation of the loops."""

    name: ClassVar[str]

    @abstractmethod
    def probe(
        self,
        leaves: Leaves,
        codes: NDArray[np.uint8],
        limits: NDArray[np.int64],
        queries: NDArray[np.uint8],
        thresholds: NDArray[np.int64],
    ) -> Hits:
        """Search by leaves.

        Args:
            codes: codes of the queries, shape (n, AXES).
            limits: largest squared distance of codes, shape (n,).
            queries: shape (n, size).
            thresholds: largest squared distance, shape (n,).

        Returns:
            Each hit once, in any order.

        Raises:
            DamagedIndexError: the columns contradict themselves.
        """

    @abstractmethod
    def scan(
        self, values: NDArray[np.uint8], queries: NDArray[np.uint8], thresholds: NDArray[np.int64]
    ) -> Hits:
        """Compare with every entry; return each hit once, in any order."""


class NumpyEuclidean(EuclideanKernel):
    """The loops in numpy, available everywhere."""

    name = "numpy"

    def probe(
        self,
        leaves: Leaves,
        codes: NDArray[np.uint8],
        limits: NDArray[np.int64],
        queries: NDArray[np.uint8],
        thresholds: NDArray[np.int64],
    ) -> Hits:
        count = -(-len(leaves.rows) // LEAF)
        low, high = (_by_axis(part[None])[0, :, :count] for part in (leaves.low, leaves.high))
        of_leaf = leaves.codes.reshape(-1, AXES * LEAF)
        found = []
        for query_row, code in enumerate(codes.astype(np.int16)):
            outside = np.zeros(count, dtype=np.int32)
            for axis in range(AXES):
                beyond = np.maximum(low[axis] - code[axis], code[axis] - high[axis]).clip(0)
                outside += beyond.astype(np.int32) ** 2
            near = np.flatnonzero(outside <= limits[query_row])
            for begin in range(0, len(near), _AT_ONCE):
                some = near[begin : begin + _AT_ONCE]
                apart = (_by_axis(of_leaf[some]).astype(np.int32) - code[None, :, None]) ** 2
                leaf, entry = np.nonzero(apart.sum(axis=1) <= limits[query_row])
                places = some[leaf] * LEAF + entry
                rows = leaves.rows[places[places < len(leaves.rows)]].astype(np.int64)
                if rows.size and rows.max() >= len(leaves.values):
                    raise DamagedIndexError("a leaf names a row that is not there")
                distances = _distances(leaves.values[rows], queries[query_row])
                hit = distances <= thresholds[query_row]
                found.append((np.full(int(hit.sum()), query_row), rows[hit], distances[hit]))
        return joined(found)

    def scan(
        self, values: NDArray[np.uint8], queries: NDArray[np.uint8], thresholds: NDArray[np.int64]
    ) -> Hits:
        found = []
        for begin in range(0, len(values), _BLOCK):
            block = values[begin : begin + _BLOCK]
            for query_row, query in enumerate(queries):
                distances = _distances(block, query)
                rows = np.flatnonzero(distances <= thresholds[query_row])
                found.append((np.full(len(rows), query_row), begin + rows, distances[rows]))
        return joined(found)


class CEuclidean(EuclideanKernel):
    """The loops in C."""

    name = "C"

    def probe(
        self,
        leaves: Leaves,
        codes: NDArray[np.uint8],
        limits: NDArray[np.int64],
        queries: NDArray[np.uint8],
        thresholds: NDArray[np.int64],
    ) -> Hits:
        columns = leaves.values, leaves.codes, leaves.low, leaves.high, leaves.rows
        try:
            hits = _euclid.probe(*columns, codes, limits, queries, thresholds, queries.shape[1])
        except _euclid.DamagedFileError as error:
            raise DamagedIndexError(str(error)) from error
        return _unpacked(hits)

    def scan(
        self, values: NDArray[np.uint8], queries: NDArray[np.uint8], thresholds: NDArray[np.int64]
    ) -> Hits:
        return _unpacked(_euclid.scan(np.ascontiguousarray(values), queries, thresholds, queries.shape[1]))


@cache
def best_euclidean() -> EuclideanKernel:
    return CEuclidean() if BUILT and sys.byteorder == "little" else NumpyEuclidean()


class Euclidean(Strategy):
    """A strategy of leaves of near entries."""

    def __init__(self, kernel: EuclideanKernel | None = None) -> None:
        """Use the given loops, or the fastest available."""
        self._kernel = kernel or best_euclidean()

    def blocks(self, values: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield frame, codes, boxes and rows; needs 50 bytes of memory for each entry."""
        frame = Frame.of(values)
        yield "frame", frame.column()
        codes = np.empty((len(values), AXES), dtype=np.uint8)
        for begin in range(0, len(values), _BLOCK):
            codes[begin : begin + _BLOCK] = frame.codes(values[begin : begin + _BLOCK])
        rows = np.arange(len(values), dtype=np.uint32)
        _split(codes, rows)
        yield "rows", rows
        starts = np.arange(0, len(values), LEAF)
        yield "low", by_pairs(np.minimum.reduceat(codes, starts, axis=0), GROUP)
        yield "high", by_pairs(np.maximum.reduceat(codes, starts, axis=0), GROUP)
        for begin in starts.tolist():
            yield "codes", by_pairs(codes[begin : begin + LEAF], LEAF)

    def expected(self, entries: int, size: int) -> Mapping[str, tuple[np.dtype[Any], int]]:
        """Return type and number of rows of each column."""
        byte, leaves = np.dtype("u1"), -(-entries // LEAF)
        boxes = -(-leaves // GROUP) * GROUP
        return {
            "frame": (np.dtype("<f8"), 1 + AXES + (AXES - 1) * size),
            "rows": (np.dtype("<u4"), entries),
            "low": (byte, AXES * boxes),
            "high": (byte, AXES * boxes),
            "codes": (byte, AXES * LEAF * leaves),
        }

    def open(self, values: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]) -> Segment:
        """Return a segment that searches by leaves."""
        frame = Frame.read(columns["frame"], values.shape[1])
        leaves = Leaves(values, columns["codes"], columns["low"], columns["high"], columns["rows"])
        return _Euclidean(values, frame, leaves, self._kernel)

    def eager(self, values: NDArray[np.uint8]) -> Segment:
        """Return a segment that compares with every entry: those of a small list stay in a core's cache."""
        return self.plain(values)

    def plain(self, values: NDArray[np.uint8]) -> Segment:
        """Return a segment that compares with every entry."""
        return _Euclidean(values, None, None, self._kernel)


@dataclass
class _Euclidean(Segment):
    values: NDArray[np.uint8]
    frame: Frame | None
    leaves: Leaves | None
    kernel: EuclideanKernel

    def query(self, values: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> Hits:
        """Search by leaves, if there are any."""
        thresholds = np.ascontiguousarray(thresholds)
        if self.frame is None or self.leaves is None:
            query_rows, rows, distances = self.kernel.scan(self.values, values, thresholds)
        else:
            codes, limits = self.frame.codes(values), self.frame.limits(thresholds)
            query_rows, rows, distances = self.kernel.probe(self.leaves, codes, limits, values, thresholds)
        order = np.lexsort((rows, query_rows))
        return query_rows[order], rows[order], distances[order]


def _split(codes: NDArray[np.uint8], rows: NDArray[np.uint32]) -> None:
    """Sort entries into leaves, in place: along the axis in which they differ most, into halves of leaves."""
    waiting = [(0, len(codes))]
    while waiting:
        begin, end = waiting.pop()
        leaves = -(-(end - begin) // LEAF)
        if leaves < 2:
            continue
        of_node = codes[begin:end]
        spread = of_node[:: max((end - begin) // _SPREAD_SAMPLE, 1)].astype(np.float32).var(axis=0)
        half = leaves // 2 * LEAF
        order = np.argpartition(of_node[:, int(spread.argmax())], half)
        codes[begin:end] = of_node[order]
        rows[begin:end] = rows[begin:end][order]
        waiting += [(begin, begin + half), (begin + half, end)]


def by_pairs(codes: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Return codes, shape (n, AXES), padded to a multiple, for each pair of axes two bytes for each."""
    filled = np.zeros((-(-len(codes) // multiple) * multiple, AXES), dtype=np.uint8)
    filled[: len(codes)] = codes
    in_pairs: NDArray[np.uint8] = filled.reshape(-1, AXES // 2, 2).transpose(1, 0, 2).ravel()
    return in_pairs


def _by_axis(pairs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what `by_pairs` made of several blocks, shape (blocks, bytes), as shape (blocks, AXES, n)."""
    return pairs.reshape(len(pairs), AXES // 2, -1, 2).transpose(0, 1, 3, 2).reshape(len(pairs), AXES, -1)


def _distances(values: NDArray[np.uint8], query: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the squared distances of vectors to one."""
    apart = values.astype(np.int32) - query
    squares: NDArray[np.int64] = np.einsum("ij,ij->i", apart, apart).astype(np.int64)
    return squares


def _unpacked(hits: bytes) -> Hits:
    """Return hits from the C loops as arrays: query, entry and distance of each in 4 bytes."""
    table = np.frombuffer(hits, dtype=np.uint32).reshape(-1, 3).astype(np.int64)
    return table[:, 0], table[:, 1], table[:, 2]
