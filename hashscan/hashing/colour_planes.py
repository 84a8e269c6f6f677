"""Extract the chroma planes of pictures, and of their parts that have even brightness.

Such a part can show something only in its colours. The picture reduced to 64x64, as PDQ hashes it, is
divided into tiles of 4x4. A tile is even if its brightness varies by less than 12 of 256 grey levels; black
and white tiles, which have no colours, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.borders import Box, crop_luma, find_inner_boxes
from hashscan.hashing.contrast import chroma_planes, is_grey
from hashscan.hashing.frames import Frame
from hashscan.hashing.kernel import best_kernel, largest_rectangle, rows_of_tiles
from hashscan.hashing.luma import without_transparent_colour
from hashscan.hashing.opening import DRAFT_SIDE
from hashscan.hashing.pdq_reduction import PLAIN_WAY
from hashscan.hashing.plain_jpeg import scale_of

Luma = NDArray[np.uint8]

_LEAST = 26
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
        found.append(replace(frame, luma=plane, look=look, chroma=None))
        # A border that its brightness shows may not be visible in its colour.
        for box in find_inner_boxes(frame.luma) if same_size else ():
            part, stored = crop_luma(plane, frame.blocks_of, box)
            found.append(replace(frame, luma=part, blocks_of=stored, look=look, chroma=None))
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
            yield replace(frame, luma=plane, blocks_of=stored, look=look, chroma=None)


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
        if (bottom - top) * (right - left) < _LEAST:
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
