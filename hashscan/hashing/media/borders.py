"""Trim borders: find the picture inside a uniform border, or the largest panel among several.

A line (row or column) is quiet if its brightness hardly varies. A border is the run of quiet lines from an
edge that are as bright as the edge. Panels are the parts that quiet lines of any brightness separate: a photo
and the text below it, or the picture in a viewer's window with its bars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.kernel import best_kernel
from hashscan.hashing.pdq_reduction import reduction_factor

Luma = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]
"""A rectangle: first row, end of rows, first column, end of columns."""
Size = tuple[int, int]
_Cut = Callable[["_Lines", bool], tuple[int, int]]

_QUIET = 2.0
"""Largest standard deviation of a border's line, in grey levels of 256. A larger one would cut into skies."""
_LOOSE = 5.0
_NARROW = 12
"""Maximum lines of a border that may vary up to `_LOOSE`: JPEG artefacts of the picture cross all of it."""
_STILL = 1.0
"""Largest standard deviation of a line between panels, where no edge gives the brightness of such lines."""
_ALIKE = 6.0
"""Largest difference in brightness between a border's lines."""
_STEP = 0.5
"""Share of the picture's own variation from which a line belongs to the picture. JPEG artefacts beside an
edge vary less, and so do lines that are part border and part picture."""
_NEAR = 8
"""Number of lines after a border in which such lines may occur."""
_LEAST_SIDE = 32
_LEAST_SHARE = 0.1
"""Minimum side in pixels as decoded, and minimum share of the area, of a part that is worth hashing."""
_LEVELS = 3
"""Maximum levels of nested frames, and of nested panels, that are examined."""


def trim_borders(luma: Luma, stored: Size | None) -> Iterator[tuple[Luma, Size | None, Box]]:
    """Yield the pictures within a picture; most pictures have none.

    Args:
        luma: brightness, shape (height, width).

    Yields:
        The part inside the border, and its largest panel: the arguments for `PictureHash.digest`, and where
        it is.
    """
    for box in find_inner_boxes(luma):
        yield *crop_luma(luma, stored, box), box


def crop_luma(luma: Luma, stored: Size | None, box: Box) -> tuple[Luma, Size | None]:
    """Return a part of a picture, with its size in the stored picture if `stored` is given."""
    top, bottom, left, right = box
    part = luma[top:bottom, left:right]
    if stored is None:
        return part, None
    rows = reduction_factor(stored[0], luma.shape[0])
    columns = reduction_factor(stored[1], luma.shape[1])
    return part, (
        min(bottom * rows, stored[0]) - top * rows,
        min(right * columns, stored[1]) - left * columns,
    )


def find_inner_boxes(luma: Luma) -> list[Box]:
    """Return the part inside the border, and its largest panel; each only if there and worth hashing."""
    found = best_kernel().inner_boxes(luma)
    if found is not None:
        return found
    height, width = luma.shape
    whole = (0, height, 0, width)
    if min(height, width) < _LEAST_SIDE or best_kernel().least_edge(luma) >= _LOOSE:
        return []
    found = []
    inside = _repeated(luma, whole, _inside_border)
    panel = _repeated(luma, inside, _largest_run)
    for box in (inside, panel):
        rows, columns = box[1] - box[0], box[3] - box[2]
        worth = min(rows, columns) >= _LEAST_SIDE and rows * columns >= _LEAST_SHARE * height * width
        if worth and box != whole and box not in found:
            found.append(box)
    return found


class _Lines:
    """The lines of one axis of a part of a picture."""

    def __init__(self, lines: Luma) -> None:
        self.means, self.spreads = best_kernel().lines(lines)


def _repeated(luma: Luma, box: Box, cut: _Cut) -> Box:
    for level in range(_LEVELS):
        before = box
        top, bottom, left, right = box
        first, last = cut(_Lines(luma[top:bottom, left:right]), level == 0)
        top, bottom = top + first, top + last
        if bottom - top < _LEAST_SIDE:
            return box
        first, last = cut(_Lines(luma[top:bottom, left:right].T), level == 0)
        if last - first < _LEAST_SIDE:
            return box
        box = (top, bottom, left + first, left + last)
        if box == before:
            break
    return box


def _inside_border(lines: _Lines, outermost: bool) -> tuple[int, int]:
    """Return the first line inside the border, and the end of the lines inside it."""
    number = len(lines.means)
    start = _border(lines.spreads, lines.means, outermost)
    if start == number:
        return 0, number
    end = number - _border(lines.spreads[::-1], lines.means[::-1], outermost)
    return _sharpened(lines, start, end)


def _border(spreads: Floats, means: Floats, outermost: bool) -> int:
    """Return how many lines, counted from the first, belong to a border."""
    unlike = np.abs(means - means[0]) > _ALIKE
    narrow = unlike[: _NARROW + 1] | (spreads[: _NARROW + 1] >= _LOOSE)
    if outermost and narrow.any():
        return int(np.argmax(narrow))
    other = unlike | (spreads >= _QUIET)
    return int(np.argmax(other)) if other.any() else len(means)


def _largest_run(lines: _Lines, outermost: bool) -> tuple[int, int]:
    """Return the first line and the end of the longest run of lines between quiet lines."""
    changes = np.flatnonzero(np.diff(lines.spreads < _STILL, prepend=True, append=True))
    if not changes.size:
        return 0, len(lines.means)
    starts, ends = changes[::2], changes[1::2]
    longest = int(np.argmax(ends - starts))
    return _sharpened(lines, int(starts[longest]), int(ends[longest]))


def _sharpened(lines: _Lines, start: int, end: int) -> tuple[int, int]:
    """Leave out the blurred lines between border and picture, if there is a border."""
    if end - start <= 4 * _NEAR:
        return start, end
    if start:
        start += _blurred(lines.spreads[start:], lines.means[start:], lines.means[start - 1])
    if end < len(lines.means):
        end -= _blurred(lines.spreads[:end][::-1], lines.means[:end][::-1], lines.means[end])
    return start, end


def _blurred(spreads: Floats, means: Floats, border: float) -> int:
    """Count the first lines that are as bright as the border and vary much less than the lines after them."""
    # Not np.median: its first call imports another part of numpy.
    level = float(np.sort(spreads[_NEAR : 2 * _NEAR])[_NEAR // 2])
    inside = (spreads[:_NEAR] >= _STEP * level) | (np.abs(means[:_NEAR] - border) > _ALIKE)
    return int(np.argmax(inside)) if inside.any() else 0
