"""Crops of a picture, whose hashes on a list find copies that were cropped.

PDQ bears the loss of two hundredths of a side and no more, so each crop that is to be found needs a hash near
it. Of 201 photos, cropped and saved as JPEG again, these find at least 95 % of those that lost 2 to 10 % of a
side: evenly on all four sides, on one, or on two that face each other. Corners would take dozens more.
"""

from __future__ import annotations

from collections.abc import Iterator

from hashscan.hashing.borders import Luma, Size, part_of

_EVEN = (0.02, 0.0375, 0.055)
_FACING = 0.0375
_ONE_SIDED = (0.03, 0.065, 0.1)

CROPS: tuple[tuple[float, ...], ...] = (
    *((share,) * 4 for share in _EVEN),
    (_FACING, 0.0, _FACING, 0.0),
    (0.0, _FACING, 0.0, _FACING),
    *(
        tuple(share if place == side else 0.0 for place in range(4))
        for share in _ONE_SIDED
        for side in range(4)
    ),
)
"""Shares of the width and height that are cut off at the left, top, right and bottom."""

_LEAST = 64
"""Shortest side in pixels of a picture that is cropped: PDQ's own size."""


def crops(luma: Luma, stored: Size | None) -> Iterator[tuple[Luma, Size | None]]:
    """The crops of a picture in the order of `CROPS`; none of a small one.

    Args:
        luma: brightness, shape (height, width).
        stored: as for `PictureHash.digest`.

    Yields:
        What `PictureHash.digest` takes.
    """
    height, width = luma.shape
    if min(height, width) < _LEAST:
        return
    for left, top, right, bottom in CROPS:
        box = (
            round(height * top),
            height - round(height * bottom),
            round(width * left),
            width - round(width * right),
        )
        yield part_of(luma, stored, box)
