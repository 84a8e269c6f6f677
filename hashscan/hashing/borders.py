"""Finds the picture within uniform borders: letterboxes, frames, a viewer's window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
Box = tuple[int, int, int, int]

_TOLERANCE = 12
"""By how much a border's brightness may vary: what JPEG at low quality leaves beside an edge."""
_LEAST = 32
"""Shortest side of what is left, in pixels as decoded."""
_LEAST_SHARE = 0.1
"""Least share of the area that is left."""
_LEVELS = 3
"""Frames within frames that are looked through."""
_SAMPLES = 512
"""Pixels of a row or column that are looked at, so that large pictures cost no more than others."""


def trimmed(luma: Luma, stored: tuple[int, int] | None) -> Iterator[tuple[Luma, tuple[int, int] | None]]:
    """The picture without its uniform borders; nothing where it has none.

    Args:
        luma: brightness, shape (height, width).
        stored: as for `PictureHash.digest`.

    Yields:
        What `PictureHash.digest` takes.
    """
    box = inner_box(luma)
    if box is None:
        return
    top, bottom, left, right = box
    part = luma[top:bottom, left:right]
    yield part, None if stored is None else stored_size(luma.shape, stored, box)


def stored_size(shape: tuple[int, ...], stored: tuple[int, int], box: Box) -> tuple[int, int]:
    """The size in the stored picture of a box in a reduced one."""
    top, bottom, left, right = box
    sizes = []
    for length, whole, first, last in (
        (shape[0], stored[0], top, bottom),
        (shape[1], stored[1], left, right),
    ):
        factor = next(f for f in (1, 2, 4, 8) if -(-whole // f) == length)
        sizes.append(min(last * factor, whole) - first * factor)
    return sizes[0], sizes[1]


def inner_box(luma: Luma) -> Box | None:
    """First row, end of rows, first column and end of columns of what lies within uniform borders.

    Returns:
        None where there is no border, or too little within.
    """
    height, width = luma.shape
    if min(height, width) < _LEAST:
        return None
    box = (0, height, 0, width)
    for _ in range(_LEVELS):
        inner = _without_border(luma, box)
        if inner == box:
            break
        box = inner
    top, bottom, left, right = box
    rows, columns = bottom - top, right - left
    if box == (0, height, 0, width) or min(rows, columns) < _LEAST:
        return None
    return box if rows * columns >= _LEAST_SHARE * height * width else None


def _without_border(luma: Luma, box: Box) -> Box:
    """Cut off the rows, then the columns that are as uniform as the outermost, and like it."""
    top, bottom, left, right = box
    first, last = _run(luma[top:bottom, left:right])
    top, bottom = top + first, top + last
    first, last = _run(luma[top:bottom, left:right].T)
    return top, bottom, left + first, left + last


def _run(lines: Luma) -> tuple[int, int]:
    """First line and end of the lines that are no border."""
    length = lines.shape[0]
    step = max(1, lines.shape[1] // _SAMPLES)
    seen = lines[:, ::step]
    start = _border(seen)
    if start == length:
        return 0, length
    return start, length - _border(seen[::-1])


def _border(lines: Luma) -> int:
    """How many lines from the first on are uniform and of one brightness."""
    low = high = -1
    for number, line in enumerate(lines):
        least, most = int(line.min()), int(line.max())
        low, high = (least, most) if number == 0 else (min(low, least), max(high, most))
        if high - low > _TOLERANCE:
            return number
    return len(lines)
