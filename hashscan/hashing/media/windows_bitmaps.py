"""Decode Windows bitmaps (BMP) that Pillow cannot read, and all pictures of icons and cursors (ICO, CUR).

Only their brightness is decoded. The module also reads the opacity of bitmaps, which Pillow reads for some
of them only. The format of bitmaps is that of BITMAPINFOHEADER and its successors in the Windows GDI
documentation.

Of the pictures of an icon, Pillow shows one, and uses the depth and length given in the file's directory to
find the transparency mask. Browsers ignore both values.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.embedded.directories import PNG_SIGNATURE
from hashscan.hashing.formats import BITMAP_HEADERS
from hashscan.hashing.media.picture_opening import check_pixels
from hashscan.hashing.pillow_internals import IconEntry, bitmap_pixels, icon_entries
from hashscan.hashing.pread import PictureFile
from hashscan.model import Reason

_HEADER_SIZES = BITMAP_HEADERS - {12}
_OF_WINDOWS = frozenset({40, 52, 56, 108, 124})
"""Sizes of headers that may have colour masks; in the headers of OS/2 the same number means a compression."""
_HEADER = struct.Struct("<IiiHHIIiiII")
_RAW, _BIT_FIELDS, _ALPHA_BIT_FIELDS = 0, 3, 6
_MASKS_AT, _ALPHA_AT = 54, 66
_WITH_ALPHA = frozenset({56, 108, 124})
"""Sizes of the headers that have an opacity mask among the colour masks."""
_DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F), 32: (0xFF0000, 0xFF00, 0xFF)}
_WEIGHTS = np.array((0.299, 0.587, 0.114))
"""Weights of red, green and blue in brightness (ITU-R 601-2), as Pillow uses them."""
_STRIP_BYTES = 1 << 22


def bitmap_size(file: PictureFile) -> tuple[int, int]:
    """Return the width and height in pixels.

    Raises:
        NotImplementedError: this module does not read this kind of bitmap.
    """
    _, width, height, *_ = _header(file)
    return width, abs(height)


def bitmap_alpha(file: PictureFile) -> NDArray[np.uint8] | None:
    """Return the opacity of each pixel, shape (height, width); None if the bitmap has no opacity mask.

    Raises:
        NotImplementedError: this module does not read this kind of bitmap.
    """
    size, _, _, _, bits, compression, *_ = _read_header(file)
    if not (compression == _BIT_FIELDS and size in _WITH_ALPHA) and compression != _ALPHA_BIT_FIELDS:
        return None
    file.seek(_ALPHA_AT)
    mask = int.from_bytes(file.read(4), "little")
    if not mask or bits not in _DEFAULT_MASKS:
        return None
    return _plane(file, lambda rows: _scaled(rows, bits, ((1.0, mask),)))


def bitmap_luma(file: PictureFile) -> NDArray[np.uint8]:
    """Return the brightness, shape (height, width); missing rows are black and set `file.ran_out`.

    Raises:
        NotImplementedError: this module does not read this kind of bitmap.
    """
    size, width, _, _, bits, compression, _, _, _, colours, _ = _header(file)
    # Masks after a header of 40 bytes are stored before the palette.
    behind = {_RAW: 0, _BIT_FIELDS: 12, _ALPHA_BIT_FIELDS: 16}[compression] if size == 40 else 0
    if bits <= 8:
        greys = _palette(file, 14 + size + behind, bits, colours)
        return _plane(file, lambda rows: greys[_indices(rows, bits)[:, :width]])
    if bits == 24:
        return _plane(file, _of_bytes)
    weights = tuple(zip(_WEIGHTS.tolist(), _masks(file, bits, compression), strict=True))
    return _plane(file, lambda rows: _scaled(rows, bits, weights))


def bitmap_covered(file: PictureFile) -> NDArray[np.uint8]:
    """Return 255 for each pixel whose row is in the file, 0 for the others; shape (height, width).

    Raises:
        NotImplementedError: this module does not read this kind of bitmap.
    """
    width = _header(file)[1]
    return _plane(file, lambda rows: np.full((len(rows), width), 255, np.uint8))


def is_read_differently(file: PictureFile) -> bool:
    """Return True if a bitmap's palette is shorter than its depth allows, or its pixels begin at offset 0."""
    size, _, _, _, bits, compression, _, _, _, colours, _ = _read_header(file)
    file.seek(10)
    start = int.from_bytes(file.read(4), "little")
    if size not in _HEADER_SIZES or compression != _RAW:
        return False
    count = min(colours or 1 << bits, 1 << bits) if bits <= 8 else 0
    return not start or (bits <= 8 and (count < 1 << bits or start < 14 + size + 4 * count))


def _plane(file: PictureFile, read: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Convert a bitmap's rows of bytes with `read`, some rows at a time; return shape (height, width)."""
    _, width, height, _, bits, *_ = _header(file)
    file.seek(10)
    (start,) = struct.unpack("<I", file.read(4))
    plane = np.zeros((abs(height), width), np.uint8)
    stride = (width * bits + 31) // 32 * 4
    step = max(1, _STRIP_BYTES // (8 * width))
    for top in range(0, abs(height), step):
        file.seek(start + top * stride)
        data = file.read(min(step, abs(height) - top) * stride)
        file.ran_out |= len(data) < min(step, abs(height) - top) * stride
        rows = np.frombuffer(data[: len(data) // stride * stride], np.uint8).reshape(-1, stride)
        plane[top : top + len(rows)] = read(rows)[:, :width]
    return plane if height < 0 else plane[::-1]


def _read_header(file: PictureFile) -> tuple[int, ...]:
    file.seek(14)
    header = file.read(_HEADER.size)
    length = int.from_bytes(header[:4], "little")
    if len(header) < min(length, _HEADER.size):
        raise NotImplementedError
    # Fields that a shorter header lacks are 0.
    found: tuple[int, ...] = _HEADER.unpack(header[:length].ljust(_HEADER.size, b"\0"))
    return found


def _header(file: PictureFile) -> tuple[int, ...]:
    found = _read_header(file)
    size, width, height, _, bits, compression, *_ = found
    known = size in _HEADER_SIZES and width > 0 and height != 0
    plain = compression == _RAW and bits in {1, 2, 4, 8, 16, 24, 32}
    named = size in _OF_WINDOWS and compression in {_BIT_FIELDS, _ALPHA_BIT_FIELDS}
    masked = named and bits in _DEFAULT_MASKS
    if not (known and (plain or masked)):
        raise NotImplementedError
    return found


def _palette(file: PictureFile, start: int, bits: int, colours: int) -> NDArray[np.uint8]:
    """Return the brightness of each palette index, shape (256,); 0 for indices beyond the palette."""
    file.seek(start)
    count = min(colours or 1 << bits, 1 << bits)
    data = file.read(4 * count)
    entries = np.frombuffer(data[: len(data) // 4 * 4], np.uint8).reshape(-1, 4)[:, 2::-1]
    greys = np.zeros(256, np.uint8)
    greys[: len(entries)] = np.rint(entries @ _WEIGHTS)
    return greys


def _indices(rows: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Unpack palette indices of `bits` bits each; the first is in the highest bits of a byte."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    spread = rows[:, :, None] >> shifts & np.uint8((1 << bits) - 1)
    return spread.reshape(len(rows), -1)


def _masks(file: PictureFile, bits: int, compression: int) -> tuple[int, ...]:
    if compression == _RAW:
        return _DEFAULT_MASKS[bits]
    file.seek(_MASKS_AT)
    data = file.read(12)
    if len(data) < 12:
        raise NotImplementedError
    return struct.unpack("<III", data)


def _of_bytes(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the brightness of pixels of three bytes: blue, green, red."""
    pixels = rows[:, : rows.shape[1] // 3 * 3].reshape(len(rows), -1, 3)
    luma: NDArray[np.uint8] = np.rint(pixels[:, :, ::-1] @ _WEIGHTS).clip(0, 255).astype(np.uint8)
    return luma


def _scaled(rows: NDArray[np.uint8], bits: int, weights: Iterable[tuple[float, int]]) -> NDArray[np.uint8]:
    """Return the weighted sum of the masked parts of each pixel, each part scaled to 0 to 255."""
    values = rows.view("<u2" if bits == 16 else "<u4")
    total = np.zeros(values.shape)
    for weight, mask in weights:
        if mask:
            total += (values & mask) * (255 * weight / mask)
    return np.rint(total).clip(0, 255).astype(np.uint8)


_RUNS = {1: 8, 2: 4, 4: 24}
"""Bits per pixel by the number of a run-length coding; 4 means so in the headers of OS/2 alone."""
_END_OF_ROW, _END, _STEP = 0, 1, 2
"""Codes after a run of length 0; a greater code is a number of pixels."""
_RUNS_BETWEEN = 1 << 16
"""Runs that are decoded before the time is checked."""


def run_length_bitmap(
    file: PictureFile, max_pixels: int, seconds: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Reason | None] | None:
    """Decode a run-length coded bitmap as browsers do.

    The rest of a row that ends early is skipped, as are the rows after the end; pixels beyond a row's end are
    ignored. Skipped pixels are black.

    Args:
        file: the bitmap.
        max_pixels: see `picture_opening.DEFAULT_MAX_PIXELS`.
        seconds: limit on the processor time.

    Returns:
        Brightness, and 255 for each pixel that is not skipped, both of shape (height, width); the reason if
        not all was decoded. None if the bitmap is not run-length coded.

    Raises:
        UndecodedError: it is too large.
    """
    size, width, height, _, bits, compression, _, _, _, colours, _ = _read_header(file)
    if size not in _HEADER_SIZES or _RUNS.get(compression) != bits or (bits == 24 and size in _OF_WINDOWS):
        return None
    rows = abs(height)
    if width <= 0 or not rows:
        return None
    check_pixels(2 * width * rows + file.size, max_pixels)
    greys = _palette(file, 14 + size, bits, colours) if bits <= 8 else np.zeros(256, np.uint8)
    file.seek(10)
    file.seek(int.from_bytes(file.read(4), "little"))
    plane, covered = np.zeros((2, rows, width), np.uint8)
    reason = _decode_runs(file.read(file.size), bits, greys.tobytes(), plane, covered, seconds)
    return (plane, covered, reason) if height < 0 else (plane[::-1], covered[::-1], reason)


def _decode_runs(
    data: bytes,
    bits: int,
    greys: bytes,
    plane: NDArray[np.uint8],
    covered: NDArray[np.uint8],
    seconds: float,
) -> Reason | None:
    """Decode runs into two planes of shape (height, width), row after row; return why if not all of them."""
    rows, width = plane.shape
    started = time.process_time()
    pairs = [bytes((greys[byte >> 4], greys[byte & 15])) for byte in range(256)]
    colour = max(1, bits // 8)
    place = x = y = runs = 0
    while place + 2 <= len(data):
        runs += 1
        if runs % _RUNS_BETWEEN == 0 and time.process_time() - started > seconds:
            return Reason.TIMEOUT
        length, code = data[place], data[place + 1]
        place += 2
        if not length and code <= _STEP:
            if code == _END:
                return None
            x, y = (0, y + 1) if code == _END_OF_ROW else (x, y)
            if code == _STEP:
                right, down = data[place : place + 2].ljust(2, b"\0")
                x, y, place = x + right, y + down, place + 2
            continue
        if length:
            # One pixel or pair is repeated; its first byte was read as the code.
            values = _greys_of(data[place - 1 : place - 1 + colour], bits, greys, pairs) * length
            place += colour - 1
        else:
            # As many pixels as the code says, filled up to a multiple of 16 bits.
            length, stored = code, (code * bits + 7) // 8
            values = _greys_of(data[place : place + stored], bits, greys, pairs)
            place += stored + stored % 2
        length = min(length, len(values), width - x)
        if y < rows and length > 0:
            plane[y, x : x + length] = np.frombuffer(values, np.uint8, length)
            covered[y, x : x + length] = 255
            x += length
    return None


def _greys_of(data: bytes, bits: int, greys: bytes, pairs: list[bytes]) -> bytes:
    """Return the brightness of pixels that are stored one after another."""
    if bits == 8:
        return data.translate(greys)
    return b"".join([pairs[byte] for byte in data]) if bits == 4 else _triples(data)


def _triples(data: bytes) -> bytes:
    """Return the brightness of pixels of three bytes: blue, green, red."""
    return _of_bytes(np.frombuffer(data, np.uint8)[None]).tobytes()


_ICON_HEADER_BYTES, _ICON_ENTRY_BYTES = 6, 16
_ICON_BITMAP = struct.Struct("<IiiHH")
_DEPTH_WITH_OPACITY, _DEPTH_WITHOUT_OPACITY = 32, 24


def icons_of(file: PictureFile) -> list[tuple[int, Callable[[], Image.Image] | None]]:
    """Return the offset of each picture, the largest and deepest first, and a function that opens it.

    There is no function for a PNG. Entries without bytes, or whose picture would lie in the directory, show
    nothing, so they are left out.

    Raises:
        Exception: any exception of Pillow, as by the functions.
    """
    file.seek(0)
    (number,) = struct.unpack("<4xH", file.read(_ICON_HEADER_BYTES))
    # The directory of a cursor has the same layout as that of an icon.
    head = struct.pack("<3H", 0, 1, number)
    directory = _ICON_HEADER_BYTES + _ICON_ENTRY_BYTES * number
    found: dict[int, IconEntry] = {}
    for entry in icon_entries(head + file.read(_ICON_ENTRY_BYTES * number), cast("IO[bytes]", file)):
        found.setdefault(entry.offset, entry)

    def opener(entry: IconEntry) -> Callable[[], Image.Image] | None:
        file.seek(entry.offset)
        if file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE:
            return None
        return lambda: entry.open_as(*_depth_and_length(file, entry.offset))

    kept = [entry for offset, entry in found.items() if directory <= offset]
    if any(entry.offset < file.size for entry in kept):
        # Nothing can be shown of an entry that begins behind the end of the file.
        kept = [entry for entry in kept if entry.offset < file.size]
    return [(entry.offset, opener(entry)) for entry in kept]


def _depth_and_length(file: PictureFile, offset: int) -> tuple[int, int]:
    """Return the bits per pixel and the length in bytes with the mask from a bitmap's header."""
    file.seek(offset)
    head = file.read(_ICON_BITMAP.size)
    _, width, height, _, depth = _ICON_BITMAP.unpack(head)
    file.seek(offset)
    start = bitmap_pixels(cast("IO[bytes]", file))
    row, mask = ((bits * width + 31) // 32 * 4 for bits in (depth, 1))
    pixels = abs(height) // 2 * row
    length = start - offset + pixels + abs(height) // 2 * mask
    if depth == _DEPTH_WITH_OPACITY:
        file.seek(start)
        opacity = file.read(pixels)[3::4]
        if opacity and opacity.count(0) == len(opacity):
            # Browsers use the mask, as for a bitmap without opacity.
            return _DEPTH_WITHOUT_OPACITY, length
    return depth, length
