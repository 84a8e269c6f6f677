"""The pictures of Windows icons and cursors, each as browsers read it.

Pillow shows one of them, and believes what the directory of the file says of its depth and length, by which
it finds the mask of what is transparent. Browsers have no regard to either.
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
    """Each picture once, the largest first; not loaded where it is a PNG.

    Raises:
        Exception: whatever Pillow raises.
    """
    file.seek(0)
    (number,) = struct.unpack("<4xH", file.read(_HEADER))
    # Cursors have the same directory.
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
    """Bits of a pixel, and length in bytes with the mask, as a bitmap itself has them; 0 for a PNG."""
    file.seek(offset)
    head = file.read(_BITMAP.size)
    if head.startswith(_PNG):
        return 0, 0
    _, width, height, _, depth = _BITMAP.unpack(head)
    file.seek(offset)
    bitmap = BmpImagePlugin.DibImageFile(cast("IO[bytes]", file))
    row, mask = ((bits * width + 31) // 32 * 4 for bits in (depth, 1))
    return depth, bitmap.tile[0].offset - offset + abs(height) // 2 * (row + mask)
