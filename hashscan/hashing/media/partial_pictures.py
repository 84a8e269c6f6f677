"""Find out which pixels of a damaged picture were decoded, and make the others transparent, as browsers do.

A library fills the pixels that it could not decode with black or grey; browsers leave them transparent, so
that the page is seen there. The picture is decoded twice, each time over another colour: pixels that differ
were not decoded. What is shown of it is then known, and hashed over all backgrounds.

This could be used to hide a picture if a viewer decoded more of the file than Pillow does. So it is done only
for formats whose decoders stop at the same place, and not where pixels follow that Pillow did not read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.embedded.directories import png_chunks
from hashscan.hashing.media.luma_alpha import luma_of, opacity_of
from hashscan.hashing.media.picture_opening import check_size, open_picture
from hashscan.hashing.pillow_internals import load_over
from hashscan.hashing.pread import PictureFile

Plane = NDArray[np.uint8]

_FORMATS = frozenset({"BMP", "GIF", "JPEG", "PNG"})
"""Formats that are decoded row after row, or pass after pass."""
_CHUNKS_MAX = 1 << 14
_SEGMENTS_MAX, _SCAN = 1 << 14, 0xDA


class PartialPicture(NamedTuple):
    """The decoded part of a picture."""

    image: Image.Image
    """Its colours, translucent: opacity 0 where nothing was decoded."""
    stored: tuple[int, int]
    """Width and height of the whole picture as stored."""
    rows: int
    """Number of rows from the top down to the last in which anything was decoded."""


def decoded_part(file: PictureFile, pillow_format: str, max_pixels: int) -> PartialPicture | None:
    """Return the part of a damaged picture that browsers show; None if this is not known.

    Raises:
        MemoryError: there is not enough memory.
        Exception: any exception of Pillow about the header.
    """
    if pillow_format not in _FORMATS or (pillow_format == "PNG" and not _ends_once(file)):
        return None
    first = _loaded(file, pillow_format, max_pixels, 0)
    other = _loaded(file, pillow_format, max_pixels, 255)
    if first is None or other is None:
        return None
    image, stored = first
    same = np.asarray(image) == np.asarray(other[0])
    covered = (same.all(axis=2) if same.ndim == 3 else same).view(np.uint8) * np.uint8(255)
    if not covered.any():
        return None
    if image.info.get("interlace") and pillow_format == "PNG":
        image, covered = _filled(image, covered)
    alpha = opacity_of(image)
    # Pillow would cut off values of 16 bits instead of scaling them.
    colours = (Image.fromarray(luma_of(image)) if image.mode.startswith("I;16") else image).convert("RGB")
    colours.info = {key: value for key, value in image.info.items() if key != "transparency"}
    colours.putalpha(Image.fromarray(covered if alpha is None else np.minimum(covered, alpha)))
    rows = int(np.flatnonzero(covered.any(axis=1))[-1]) + 1
    return PartialPicture(colours, stored, rows)


_ADAM7 = (2, 1), (2, 2), (4, 2), (4, 4), (8, 4), (8, 8)
"""Height and width of the blocks that a pixel stands for, from the last pass but one to the first."""


def _filled(image: Image.Image, covered: Plane) -> tuple[Image.Image, Plane]:
    """Fill the missing pixels of an interlaced PNG as browsers do: with the pixels of earlier passes."""
    height, width = covered.shape
    down, across = np.arange(height)[:, None], np.arange(width)
    source = np.full(covered.shape, -1)
    source[covered > 0] = np.flatnonzero(covered)
    for high, wide in _ADAM7:
        places = np.broadcast_to(down // high * high * width + across // wide * wide, covered.shape)
        take = (source < 0) & (covered.ravel()[places] > 0)
        source[take] = places[take]
    pixels = np.asarray(image)
    filled = pixels.reshape(height * width, -1)[source.clip(0)].reshape(pixels.shape)
    content = np.packbits(filled, axis=1) if image.mode == "1" else filled
    found = Image.frombytes(image.mode, image.size, content.tobytes())
    if image.palette is not None:
        found.putpalette(image.palette)
    found.info = image.info
    return found, (source >= 0).view(np.uint8) * np.uint8(255)


def _loaded(
    file: PictureFile, pillow_format: str, max_pixels: int, filling: int
) -> tuple[Image.Image, tuple[int, int]] | None:
    """Return a picture as far as it can be decoded, over one colour, and its size as stored."""
    opened = open_picture(file, pillow_format, max_pixels, draft="YCbCr")
    image = opened.image
    if image.mode == "CMYK" or image.mode in {"I", "F"}:
        # Browsers don't agree on the colours.
        return None
    each = 3 * 4 * image.width * image.height
    check_size(image, pillow_format, file.size, max_pixels, more=each + opened.coefficients)
    return (image, opened.stored) if load_over(image, filling) else None


def has_whole_scan(file: PictureFile) -> bool:
    """Return True if a second scan of a JPEG begins in the file, so that its first is whole."""
    place, scans = 2, 0
    for _ in range(_SEGMENTS_MAX):
        file.seek(place)
        head = file.read(4)
        if head[:1] != b"\xff" or len(head) < 4:
            return False
        if head[1] == _SCAN:
            break
        place += 2 + int.from_bytes(head[2:])
    # Within a scan, no marker but those of restarts follows a byte 0xFF.
    before = b""
    while content := file.read(1 << 20):
        scans += (before + content).count(bytes((0xFF, _SCAN)))
        before = content[-1:]
    return scans > 0


def _ends_once(file: PictureFile) -> bool:
    """Return True if a still PNG's pixels are not interrupted by other chunks."""
    parts, before = 0, b""
    for kind, _, _ in png_chunks(file, limit=_CHUNKS_MAX):
        if kind == b"acTL" and not parts:
            return False
        parts += kind == b"IDAT" != before
        before = kind
    return parts == 1
