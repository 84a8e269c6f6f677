"""Decode pictures that browsers read otherwise than Pillow, or that Pillow can't read, in the browsers' way.

Browsers read a Windows bitmap (BMP) whose palette is too short, or whose pixels begin at offset 0, by the
numbers in its header; Pillow guesses. They take the last colour of a short palette of a PNG, and add colours
that are brighter than their opacity allows to the background. Other viewers read these files as Pillow does,
so they are hashed in both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from msgspec import structs
from PIL import Image

from hashscan.hashing.avif_items import multiplication_of
from hashscan.hashing.media import large_pictures
from hashscan.hashing.media.luma_alpha import luma_of, opacity_of
from hashscan.hashing.media.picture_opening import (
    Frame,
    Limits,
    UndecodedError,
    check_pixels,
    check_size,
    convert_errors,
    open_picture,
)
from hashscan.hashing.media.repairs import patched
from hashscan.hashing.media.views import over_backgrounds, views_of_alpha
from hashscan.hashing.media.windows_bitmaps import (
    bitmap_alpha,
    bitmap_covered,
    bitmap_luma,
    bitmap_size,
    is_read_differently,
    run_length_bitmap,
)
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.variants import Kind, Part
from hashscan.model import Reason

T = TypeVar("T")

Found = tuple[list[Frame], Reason | None]
"""Frames, and why not all was decoded; None if all was."""


def _tried(file: PreadFile, step: Callable[[], T], other: T) -> tuple[T, Reason | None]:
    """Return the result of a step, else `other` and the reason of the failure."""
    try:
        with convert_errors(file, "BMP"):
            return step(), None
    except UndecodedError as error:
        return other, error.reason


def bitmap_frames(file: PreadFile, limits: Limits) -> Found:
    """Decode a bitmap by the numbers in its header; what is missing of it shows the page behind."""

    def read() -> list[Frame]:
        width, height = bitmap_size(file)
        check_pixels(width * height, limits.max_pixels)
        if height * ((width + 7) // 8) > file.size:
            # The file has less than one bit per pixel.
            return []
        file.ran_out = False
        frame = Frame(bitmap_luma(file), width, height)
        if not file.ran_out:
            return [frame]
        check_pixels(4 * width * height, limits.max_pixels)
        covered = bitmap_covered(file)
        views = views_of_alpha(frame.luma, covered) if covered.any() else ()
        return [frame, *(structs.replace(frame, luma=view.luma, look=view.look) for view in views)]

    return _tried(file, read, [])


def frames_by_header(file: PreadFile, limits: Limits) -> Found:
    """Decode a bitmap that Pillow reads otherwise than by its header; none for other bitmaps."""
    differs, reason = _tried(file, lambda: is_read_differently(file), False)
    if not differs:
        return [], reason
    frames, reason = bitmap_frames(file, limits)
    further = [
        structs.replace(frame, part=Part(Kind.FURTHER, number), look=0)
        for number, frame in enumerate(frames, 2)
    ]
    return further, reason if frames else reason or Reason.BROKEN


def opacity_frames(file: PreadFile, frame: Frame) -> Found:
    """Return a bitmap over all backgrounds, if it has an opacity mask, which Pillow ignores."""

    def read() -> list[Frame]:
        alpha = bitmap_alpha(file)
        if alpha is None or alpha.min() == alpha.max():
            return []
        if frame.blocks_of is None:
            views = views_of_alpha(frame.luma, alpha)
        else:
            scale = large_pictures.scale_for((frame.width, frame.height))
            views = large_pictures.views_of_bitmap(bitmap_luma(file), alpha, scale)
        return [structs.replace(frame, luma=view.luma, look=view.look) for view in views]

    return _tried(file, read, [])


def run_length_frames(file: PreadFile, limits: Limits) -> Found:
    """Return a run-length coded bitmap, over all backgrounds if it skips pixels; none for other files."""
    found, reason = _tried(file, lambda: run_length_bitmap(file, limits.max_pixels, limits.seconds), None)
    if found is None:
        return [], reason
    luma, covered, reason = found
    frame = Frame(luma, luma.shape[1], luma.shape[0])
    # Browsers show skipped pixels in black, others leave them out.
    views = () if covered.all() else views_of_alpha(luma, covered)
    return [frame, *(structs.replace(frame, luma=view.luma, look=view.look) for view in views)], reason


_SECOND = Part(Kind.FURTHER, 2)


def beyond_palette(image: Image.Image, frame: Frame) -> list[Frame]:
    """Return a picture with the last colour of its palette where it has indices without a colour."""
    if image.mode != "P":
        return []
    number = len(image.getpalette("RGB") or ()) // 3
    _, highest = cast("tuple[int, int]", image.getextrema())
    if not number or highest < number:
        return []
    clamped = image.point([min(index, number - 1) for index in range(256)])
    return [structs.replace(frame, luma=luma_of(clamped), part=_SECOND, blocks_of=None)]


def multiplied_frames(file: PreadFile, max_pixels: int) -> list[Frame]:
    """Return an AVIF whose colours are multiplied by its opacity over all backgrounds; none for others.

    Where colours are brighter than their opacity allows, browsers add them to the background. libavif would
    limit them, so it is not told of the multiplication.

    Raises:
        Exception: any exception of Pillow.
    """
    patches = multiplication_of(file)
    if not patches:
        return []
    opened = open_picture(patched(file, patches), "AVIF", max_pixels)
    image = opened.image
    check_size(image, "AVIF", file.size, max_pixels)
    image.load()
    alpha = opacity_of(image)
    if alpha is None:
        return []
    return [
        Frame(view.luma, image.width, image.height, part=_SECOND, look=view.look)
        for view in over_backgrounds(luma_of(image), np.ascontiguousarray(alpha))
    ]
