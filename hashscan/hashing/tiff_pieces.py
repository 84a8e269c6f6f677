"""Decode TIFFs that Pillow's libtiff lacks: strips or tiles of WebP or JPEG 2000, and floating-point colours.

Each strip or tile of the former is a whole picture, which Pillow decodes by its other libraries. Programs
that show floating-point samples take them for linear light or not, so both are returned.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from hashscan.hashing.pread import PictureFile

_PIECES_MAX = 1 << 14
_FORMATS = {50001: "WEBP", 33003: "JPEG2000", 33005: "JPEG2000", 34712: "JPEG2000"}
_YCBCR = 33003
_FLOAT = 3
_DEFLATE = frozenset({8, 32946})
_FLOAT_BYTES, _CANVAS_BYTES, _LIBRARY_BYTES = 48, 12, 20
"""Memory for a pixel: of floating-point colours with two pictures of them, of others, and of a strip."""
_SCALES = (1.0, 255.0, 65535.0)
_MORE = (330, 34675)
"""Tags of further pictures and of a colour profile, which are not read here."""


class PiecedTiff(Struct, frozen=True):
    """A TIFF that was decoded here."""

    images: list[Image.Image]
    """The first picture, in all ways in which programs show its samples."""
    orientation: int
    whole: bool
    """True if all that programs show of the file is in `images`."""


def decode_pieces(file: PictureFile, max_bytes: int, check: Callable[[int], None]) -> PiecedTiff:
    """Decode the first picture of a TIFF.

    Args:
        max_bytes: the memory for its pixels.
        check: called with the number of each strip or tile before it is decoded; may raise.

    Raises:
        DecompressionBombError: it is too large.
        EOFError: it is truncated.
        NotImplementedError: it is of another kind.
        Exception: any exception of Pillow, as for other pictures.
    """
    file.seek(0)
    head = file.read(8)
    tags: Any = TiffImagePlugin.ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(file)
    width, height, compression = int(tags[256]), int(tags[257]), tags.get(259, 1)
    tile = width, min(height, int(tags.get(278, height)))
    if 322 in tags:
        tile = int(tags[322]), int(tags[323])
    floats = {*tags.get(339, (1,))} == {_FLOAT}
    whole_bytes = (_FLOAT_BYTES if floats else _CANVAS_BYTES) * width * height
    _check_bytes(whole_bytes, max_bytes)
    if min(width, height, *tile) < 1 or tags.get(284, 1) != 1:
        raise NotImplementedError
    whole = not tags.next and not any(tag in tags for tag in _MORE) and not floats
    if floats:
        images = _as_shown(_floats(file, tags, head[:2], (width, height), tile, max_bytes, check))
    elif compression in _FORMATS:
        canvas = Image.new("RGBA", (width, height))
        for place, data in _pieces(file, tags, (width, height), tile, check):
            canvas.paste(_picture(data, compression, tags.get(262), tile, max_bytes - whole_bytes), place)
        opaque = canvas.getchannel("A").getextrema() == (255, 255)
        images, whole = [canvas.convert("RGB")], whole and opaque
    else:
        raise NotImplementedError
    return PiecedTiff(images, int(tags.get(274, 1)), whole)


def _check_bytes(number: int, most: int) -> None:
    if number > most:
        raise Image.DecompressionBombError


def _pieces(
    file: PictureFile, tags: Any, size: tuple[int, int], tile: tuple[int, int], check: Callable[[int], None]
) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield the place of each strip or tile in the picture, and its bytes."""
    offsets, lengths = tags[324 if 322 in tags else 273], tags[325 if 322 in tags else 279]
    columns, rows = -(-size[0] // tile[0]), -(-size[1] // tile[1])
    if columns * rows > _PIECES_MAX or not len(offsets) == len(lengths) == columns * rows:
        raise NotImplementedError
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        check(number)
        file.seek(offset)
        data = file.read(min(length, file.size))
        if len(data) < length:
            raise EOFError
        yield (number % columns * tile[0], number // columns * tile[1]), data


def _picture(
    data: bytes, compression: int, meaning: int | None, tile: tuple[int, int], max_bytes: int
) -> Image.Image:
    """Decode a strip or tile."""
    name = _FORMATS[compression]
    image: Image.Image = Image.open(io.BytesIO(data), formats=[name])
    if image.width > tile[0] or image.height > tile[1]:
        raise NotImplementedError
    _check_bytes(_LIBRARY_BYTES * image.width * image.height + len(data), max_bytes)
    image.load()
    if image.mode == "RGB" and (compression == _YCBCR or (name == "JPEG2000" and meaning == 6)):
        image = Image.merge("YCbCr", image.split())
    return image.convert("RGBA")


def _floats(
    file: PictureFile,
    tags: Any,
    order: bytes,
    size: tuple[int, int],
    tile: tuple[int, int],
    max_bytes: int,
    check: Callable[[int], None],
) -> NDArray[np.float32]:
    """Return the samples, shape (height, width, channels)."""
    compression, channels, bits = tags.get(259, 1), int(tags.get(277, 1)), {*tags.get(258, (1,))}
    if tags.get(317, 1) != 1 or channels not in {1, 3} or len(bits) != 1 or not bits <= {16, 32, 64}:
        raise NotImplementedError
    kind = np.dtype(f"{'<' if order == b'II' else '>'}f{bits.pop() // 8}")
    canvas = np.zeros((size[1], size[0], channels), np.float32)
    for (left, top), data in _pieces(file, tags, size, tile, check):
        # The last strip may be shorter; tiles are always whole.
        rows = tile[1] if 322 in tags else min(tile[1], size[1] - top)
        wanted = rows * tile[0] * channels * kind.itemsize
        _check_bytes(wanted, max_bytes)
        if compression not in {1, *_DEFLATE}:
            raise NotImplementedError
        stored = data if compression == 1 else zlib.decompressobj().decompress(data, wanted)
        samples = np.frombuffer(stored, kind, rows * tile[0] * channels).reshape(rows, tile[0], channels)
        part = canvas[top : top + rows, left : left + tile[0]]
        part[:] = samples[: part.shape[0], : part.shape[1]]
    return canvas


def _as_shown(samples: NDArray[np.float32]) -> list[Image.Image]:
    """Return a picture of floating-point samples, taken for values as in other files, and for light."""
    if not np.isfinite(samples).all():
        raise NotImplementedError
    highest = float(samples.max())
    scale = next((each for each in _SCALES if highest <= each), highest)
    values = np.clip(samples / np.float32(scale), 0, 1)
    # The curve of sRGB (IEC 61966-2-1).
    light = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** np.float32(1 / 2.4) - 0.055)
    shape = samples.shape if samples.shape[2] > 1 else samples.shape[:2]
    return [Image.fromarray(np.rint(255 * each).astype(np.uint8).reshape(shape)) for each in (values, light)]
