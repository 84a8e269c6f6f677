"""Find what lies behind the end of a picture, where no decoder of pictures looks.

Phones append a video ("motion photo"), or further pictures; anybody can append an archive. In AVIF, HEIF and
JPEG XL such data are in boxes that the format does not know. What directly follows as a JPEG is decoded with
the picture; the rest is opened as a container (`containers.APPENDED`).

To hide something behind a picture, its end would have to be taken for a later one. All ends are the ones that
decoders find first; what stands behind an earlier end is looked at in vain, and costs time only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hashscan.hashing.pread import PictureFile, PreadFile

Span = tuple[int, int]
"""Offset and length in bytes."""

LEAST = 24
"""Length in bytes of what is too short for any picture, video or archive with content."""
_JPEGS_MAX = 64
"""JPEGs directly behind another; the rest is opened as a container."""
_PARTS_MAX = 1 << 17
"""Blocks of a GIF, and chunks of a PNG or WebP."""
SEGMENTS_MAX = 1 << 14
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_END_OF_JPEG, SCAN = b"\xff\xd9", 0xDA
WITHOUT_LENGTH = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD9)})
_READ_SIZE = 1 << 20
_PADDING = re.compile(rb"[^\0\xff \t\r\n]")


class Behind(NamedTuple):
    """Places of all that is behind the end of a picture."""

    jpegs: tuple[Span, ...] = ()
    """Those that directly follow the picture, perhaps after padding, one after another."""
    rest: tuple[Span, ...] = ()
    """The other bytes, unless they are padding or too few."""
    more: bool = False
    """True if not all was looked at, since the picture has too many parts."""


NOTHING = Behind()


def behind(file: PreadFile, pillow_format: str) -> Behind:
    """Return what is behind a picture.

    Args:
        pillow_format: Pillow's name of its format; of some formats the end is not known.

    Raises:
        OSError: the file can't be read.
    """
    if pillow_format in BOXED:
        return _in_boxes(file)
    end = file.end_of_picture
    if end is None:
        finder = ENDS.get(pillow_format)
        try:
            end = None if finder is None else finder(file)
        except NotImplementedError:
            return Behind(more=True)
        # It is asked for once by who decodes and once by who searches.
        file.end_of_picture = end
    if end is None or file.size - end < LEAST:
        return NOTHING
    jpegs: list[Span] = []
    while (start := _first_content(file, end)) is not None:
        file.seek(start)
        if file.read(3) != _JPEG or len(jpegs) == _JPEGS_MAX:
            return Behind(tuple(jpegs), ((end, file.size - end),) if file.size - start >= LEAST else ())
        end = end_of_jpeg(file, start) or file.size
        jpegs.append((start, end - start))
    return Behind(tuple(jpegs))


def _in_boxes(file: PictureFile) -> Behind:
    found: list[Span] = []
    try:
        for number, (start, length) in enumerate(_unknown_boxes(file)):
            if number == _UNKNOWN_MAX:
                raise NotImplementedError
            if _is_content(file, start, length):
                found.append((start, length))
    except NotImplementedError:
        return Behind((), tuple(found), more=True)
    return Behind((), tuple(found))


def _first_content(file: PictureFile, start: int) -> int | None:
    """Return the offset of the first byte that is no padding; None if there is none."""
    while start < file.size:
        file.seek(start)
        piece = file.read(min(_READ_SIZE, file.size - start))
        if not piece:
            return None
        if (found := _PADDING.search(piece)) is not None:
            # The mark of a JPEG begins like padding.
            here = found.start()
            return start + here - (piece[:here].endswith(b"\xff") and found[0] == b"\xd8")
        start += len(piece)
    return None


def _is_content(file: PictureFile, start: int, length: int) -> bool:
    first = _first_content(file, start)
    return length >= LEAST and first is not None and first < start + length


def end_of_jpeg(file: PictureFile, start: int = 0) -> int | None:
    """Return the end of the JPEG that begins at an offset (ITU-T T.81, annex B); None if it has none.

    The bytes of its marker are in no scan, though they can be in a table between two scans.
    """
    place = start + 2
    for _ in range(SEGMENTS_MAX):
        file.seek(place)
        head = file.read(4)
        if len(head) < 4:
            return None
        if head[0] != 0xFF or head[1] in WITHOUT_LENGTH:
            # libjpeg skips such bytes, too.
            place += 1
            continue
        if head[1] == 0xD9:
            return place + 2
        place += 2 + int.from_bytes(head[2:4])
        if head[1] == SCAN:
            break
    file.seek(place)
    last = b""
    while piece := file.read(_READ_SIZE):
        found = (last + piece).find(_END_OF_JPEG)
        if found >= 0:
            return place - len(last) + found + 2
        place, last = place + len(piece), piece[-1:]
    return None


def _end_of_png(file: PictureFile) -> int | None:
    place = len(_PNG)
    for _ in range(_PARTS_MAX):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return None
        place += int.from_bytes(head[:4]) + 12
        if head[4:] == b"IEND":
            return place
    raise NotImplementedError


def _end_of_gif(file: PictureFile) -> int | None:
    file.seek(0)
    head = file.read(13)
    if len(head) < 13:
        return None
    place = 13 + _table(head[10])
    for _ in range(_PARTS_MAX):
        file.seek(place)
        head = file.read(10)
        if head[:1] == b";" or not head:
            return place + 1
        if head[:1] == b"!":
            place += 2
        elif head[:1] == b"," and len(head) == 10:
            place += 11 + _table(head[9])
        else:
            # Decoders stop here.
            return place
        while True:
            file.seek(place)
            length = file.read(1)
            place += 1
            if not length or not length[0]:
                break
            place += length[0]
    raise NotImplementedError


def _table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _end_of_riff(file: PictureFile) -> int | None:
    file.seek(4)
    length = int.from_bytes(file.read(4), "little")
    return 8 + length + length % 2


def _end_of_bitmap(file: PictureFile) -> int | None:
    # The stated length of the file is often wrong; pixels may end before it, and behind it.
    file.seek(0)
    head = file.read(54)
    if len(head) < 54 or int.from_bytes(head[14:18], "little") < 40:
        return None
    stated, start = (int.from_bytes(head[place : place + 4], "little") for place in (2, 10))
    width, height = (int.from_bytes(head[place : place + 4], "little", signed=True) for place in (18, 22))
    bits, packed, length = (
        int.from_bytes(head[place : place + size], "little") for place, size in ((28, 2), (30, 4), (34, 4))
    )
    pixels = (abs(width) * bits + 31) // 32 * 4 * abs(height) if packed in {0, 3, 6} else length
    return max(start + pixels, stated if stated <= file.size and not pixels else 0)


ENDS: dict[str, Callable[[PictureFile], int | None]] = {
    "BMP": _end_of_bitmap,
    "GIF": _end_of_gif,
    "JPEG": end_of_jpeg,
    "PNG": _end_of_png,
    "WEBP": _end_of_riff,
}

BOXED = frozenset({"AVIF", "HEIF", "JXL", "JPEG2000"})
_KNOWN_BOXES = frozenset(
    {
        *(b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"sidx", b"ssix", b"pdin"),
        *(b"mini", b"styp", b"idat"),
        *(b"JXL ", b"jxlc", b"jxlp", b"jxll", b"jxli", b"brob", b"jbrd", b"Exif", b"xml ", b"jumb", b"jhgm"),
        *(b"jP  ", b"jp2h", b"jp2c", b"jp2i", b"uinf", b"jpch", b"jplh", b"asoc", b"res ", b"colr"),
    }
)
_UNKNOWN_MAX = 256
"""Unknown boxes of a picture, each of which may be a file."""
BARE = frozenset({b"\xff\x0a", b"\xff\x4f"})
"""Begin of the data of JPEG XL and JPEG 2000 without boxes."""


def _unknown_boxes(file: PictureFile) -> Iterator[Span]:
    """Yield the content of each outermost box that the format does not know, and what follows all boxes.

    Raises:
        NotImplementedError: there are too many boxes.
    """
    place, typed = 0, False
    file.seek(0)
    if file.read(2) in BARE:
        return
    for _ in range(_PARTS_MAX):
        file.seek(place)
        head = file.read(16)
        length, first = int.from_bytes(head[:4]), place + 8
        if length == 1:
            length, first = int.from_bytes(head[8:16]), place + 16
        after = place + length if length else file.size
        if len(head) < 8 or after < first or after > file.size:
            break
        if head[4:8] == b"ftyp":
            if typed:
                # Another file begins.
                break
            typed = True
        if head[4:8] not in _KNOWN_BOXES:
            yield first, after - first
        place = after
        if place == file.size:
            return
    else:
        raise NotImplementedError
    if place and file.size - place >= LEAST:
        yield place, file.size - place


_SOUGHT = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|\0\0.{2}ftyp|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|PK\x03\x04|\x1a\x45\xdf\xa3",
    re.DOTALL,
)
"""Begin of files that are appended to pictures behind a name or a number."""
_STARTS_MAX = 64
"""Files behind a picture."""


def starts_in(file: PictureFile) -> Iterator[int]:
    """Yield where files may begin in what is behind a picture, apart from its begin.

    Those within a video or picture are left out.

    Raises:
        NotImplementedError: there are too many.
    """
    place = number = 0
    while place < file.size:
        file.seek(place)
        piece = file.read(_READ_SIZE)
        found = _SOUGHT.search(piece)
        if found is None:
            if place + len(piece) >= file.size:
                return
            place += max(1, len(piece) - 8)
            continue
        number += 1
        if number > _STARTS_MAX:
            raise NotImplementedError
        start = place + found.start()
        if start:
            yield start
        place = start + 4
        if found[0] == _JPEG:
            place = end_of_jpeg(file, start) or place
        elif found[0][4:] == b"ftyp":
            place = max(place + 4, _end_of_boxes(file, start))


def _end_of_boxes(file: PictureFile, place: int) -> int:
    for _ in range(_UNKNOWN_MAX):
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4])
        if len(head) < 8 or not head[4:8].isalnum() or length < 8 or place + length > file.size:
            break
        place += length
    return place
