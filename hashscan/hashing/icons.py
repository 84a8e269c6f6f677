"""Read all pictures of Windows icons and cursors, each as browsers read it.

Pillow shows one of them, and uses the depth and length given in the file's directory to find the transparency
mask. Browsers ignore both values.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import IO, cast

from PIL import BmpImagePlugin, IcoImagePlugin, Image

from hashscan.hashing.opening import PictureFile

_HEADER, _ENTRY = 6, 16
_PNG = b"\x89PNG\r\n\x1a\n"
_BITMAP = struct.Struct("<IiiHH")


def icons_of(file: PictureFile) -> Iterator[Image.Image]:
    """Yield each picture once, the largest first; a PNG is not loaded yet.

    Raises:
        Exception: any exception of Pillow.
    """
    file.seek(0)
    (number,) = struct.unpack("<4xH", file.read(_HEADER))
    # The directory of a cursor has the same layout as that of an icon.
    head = struct.pack("<3H", 0, 1, number)
    icons = IcoImagePlugin.IcoFile(io.BytesIO(head + file.read(_ENTRY * number)))
    icons.buf = cast("IO[bytes]", file)
    seen = set()
    for place, entry in enumerate(icons.entry):
        if entry.offset not in seen:
            seen.add(entry.offset)
            depth, length = _depth_and_length(file, entry.offset)
            icons.entry[place] = entry._replace(bpp=depth, size=length)
            yield icons.frame(place)


def _depth_and_length(file: PictureFile, offset: int) -> tuple[int, int]:
    """Return the bits per pixel and the length in bytes with the mask from a bitmap's header; 0 for a PNG."""
    file.seek(offset)
    head = file.read(_BITMAP.size)
    if head.startswith(_PNG):
        return 0, 0
    _, width, height, _, depth = _BITMAP.unpack(head)
    file.seek(offset)
    bitmap = BmpImagePlugin.DibImageFile(cast("IO[bytes]", file))
    row, mask = ((bits * width + 31) // 32 * 4 for bits in (depth, 1))
    return depth, bitmap.tile[0].offset - offset + abs(height) // 2 * (row + mask)
