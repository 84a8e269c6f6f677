"""Render pictures and parts with little contrast in brightness: raise it, and extract their chroma planes.

PDQ gives a picture with little contrast in brightness a low quality, so it is not matched. People can still
see such a picture if it is faint, or if it is drawn in colours of one brightness.

A part of even brightness can show something only in its colours. The picture reduced to 64x64, as PDQ hashes
it, is divided into tiles of 4x4. A tile is even if its brightness varies by less than 12 of 256 grey levels;
black and white tiles, which have no colours, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import structs
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.kernel import best_kernel, largest_rectangle, rows_of_tiles
from hashscan.hashing.media.borders import Box, crop_luma, find_inner_boxes
from hashscan.hashing.media.jpeg_header import scale_of
from hashscan.hashing.media.luma_alpha import strips, without_transparent_colour
from hashscan.hashing.media.picture_opening import DRAFT_SIDE, Frame
from hashscan.hashing.pdq_reduction import PLAIN_WAY
from hashscan.hashing.variants import CB, CR

Plane = NDArray[np.uint8]

_MIN_LEVELS = 6
"""Minimum grey levels between the 5th and 95th percentile of a plane's values; below, nothing is visible."""
_DARK, _BRIGHT = 32, 224
"""New values of the two percentiles; they leave room for the values beyond, so that these stay distinct."""


def raise_contrast(plane: Plane) -> Plane | None:
    """Raise the contrast of a plane; return it unchanged if it has enough, None if nothing is visible in it.

    Percentiles are used, not the minimum and maximum, which a single black or white spot or line would set.
    """
    image = Image.fromarray(plane)
    shares = np.cumsum(image.histogram()) / plane.size
    low, high = int(np.searchsorted(shares, 0.05)), int(np.searchsorted(shares, 0.95))
    if high - low < _MIN_LEVELS:
        return None
    if high - low >= _BRIGHT - _DARK:
        return plane
    table = (np.arange(256) - low) * ((_BRIGHT - _DARK) / (high - low)) + _DARK
    return np.asarray(image.point(np.rint(table.clip(0, 255)).astype(int).tolist()))


def is_grey(image: Image.Image) -> bool:
    """Return True if a picture's mode has no colours."""
    return image.mode in {"1", "L", "LA", "La", "I", "F"} or image.mode.startswith("I;16")


def chroma_planes(image: Image.Image) -> list[tuple[int, Plane]]:
    """Return the chroma planes of a loaded picture with their looks, contrast raised; none for a grey one."""
    if is_grey(image):
        return []
    planes = np.empty((2, image.height, image.width), np.uint8)
    with without_transparent_colour(image):
        for top, strip in strips(image):
            planes[:, top : top + strip.height] = np.moveaxis(_colours(strip)[:, :, 1:], 2, 0)
    clear = ((look, raise_contrast(plane)) for look, plane in zip((CB, CR), planes, strict=True))
    return [(look, plane) for look, plane in clear if plane is not None]


def _colours(strip: Image.Image) -> NDArray[np.uint8]:
    """Return shape (height, width, 3): brightness and two chroma planes."""
    if strip.mode not in {"YCbCr", "LAB"}:
        if strip.mode in {"RGBa", "PA"}:
            strip = strip.convert("RGBA")
        strip = strip.convert("RGB").convert("YCbCr")
    return np.asarray(strip)[:, :, :3]


Luma = NDArray[np.uint8]

_MIN_TILES = 26
"""Minimum number of tiles, of 256, in a part that is worth hashing: a tenth of the picture."""
_BOXES = 4
_LEAST_SIDE = 32
"""Minimum side, in pixels as decoded, of a part that is worth hashing."""
_REDUCIBLE = frozenset({"RGB", "RGBX", "YCbCr", "CMYK", "LAB"})
"""Modes without opacity or a palette; Pillow makes no copy of such a picture when it reduces it."""
_STRIP_PIXELS = 1 << 20
_TILES = 16
_SAMPLES = 128
_STEP = 4.0
"""Mean difference, in grey levels, allowed for the next line beyond twice the median difference inside."""


def coloured_frames(frame: Frame, image: Image.Image, *, whole: bool, even: bool) -> list[Frame]:
    """Return the planes of colour of a picture in which there is something to see.

    Args:
        frame: the picture.
        image: the same, loaded.
        whole: whether those of all of it are wanted, and of what is inside its borders.
        even: whether those of its even parts are.

    Raises:
        Exception: any exception of Pillow.
    """
    same_size = frame.luma.shape == (image.height, image.width)
    found = list(_even_parts(frame, image)) if even and same_size and not is_grey(image) else []
    for look, plane in chroma_planes(image) if whole else ():
        found.append(structs.replace(frame, luma=plane, look=look, chroma=None))
        # A border that its brightness shows may not be visible in its colour.
        for box in find_inner_boxes(frame.luma) if same_size else ():
            part, stored = crop_luma(plane, frame.blocks_of, box)
            found.append(structs.replace(frame, luma=part, blocks_of=stored, look=look, chroma=None))
    return found


def _even_parts(frame: Frame, image: Image.Image) -> Iterator[Frame]:
    for box in even_boxes(frame.luma):
        top, bottom, left, right = box
        _, stored = crop_luma(frame.luma, frame.blocks_of, box)
        area = left, top, right, bottom
        scale = scale_of((right - left, bottom - top), DRAFT_SIDE) if stored is None else 1
        part = image.crop(area) if scale == 1 else _reduced(image, area, scale)
        if scale > 1:
            stored = bottom - top, right - left
        for look, plane in chroma_planes(part):
            yield structs.replace(frame, luma=plane, blocks_of=stored, look=look, chroma=None)


def _reduced(image: Image.Image, area: tuple[int, int, int, int], scale: int) -> Image.Image:
    """Return a part of a picture at a smaller scale, in colours, without making a large copy of it."""
    if image.mode in _REDUCIBLE:
        return image.reduce(scale, area)
    left, top, right, bottom = area
    part = Image.new("RGB", (-(-(right - left) // scale), -(-(bottom - top) // scale)))
    step = scale * max(1, _STRIP_PIXELS // (scale * (right - left)))
    for first in range(top, bottom, step):
        strip = image.crop((left, first, right, min(first + step, bottom)))
        with without_transparent_colour(strip):
            strip = strip.convert("RGB")
        part.paste(strip.reduce(scale), (0, (first - top) // scale))
    return part


def even_boxes(luma: Luma) -> list[Box]:
    """Return the largest even parts of a picture; exact to the pixel where their edges are sharp.

    Args:
        luma: brightness, shape (height, width).
    """
    (small,) = best_kernel().reductions(luma, None, ((PLAIN_WAY,),))
    rows = rows_of_tiles(small[0, :, 0])
    height, width = luma.shape
    found: list[Box] = []
    for _ in range(_BOXES):
        top, bottom, left, right = largest_rectangle(rows)
        if (bottom - top) * (right - left) < _MIN_TILES:
            break
        for row in range(top, bottom):
            rows[row] &= ~((1 << right) - (1 << left))
        box = _grown(luma, (_at(top, height), _at(bottom, height), _at(left, width), _at(right, width)))
        if min(box[1] - box[0], box[3] - box[2]) >= _LEAST_SIDE and box not in found:
            found.append(box)
    return found


def _at(tile: int, length: int) -> int:
    return tile * length // _TILES


def _grown(luma: Luma, box: Box) -> Box:
    """Extend a part on all sides by the lines that hardly differ from the line before."""
    top, bottom, left, right = box
    top, bottom = _more_lines(luma[:, left:right], top, bottom)
    left, right = _more_lines(luma[top:bottom].T, left, right)
    top, bottom = _more_lines(luma[:, left:right], top, bottom)
    return top, bottom, left, right


def _more_lines(lines: Luma, first: int, end: int) -> tuple[int, int]:
    if end - first < 2:
        return first, end
    some = lines[:, :: max(1, lines.shape[1] // _SAMPLES)].astype(np.int16)
    steps = np.abs(some[1:] - some[:-1]).mean(axis=1)
    limit = 2 * float(np.sort(steps[first : end - 1])[(end - first - 1) // 2]) + _STEP
    while first > 0 and steps[first - 1] <= limit:
        first -= 1
    while end < len(lines) and steps[end - 1] <= limit:
        end += 1
    return first, end
