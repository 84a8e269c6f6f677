"""Find where viewers stop reading the data of a damaged PNG, which is not where Pillow stops.

Pillow compares no checksums of the data (IDAT), and reads no further once all rows are there. libpng, which
most viewers use, shows the rows in front of a fault in the compressed data, and those of a chunk whose
checksum is wrong, but none behind it. Chromium's decoder (the crate `png`) ends there, too, keeps back the
last 32 KiB of rows, and loses those from the block of the file with the fault, as measured in Chromium 156.

So a listed picture may be followed by rows that no browser shows, and that make it unlike the entry. To find
such places, the data are inflated here without being kept, and no further than the rows need. The file is
then decoded as if it was cut there. `tests/hashing/media/test_png_data.py` tries to hide pictures like this.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from hashscan.hashing.embedded.directories import png_chunks
from hashscan.hashing.pread import PictureFile

_CHUNKS_MAX = 1 << 17
_BLOCK_BYTES = 1 << 13
"""Chromium reads a file in blocks of this size."""
_READ_BYTES = 1 << 20
_KEPT_BACK = 1 << 15
"""Bytes of rows that Chromium keeps back up to the end of the data, as later data may refer to them."""
_SMALL_SHARE = 64
"""Divisor: what Chromium shows is hashed, too, if it is less than libpng shows by more than this share."""
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by colour type."""
_PASSES = ((8, 0, 8, 0), (8, 0, 8, 4), (8, 4, 4, 0), (4, 0, 4, 2), (4, 2, 2, 0), (2, 0, 2, 1), (2, 1, 1, 0))
"""Step and first row, step and first column of the passes of an interlaced picture (section 8.2)."""


class DataEnd(NamedTuple):
    """The places at which viewers stop reading the data of a PNG."""

    places: tuple[int, ...]
    """Offsets in the file, the furthest first; none if the file ends before its data."""
    complete: bool
    """True if every viewer reads all data that the rows need, or all that there are."""


class _Inflater:
    """Inflates data, and counts the bytes without keeping them."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()
        self.total = 0

    @property
    def left(self) -> int | None:
        """Number of bytes behind the end of the data; None if it was not reached."""
        return len(self._stream.unused_data) if self._stream.eof else None

    def copy(self) -> _Inflater:
        """Return one in the same state."""
        other = _Inflater()
        other._stream, other.total = self._stream.copy(), self.total
        return other

    def feed(self, content: bytes) -> None:
        """Inflate some more.

        Raises:
            zlib.error: the data are damaged.
        """
        while True:
            found = len(self._stream.decompress(content, _READ_BYTES))
            self.total += found
            content = self._stream.unconsumed_tail
            if self._stream.eof or (not content and found < _READ_BYTES):
                return


def end_of_data(file: PictureFile) -> DataEnd:
    """Return where viewers stop reading the data of a PNG.

    Raises:
        NotImplementedError: the file has more chunks than are examined.
    """
    rows = _bytes_of_rows(file)
    inflater = _Inflater()
    for start, content, wrong in _pieces(file, _BLOCK_BYTES):
        before, known = inflater.copy(), inflater.total
        end = start + len(content)
        try:
            inflater.feed(content)
        except zlib.error:
            place, is_checksum = _fault_in(before, content)
            if is_checksum:
                return DataEnd((start + place,), True)
            return DataEnd((start + place, *_chromium_end(file, before.total, known)), False)
        if inflater.left is not None:
            return DataEnd((end - inflater.left,), True)
        if inflater.total > rows:
            return DataEnd((end,), True)
        if wrong:
            return DataEnd((end, *_chromium_end(file, inflater.total, inflater.total)), False)
    return DataEnd((), False)


def may_end_early(file: PictureFile, read_to: int) -> bool:
    """Return True if viewers may show fewer rows of a PNG than Pillow, which has decoded all of them.

    Args:
        read_to: offset in the file up to which Pillow has read its data.

    Raises:
        NotImplementedError: the file has more chunks than are examined.
    """
    end = 0
    for start, content, wrong in _pieces(file, _READ_BYTES):
        if wrong:
            return True
        end = start + len(content)
    return read_to < end


@contextmanager
def ending_at(file: PictureFile, end: int) -> Iterator[None]:
    """Make a file that is read by offsets end earlier."""
    before = file.size, file.ran_out
    file.size = min(end, file.size)
    try:
        yield
    finally:
        file.size, file.ran_out = before


def _chromium_end(file: PictureFile, total: int, known: int) -> tuple[int, ...]:
    """Return where Chromium's rows end, if they are many fewer than those of libpng, and there are any.

    Args:
        total: bytes of rows that libpng has.
        known: those that Chromium has found before the block with the fault.
    """
    shown = known - _KEPT_BACK
    if shown <= 0 or total - shown <= total // _SMALL_SHARE:
        return ()
    inflater = _Inflater()
    for start, content, _ in _pieces(file, _BLOCK_BYTES):
        before = inflater.copy()
        inflater.feed(content)
        if inflater.total > shown:
            for place in range(len(content)):
                before.feed(content[place : place + 1])
                if before.total > shown:
                    return (start + place,)
    return ()


def _fault_in(inflater: _Inflater, content: bytes) -> tuple[int, bool]:
    """Inflate data up to a fault; return the place of its byte, and True if all was inflated."""
    for place in range(len(content)):
        try:
            inflater.feed(content[place : place + 1])
        except zlib.error as error:
            # Only the checksum of the inflated data is wrong, which comes last.
            return place, "data check" in str(error)
    return len(content), False


def _pieces(file: PictureFile, block: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield offset and content of each piece of the data, and True behind a chunk with a wrong checksum.

    Args:
        block: pieces end where the offset is a multiple of this, and with a chunk.
    """
    found = False
    for kind, start, length in png_chunks(file, limit=_CHUNKS_MAX):
        if kind != b"IDAT":
            if found:
                return
            continue
        found = True
        check, place, end = zlib.crc32(kind), start, start + length
        while True:
            content = file.read(min(end, (place // block + 1) * block) - place)
            check = zlib.crc32(content, check)
            here, place = place, place + len(content)
            if place < end and not content:
                return
            stored = file.read(4) if place == end else b""
            yield here, content, len(stored) == 4 and stored != check.to_bytes(4)
            if place == end:
                break
            file.seek(place)


def _bytes_of_rows(file: PictureFile) -> int:
    """Return the length of a PNG's data when they are inflated, from its header; 0 if it has none."""
    file.seek(16)
    head = file.read(13)
    if len(head) < 13:
        return 0
    width, height, depth, kind, interlaced = struct.unpack(">II2B2xB", head)
    bits = depth * _SAMPLES.get(kind, 4)
    total = 0
    for down, top, across, left in _PASSES if interlaced else ((1, 0, 1, 0),):
        rows, columns = (height - top + down - 1) // down, (width - left + across - 1) // across
        if columns > 0:
            total += max(0, rows) * (1 + (columns * bits + 7) // 8)
    return total
