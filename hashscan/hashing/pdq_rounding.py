"""PDQ's steps up to the median in the C++ reference's own order of float32 operations.

The reference keeps running sums in float32, so its result depends on the order of its additions. Most
pictures' hashes don't; for the others this module repeats that order exactly. The order is that of
ThreatExchange's `pdq/cpp` built for x86-64, which has no fused multiply-add.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIDE = 64
FREQUENCIES = 16

_PASSES = 2
_BLOCK = 1 << 16
"""Values held at a time; their running sums stay in the processor's cache."""


def window_size(length: int) -> int:
    """Length of the box filter's window for a side of this length."""
    return (length + 2 * SIDE - 1) // (2 * SIDE)


def window_reach(window: int) -> tuple[int, int]:
    """How far a window reaches before and after the position it is for."""
    after = (window + 2) // 2 - 1
    return window - 1 - after, after


def kept_positions(length: int) -> list[int]:
    """The 64 positions that are kept of a side of this length."""
    return [int((index + 0.5) * length / SIDE) for index in range(SIDE)]


def dct_matrix() -> Floats:
    """The rows 1 to 16 of the 64-point cosine transform, shape (16, 64)."""
    scale = float(np.float32(math.sqrt(2.0 / SIDE)))
    # math.cos is the C library's, as in the reference; numpy's may differ in the last bit.
    return np.array(
        [
            [scale * math.cos((math.pi / 2 / SIDE) * row * (2 * column + 1)) for column in range(SIDE)]
            for row in range(1, FREQUENCIES + 1)
        ],
        np.float32,
    )


def reduced(luma: NDArray[np.uint8]) -> Floats:
    """The picture blurred and reduced to shape (64, 64), as rounded by the reference.

    It streams through the picture and holds one window's height of it as floats.
    """
    height, width = luma.shape
    if (height, width) == (SIDE, SIDE):
        return luma.astype(np.float32)
    across, down = _Additions.along(width), _Additions.along(height)
    columns = np.array(kept_positions(width))
    step = max(1, _BLOCK // width)
    blocks: Iterable[Floats] = (
        luma[row : row + step].astype(np.float32) for row in range(0, height, step)
    )
    for number in range(1, _PASSES + 1):
        # Nothing follows the last pass, so it need give only the columns that are kept.
        wanted = columns if number == _PASSES else np.arange(width)
        blocks = _blurred_down(_blurred_across(blocks, across, wanted), down)
    return np.concatenate(list(blocks))[kept_positions(height)]


def lowest_frequencies(small: Floats) -> Floats:
    """The 16x16 lowest frequencies of a picture of shape (64, 64), summed in the reference's order."""
    matrix = dct_matrix()
    half = np.zeros((FREQUENCIES, SIDE), np.float32)
    for index in range(SIDE):
        half += matrix[:, index, None] * small[index]
    whole = np.zeros((FREQUENCIES, FREQUENCIES), np.float32)
    for index in range(SIDE):
        whole += half[:, index, None] * matrix[:, index]
    return whole


@dataclass(frozen=True, slots=True)
class _Additions:
    """The reference's running sum along one side, as one long series of additions."""

    source: NDArray[np.intp]
    """For each addition, the position whose value is added."""
    sign: Floats
    """1, or -1 for a value that leaves the window."""
    result: NDArray[np.intp]
    """For each position, the addition after which its mean is taken."""
    count: Floats
    """For each position, how many values its window holds."""
    ready: NDArray[np.intp]
    """How many additions can be done once so many positions are known; one longer than the side."""

    @classmethod
    def along(cls, length: int) -> _Additions:
        window = window_size(length)
        before, after = window_reach(window)
        source: list[int] = []
        sign: list[int] = []
        result: list[int] = []
        ready = [0]
        for newest in range(length + after):
            if newest < length:
                source.append(newest)
                sign.append(1)
            position = newest - after
            oldest = position - before - 1
            if position >= 0 and oldest >= 0:
                source.append(oldest)
                sign.append(-1)
            if position >= 0:
                result.append(len(source) - 1)
            if newest < length:
                ready.append(len(source))
        ready[-1] = len(source)
        positions = np.arange(length)
        count = np.minimum(positions + after + 1, length) - np.maximum(positions - before, 0)
        return cls(
            np.array(source), np.array(sign, np.float32), np.array(result), count.astype(np.float32), np.array(ready)
        )


def _blurred_across(blocks: Iterable[Floats], additions: _Additions, wanted: NDArray[np.intp]) -> Iterator[Floats]:
    """Blur each row; give the wanted columns."""
    results, counts = additions.result[wanted], additions.count[wanted]
    for block in blocks:
        sums = np.add.accumulate(block[:, additions.source] * additions.sign, axis=1)
        yield sums[:, results] / counts


def _blurred_down(blocks: Iterable[Floats], additions: _Additions) -> Iterator[Floats]:
    """Blur each column of a picture that comes in blocks of rows."""
    known = done = given = first = 0
    total: Floats | None = None
    kept: Floats | None = None
    keep = int(additions.count.max()) + 1
    for block in blocks:
        kept = block if kept is None else np.concatenate((kept, block))
        known += len(block)
        until = int(additions.ready[known])
        series = kept[additions.source[done:until] - first] * additions.sign[done:until, None]
        if total is not None:
            series[0] += total
        sums = np.add.accumulate(series, axis=0)
        last = int(np.searchsorted(additions.result, until))
        yield sums[additions.result[given:last] - done] / additions.count[given:last, None]
        total, done, given = sums[-1], until, last
        surplus = max(0, len(kept) - keep)
        kept, first = kept[surplus:], first + surplus
