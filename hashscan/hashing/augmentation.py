"""Crop pictures for hash lists, so that the digests of the crops match copies that were cropped.

PDQ tolerates a crop of up to 2 % of a side, so each larger crop needs a digest near it in the list. In a
test with 201 photos, cropped and saved as JPEG again, these crops found at least 95 % of the copies that
lost 2 to 10 % of a side: evenly on all four sides, on one side, or on two opposite sides. Crops at the
corners would need dozens of digests more.
"""

from __future__ import annotations

from collections.abc import Iterator

from hashscan.hashing.borders import Luma, Size, crop_luma

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
"""Crops: the shares of the width and height to cut off at the left, top, right and bottom."""

_LEAST = 64
"""Minimum length of the shorter side, in pixels, of a picture to crop: PDQ's own size."""


def make_crops(luma: Luma, stored: Size | None) -> Iterator[tuple[Luma, Size | None]]:
    """Yield the crops of a picture in the order of `CROPS`; none if the picture is small.

    Args:
        luma: brightness, shape (height, width).
        stored: as for `PictureHash.digest`.

    Yields:
        The arguments for `PictureHash.digest`.
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
        yield crop_luma(luma, stored, box)
