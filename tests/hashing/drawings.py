"""Grey pictures drawn with whole numbers only, so that every machine draws the same bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]


def scatter(values: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Numbers from 0 to 255 that look random, one for each value (the mixing steps of splitmix64)."""
    mixed = values.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    # The last step mixes the lower half alone.
    mixed >>= np.uint64(56)
    return mixed.view(np.int64)


def _axes(height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.arange(height, dtype=np.int64)[:, None], np.arange(width, dtype=np.int64)[None, :]


def _squeezed(values: NDArray[np.int64], height: int, width: int) -> Luma:
    return np.broadcast_to(np.clip(values, 0, 255), (height, width)).astype(np.uint8)


def noise(height: int, width: int) -> Luma:
    """Every pixel by chance."""
    y, x = _axes(height, width)
    return _squeezed(scatter(y * width + x, 1), height, width)


def faint(height: int, width: int) -> Luma:
    """Nearly white, with a little noise."""
    return (240 + noise(height, width) // 17).astype(np.uint8)


def flat(height: int, width: int) -> Luma:
    """One grey."""
    return np.full((height, width), 77, np.uint8)


def speck(height: int, width: int) -> Luma:
    """One grey but for a pixel."""
    picture = flat(height, width)
    picture[height // 3, width // 2] = 255
    return picture


def rightwards(height: int, width: int) -> Luma:
    """Brighter to the right."""
    _, x = _axes(height, width)
    return _squeezed(x * 255 // max(1, width - 1), height, width)


def downwards(height: int, width: int) -> Luma:
    """Brighter to the bottom."""
    y, _ = _axes(height, width)
    return _squeezed(y * 255 // max(1, height - 1), height, width)


def slanted(height: int, width: int) -> Luma:
    """Brighter to the lower right."""
    y, x = _axes(height, width)
    return _squeezed((x * 3 + y * 2) * 255 // (3 * width + 2 * height), height, width)


def checker(height: int, width: int) -> Luma:
    """A board of squares of 16 pixels."""
    y, x = _axes(height, width)
    return _squeezed((x // 16 + y // 16) % 2 * 200, height, width)


def disc(height: int, width: int) -> Luma:
    """A white disc in the middle of black, mirrored both ways."""
    y, x = _axes(height, width)
    radius = min(height, width) // 3
    inside = (2 * y - height + 1) ** 2 + (2 * x - width + 1) ** 2 < 4 * radius**2
    return _squeezed(inside * 255, height, width)


def rings(height: int, width: int) -> Luma:
    """Rings around a point off the middle, ever finer outwards."""
    y, x = _axes(height, width)
    square = (y * 512 // height - 200) ** 2 + (x * 512 // width - 300) ** 2
    return _squeezed(square // 512 % 256, height, width)


def tiles(height: int, width: int) -> Luma:
    """Nine by nine rectangles of grey."""
    y, x = _axes(height, width)
    return _squeezed(scatter(y * 9 // height * 9 + x * 9 // width, 2), height, width)


def mirrored(height: int, width: int) -> Luma:
    """Rectangles, the right half a mirror of the left."""
    left = tiles(height, width)[:, : (width + 1) // 2]
    return np.concatenate((left, left[:, : width // 2][:, ::-1]), axis=1)


def clouds(height: int, width: int) -> Luma:
    """Soft spots of two sizes: as a photo, it has much in the low frequencies and little in the high."""
    return _squeezed((_soft(height, width, 5, 3) * 3 + _soft(height, width, 19, 4)) // 4, height, width)


def mist(height: int, width: int) -> Luma:
    """Soft spots of little contrast, with quality about 50."""
    return _squeezed(100 + _soft(height, width, 10, 5) // 4, height, width)


def scene(height: int, width: int) -> Luma:
    """Soft spots, a darker ground, a disc and a little noise."""
    y, x = _axes(height, width)
    picture = _soft(height, width, 7, 6)
    picture = np.where(y > height * 2 // 3, picture // 2, picture)
    sun = (y * 300 // height - 90) ** 2 + (x * 300 // width - 220) ** 2 < 1600
    picture = np.where(sun, 240, picture)
    return _squeezed(picture + scatter(y * width + x, 7) // 20, height, width)


def _soft(height: int, width: int, spots: int, seed: int) -> NDArray[np.int64]:
    """So many greys by so many, and even transitions between them."""
    y, x = _axes(height, width)
    row, down = np.divmod(y * 256 * spots // height, 256)
    column, right = np.divmod(x * 256 * spots // width, 256)

    greys = scatter(np.arange((spots + 1) ** 2), seed).reshape(spots + 1, spots + 1)
    across = (greys[:, column[0]] * (256 - right) + greys[:, column[0] + 1] * right).astype(np.int32)
    upper, lower, weight = across[row[:, 0]], across[row[:, 0] + 1], down.astype(np.int32)
    return upper + ((lower - upper) * weight >> 8) >> 8


DRAWINGS: dict[str, Callable[[int, int], Luma]] = {
    drawing.__name__: drawing
    for drawing in (
        *(noise, faint, flat, speck, rightwards, downwards, slanted, checker),
        *(disc, rings, tiles, mirrored, clouds, mist, scene),
    )
}
