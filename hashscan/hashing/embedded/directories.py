"""Locate previews and further pictures in a picture file (EXIF, TIFF, AVIF), and read its orientation.

TIFF files, EXIF data and the index of a multi-picture JPEG consist of directories of tags. This module reads
only the few tags that it needs; Pillow reads a whole directory, which takes longer than decoding a thumbnail.

An AVIF file can hold both a still picture and an image sequence. Pillow shows the still picture if the major
brand is `avif`. Browsers and other viewers use other rules.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct

from hashscan.hashing.pread import PatchedFile, PictureFile, PreadFile

ReadAt = Callable[[int, int], bytes]
"""A function from an offset and a size to the bytes there; fewer at the end of the file."""

_ORIENTATION = 0x0112
_COMPRESSION = 0x0103
_STRIP_OFFSETS = 0x0111
_STRIP_LENGTHS = 0x0117
_TILE_OFFSETS = 0x0144
_SUB_DIRECTORIES = 0x014A
_JPEG_OFFSET = 0x0201
_JPEG_LENGTH = 0x0202
_PICTURE_INDEX = 0xB002
_SAMPLE_FORMAT = 0x0153
_FLOATS = frozenset({(3,), (6,)})
_LACKED = frozenset({(33003,), (33005,), (34712,), (34887,), (50001,), (50002,), (52546,)})
"""Values of the compression tag for JPEG 2000 (the first three), LERC, WebP and JPEG XL."""

_WANTED = frozenset(
    {
        *(_ORIENTATION, _SUB_DIRECTORIES, _SAMPLE_FORMAT, _JPEG_OFFSET, _JPEG_LENGTH, _PICTURE_INDEX),
        *(_COMPRESSION, _STRIP_OFFSETS, _STRIP_LENGTHS, _TILE_OFFSETS),
    }
)
_ONE_STRIP = frozenset({(6,), (7,)})
"""Values of the compression tag for JPEG."""

_SIZES = {3: (2, "H"), 4: (4, "I"), 13: (4, "I"), 7: (1, "B")}
"""Size in bytes and `struct` letter of a value, by type, for the types of the tags above."""

_MAX_TAGS, _MAX_DIRECTORIES = 1 << 16, 1024
"""Maximum number of tags in all directories together, and of directories."""
_MAX_PICTURES = 16
"""Pictures below the pages of a TIFF, or in EXIF data, that are no JPEGs."""
_MAX_INDEXED = 64
"""Pictures in the index of a JPEG (MPF)."""

_Values = dict[int, tuple[int, ...]]


class TiffTags(Struct, frozen=True):
    """The values found in TIFF directories."""

    orientation: int = 1
    """EXIF orientation of the picture, 1 to 8 (EXIF 2.32, section 4.6.4); 1 means that it is upright."""

    previews: tuple[tuple[int, int], ...] = ()
    """Offset and length of each JPEG preview named by a directory; they may lie outside of the file."""

    unsupported: bool = False
    """True if the first picture has floating-point samples, or a compression that Pillow lacks."""

    others: tuple[int, ...] = ()
    """Offset of each directory of another picture that no list of pages has, and that is no JPEG preview."""

    more: bool = False
    """True if there are more directories than were read, or more tags."""


class _Bounded:
    """The state of a walk over directories."""

    ended = False
    tags = _MAX_TAGS
    """Number of tags that may still be read."""


def read_directories(read: ReadAt, pages: bool = False) -> TiffTags:
    """Read the directories of EXIF data or of a TIFF file (TIFF 6.0, section 2).

    The data are untrusted, so malformed values are skipped.

    Args:
        read: returns bytes at an offset from the start of the TIFF header.
        pages: True for a TIFF, whose further directories are pages; they are thumbnails in EXIF data.
    """
    orientation = 1
    previews: list[tuple[int, int]] = []
    others: list[int] = []
    unsupported = False
    bound = _Bounded()
    for place, (values, below, start) in enumerate(_walk(read, bound, _MAX_DIRECTORIES)):
        if place == 0:
            (orientation,) = values.get(_ORIENTATION, ())[:1] or (1,)
            unsupported = values.get(_SAMPLE_FORMAT, ())[:1] in _FLOATS
            unsupported |= values.get(_COMPRESSION, ())[:1] in _LACKED
        offset, length = values.get(_JPEG_OFFSET, ()), values.get(_JPEG_LENGTH, ())
        if below and not offset and values.get(_COMPRESSION, ())[:1] in _ONE_STRIP:
            # Previews of DNG and other camera files: one strip that is a whole JPEG.
            offset, length = values.get(_STRIP_OFFSETS, ()), values.get(_STRIP_LENGTHS, ())
        if len(offset) == len(length) == 1 and length[0]:
            previews.append((offset[0], length[0]))
        elif (below if pages else place) and (_STRIP_OFFSETS in values or _TILE_OFFSETS in values):
            others.append(start)
    orientation = orientation if 1 <= orientation <= 8 else 1
    return TiffTags(orientation, tuple(dict.fromkeys(previews)), unsupported, tuple(others), bound.ended)


def is_unsupported_tiff(file: PreadFile) -> bool:
    """Return True if the first picture of a TIFF is of a kind that Pillow can't decode."""
    return read_directories(_reader(file), pages=True).unsupported


def read_picture_index(read: ReadAt) -> tuple[tuple[int, int], ...]:
    """Return offset and length of the further pictures of a multi-picture JPEG (CIPA DC-007, section 5.2.3).

    Args:
        read: returns bytes at an offset from the start of the index's own TIFF header; the pictures'
            offsets count from there, too.

    Raises:
        NotImplementedError: there are too many.
    """
    for values, _, _ in _walk(read, _Bounded(), 1):
        entries = bytes(values.get(_PICTURE_INDEX, ()))
        if len(entries) > 16 * (1 + _MAX_INDEXED):
            raise NotImplementedError
        order = "<" if read(0, 2) == b"II" else ">"
        found = struct.iter_unpack(order + "4xII4x", entries[: len(entries) // 16 * 16])
        # The first picture's offset is always 0.
        return tuple((offset, length) for length, offset in found if offset and length)
    return ()


def _walk(read: ReadAt, bound: _Bounded, most: int) -> Iterator[tuple[_Values, bool, int]]:
    """Yield the wanted values of each directory and its sub-directories, True for the latter, and its offset.

    Args:
        bound: its field `ended` becomes True if there is more than was read.
        most: number of directories that are read.
    """
    header = read(0, 8)
    order = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">"}.get(header[:4])
    if order is None or len(header) < 8:
        return
    waiting = [(*struct.unpack(order + "I", header[4:]), False)]
    seen: set[int] = set()
    while waiting:
        offset, below = waiting.pop(0)
        if offset in seen or not offset:
            continue
        if len(seen) == most:
            bound.ended = True
            return
        seen.add(offset)
        values, following = _directory(read, order, offset, bound)
        yield values, below, offset
        waiting += [*((start, True) for start in values.get(_SUB_DIRECTORIES, ())), (following, below)]


def _directory(read: ReadAt, order: str, offset: int, bound: _Bounded) -> tuple[_Values, int]:
    """Return the wanted values of one directory by tag, and the offset of the next directory (0 for none)."""
    counted = read(offset, 2)
    if len(counted) < 2:
        return {}, 0
    (count,) = struct.unpack(order + "H", counted)
    bound.ended |= count > bound.tags
    count = min(count, bound.tags)
    body = read(offset + 2, 12 * count + 4)
    bound.tags -= min(count, len(body) // 12)
    values: _Values = {}
    for place in range(0, min(12 * count, len(body) - 11), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", body, place)
        if tag not in _WANTED or kind not in _SIZES:
            continue
        size, letter = _SIZES[kind]
        bound.ended |= tag == _SUB_DIRECTORIES and number > _MAX_PICTURES
        number = min(number, 16 * (_MAX_INDEXED + 2) if tag == _PICTURE_INDEX else _MAX_PICTURES)
        if size * number <= 4:
            data = body[place + 8 : place + 8 + size * number]
        else:
            data = read(struct.unpack_from(order + "I", body, place + 8)[0], size * number)
        if len(data) == size * number:
            values[tag] = struct.unpack(f"{order}{number}{letter}", data)
    if len(body) < 12 * count + 4:
        return values, 0
    return values, struct.unpack_from(order + "I", body, 12 * count)[0]


_EXIF_HEADER = b"Exif\0\0"
_PHOTOSHOP_THUMBNAIL = 1036
_PHOTOSHOP_HEADER = 28
_PHOTOSHOP_COLOURS = 26
"""Offset of the section with the colours, which comes before that with the resources."""


class HasInfo(Protocol):
    """A picture that has Pillow's `info`."""

    @property
    def info(self) -> Mapping[Any, Any]:
        """Return the metadata of its header, by Pillow's names."""


class MemoryFile(io.BytesIO):
    """A file embedded in another file, whose bytes Pillow has already read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.size = len(content)
        """Length in bytes."""
        self.ran_out = False
        """True if a read of a given size found no more bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes; without a size, all up to the end."""
        content = super().read(size)
        self.ran_out |= not content and size is not None and size > 0
        return content


def orientation_of(image: HasInfo) -> int:
    """Return the EXIF orientation of the picture, 1 to 8 (EXIF 2.32, section 4.6.4)."""
    # Pillow turns the picture of a TIFF file itself, and gives no EXIF data for it.
    return _exif(image).orientation


def previews_of(image: HasInfo, file: PreadFile, pillow_format: str) -> list[PreadFile | MemoryFile]:
    """Return the JPEG previews of a picture file: from EXIF, from a TIFF's directories, from a PSD.

    It is not checked that they are JPEGs.
    """
    if pillow_format == "JPEG":
        exif = _exif_bytes(image)
        return [MemoryFile(exif[start : start + length]) for start, length in _exif(image).previews]
    if pillow_format == "TIFF":
        found = read_directories(_reader(file), pages=True)
        return [file.subfile(start, length) for start, length in found.previews]
    if pillow_format == "PSD":
        return list(_photoshop_thumbnails(file))
    return []


def other_directories(image: HasInfo, file: PreadFile, pillow_format: str) -> tuple[list[PreadFile], bool]:
    """Return a TIFF, or EXIF data, once for each picture that is in no list of pages, with this one first.

    True is returned, too, if there may be others.
    """
    if pillow_format == "TIFF":
        file.seek(0)
        if file.read(4) in _LARGE_TIFFS:
            return [], _SUB_DIRECTORIES in getattr(image, "tag_v2", ())
        found, held = read_directories(_reader(file), pages=True), file
    else:
        exif = _exif_bytes(image)
        held = PreadFile(exif)
        found = _exif(image)
    held.seek(0)
    order: Literal["little", "big"] = "little" if held.read(2) == b"II" else "big"
    more = found.more or len(found.others) > _MAX_PICTURES
    return [
        PatchedFile(held, [(4, start.to_bytes(4, order))]) for start in found.others[:_MAX_PICTURES]
    ], more


_LARGE_TIFFS = frozenset({b"II+\0", b"MM\0+"})


def _photoshop_thumbnails(file: PreadFile) -> Iterator[PreadFile]:
    """Yield the thumbnails in the resources of a PSD ("Adobe Photoshop File Formats", Image Resources)."""
    file.seek(_PHOTOSHOP_COLOURS)
    file.seek(_PHOTOSHOP_COLOURS + 4 + int.from_bytes(file.read(4)))
    length = int.from_bytes(file.read(4))
    place = file.tell()
    end = min(place + length, file.size)
    while place < end:
        file.seek(place)
        kind, name = struct.unpack(">4xHB", file.read(7).ljust(7, b"\0"))
        # Names and contents are padded to an even length, a name with the byte of its length.
        file.seek(place + 7 + name + (name + 1) % 2)
        length, first = int.from_bytes(file.read(4)), file.tell()
        if kind == _PHOTOSHOP_THUMBNAIL:
            yield file.subfile(first + _PHOTOSHOP_HEADER, max(0, length - _PHOTOSHOP_HEADER))
        place = first + length + length % 2


def pictures_beside(image: HasInfo, file: PreadFile) -> list[PreadFile]:
    """Return the further pictures of a multi-picture JPEG; none for other files or a malformed index."""
    index, start = image.info.get("mp"), image.info.get("mpoffset")
    if not isinstance(index, bytes) or not isinstance(start, int):
        return []
    held = MemoryFile(index)
    return [file.subfile(start + offset, length) for offset, length in read_picture_index(_reader(held))]


def _exif_bytes(image: HasInfo) -> bytes:
    exif = image.info.get("exif", b"")
    return exif.removeprefix(_EXIF_HEADER) if isinstance(exif, bytes) else b""


def _exif(image: HasInfo) -> TiffTags:
    exif = _exif_bytes(image)
    return read_directories(_reader(MemoryFile(exif))) if exif else TiffTags()


def named_in_exif(image: HasInfo, header: bytes) -> dict[int, int]:
    """Return by offset the end of each preview that the EXIF data of a JPEG names.

    Args:
        header: the bytes of the file up to its scan.
    """
    exif = _exif_bytes(image)
    start = header.find(exif) if exif else -1
    if start < 0:
        return {}
    return {start + place: start + place + length for place, length in _exif(image).previews}


def _reader(file: PreadFile | MemoryFile) -> ReadAt:
    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunks(file: PictureFile, start: int = 0, *, limit: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, offset and length of the content of each chunk of the PNG at `start`, up to its IEND.

    The file is positioned at the content of the chunk that was yielded last.

    Raises:
        NotImplementedError: the PNG has more chunks than `limit`.
    """
    place = start + len(PNG_SIGNATURE)
    for _ in range(limit):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4])
        yield head[4:], place + 8, length
        place += length + 12
    raise NotImplementedError


_SWAPPED_MAX = 64 << 20
"""Maximum length in bytes of a file that is read again with another brand."""
_BOXES_MAX = 1000


def swap_avif_brand(file: PictureFile) -> bytes | None:
    """Return the file with the other major brand, so that Pillow shows its other picture; None if it has one.

    Raises:
        NotImplementedError: the file is too long, or has more boxes than are examined.
    """
    kinds = set()
    place = brand = 0
    for _ in range(_BOXES_MAX):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            break
        kinds.add(head[4:8])
        length, first = int.from_bytes(head[:4]), place + 8
        if length == 1:
            length, first = int.from_bytes(head[8:16]), place + 16
        brand = brand or first
        if length < first - place:
            # Length 0: the box extends to the end of the file.
            break
        place += length
    else:
        raise NotImplementedError
    if not {b"meta", b"moov"} <= kinds:
        return None
    if file.size > _SWAPPED_MAX:
        raise NotImplementedError
    file.seek(0)
    content = file.read(file.size)
    other = b"avis" if content[brand : brand + 4] == b"avif" else b"avif"
    return content[:brand] + other + content[brand + 4 :]


_ICON_FORMATS = {PNG_SIGNATURE: "PNG", b"\0\0\0\x0cjP  ": "JPEG2000", b"\xff\x4f\xff\x51": "JPEG2000"}
_PLAIN_ICONS = frozenset({b"it32", b"ih32", b"il32", b"is32"})
"""Icons without compression, of 128, 48, 32 and 16 pixels; Pillow shows a compressed one in their place."""
_ICONS_MAX = 64
"""Pictures of an ICNS."""


def mac_icons(file: PreadFile) -> list[tuple[PreadFile, str]]:
    """Return each icon of an ICNS, with Pillow's name of the format in which it is read.

    Raises:
        NotImplementedError: it has more entries than are read.
    """
    entries: list[tuple[int, bytes, int]] = []
    place = 8
    while place + 8 <= file.size:
        file.seek(place)
        kind, length = file.read(4), int.from_bytes(file.read(4))
        if length < 8:
            break
        if len(entries) == _ICONS_MAX:
            raise NotImplementedError
        entries.append((place, kind, length))
        place += length
    found = []
    for place, kind, length in entries:
        file.seek(place + 8)
        begin = file.read(8)
        form = next((name for start, name in _ICON_FORMATS.items() if begin.startswith(start)), "")
        if form:
            found.append((file.subfile(place + 8, length - 8), form))
        elif kind in _PLAIN_ICONS:
            # The others are renamed, but for the masks.
            hidden = [(at, b"junk") for at, other, _ in entries if at != place and not other.endswith(b"8mk")]
            found.append((PatchedFile(file, hidden), "ICNS"))
    return found
