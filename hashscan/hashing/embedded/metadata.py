"""Find pictures in the metadata of others: EXIF, JFXX, Photoshop's resources, XMP, makers' notes.

Where each maker keeps them is not known; so all metadata are searched for JPEGs, as they are and in Base64 or
hexadecimal digits, and whatever the structure around them says.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from hashscan.hashing.embedded.directories import HasInfo, named_in_exif
from hashscan.hashing.embedded.ends import behind, end_of_jpeg
from hashscan.hashing.pread import PictureFile, PreadFile
from hashscan.model import Reason

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_BASE64_STARTS = b"/9j/", b"iVBORw0KGgo"
_IN_BASE64 = re.compile(rb"(?:/9j/|iVBORw0KGgo)[A-Za-z0-9+/=\s&#;]{64,}")
_REFERENCES = re.compile(rb"&#(?:0*1[03]|x0*[AaDd]);|[^A-Za-z0-9+/]")
_PROFILE = re.compile(r"\s*\w[\w ]*\n\s*[0-9]+\n([0-9A-Fa-f\s]*)\Z")
"""A profile in a PNG, as ImageMagick writes it: a name, a length, and hexadecimal digits."""
_FRAMES = frozenset({*range(0xC0, 0xD0)}) - {0xC4, 0xC8, 0xCC}
_MOST, _METADATA_MAX = 32, 64 << 20
"""Pictures in the metadata of a file, and length in bytes of that."""
_SEGMENTS_MAX = 1 << 12
"""Segments of metadata of a JPEG."""
_LONG = 60_000
"""Length in bytes from which a part of a segment may be divided, since a segment has 65,535 at most."""
_SCAN, _END = 0xDA, 0xD9
_SCAN_MARK = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\0\x01\xd0-\xd8\xff]", re.DOTALL)
"""A marker that a segment follows, or the end."""
_PIECE_SIZE = 4096
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_EXTENDED_HEADER = len(_EXTENDED) + 40
_EXTENSION = b"JFXX\0"
_EXTENSION_JPEG = 0x10


_TIFF_TAGS = 700, 33723, 34377, 37500
"""XMP, IPTC, Photoshop's resources, makers' notes."""
_GIF_XMP = b"XMP DataXMP"


class Found(NamedTuple):
    """Pictures in the metadata of another one."""

    sources: list[PreadFile]
    reason: Reason | None
    """The reason why there may be others; None if there are none."""


def pictures_in_metadata(image: HasInfo, file: PreadFile, pillow_format: str) -> Found:
    """Return the JPEGs and PNGs in the metadata of a picture, apart from those that its EXIF data names.

    Args:
        image: it, opened.
    """
    reason = None
    if pillow_format == "JPEG":
        found, others = _in_segments(file, image)
    else:
        blocks, whole = _texts(image, file, pillow_format)
        found, others = [each for block in blocks for each in _in_block(block)], not whole
    if len(found) > _MOST:
        reason = Reason.TOO_MANY
    elif others:
        reason = Reason.UNSUPPORTED
    return Found(found[:_MOST], reason)


def jpegs_behind(file: PreadFile, pillow_format: str) -> list[PreadFile]:
    """Return the JPEGs that directly follow a picture."""
    return [file.subfile(start, length) for start, length in behind(file, pillow_format).jpegs]


def _in_segments(file: PreadFile, image: HasInfo) -> tuple[list[PreadFile], bool]:
    """Return the pictures in front of the scan of a JPEG; and True for thumbnails of other kinds."""
    header, ends, extended, others = _header(file)
    found: list[PreadFile] = []
    named = named_in_exif(image, header)
    place = header.find(_JPEG, 2)
    while place >= 0 and len(found) <= _MOST:
        part = file.subfile(place, len(header) - place)
        here = ends[bisect_left(ends, place + 2)]
        if place + 2 < here and _is_jpeg(file.subfile(place, here - place)):
            end = end_of_jpeg(part)
            # One that was cut off ends with its segment.
            last = here if end is None else place + end
            is_cut = end is None and here - place <= _LONG
            # One that ends before its scan, and goes on nowhere, shows nothing.
            if last > named.get(place, 0) and not (is_cut and header.find(_SCAN_MARK, place, last) < 0):
                found.append(file.subfile(place, last - place))
                # Some cameras leave the begin of another picture there, which ends with garbage.
                found[-1].ran_out = end is None
                # It may go on in the next segment.
                others |= end is None and here - place > _LONG
        # One may lie within what looks like another.
        place = header.find(_JPEG, place + len(_JPEG))
    for text in (header, *extended):
        found += _in_base64(text)
        found += _pngs(text)
    return found, others


def _header(file: PreadFile) -> tuple[bytes, list[int], list[bytes], bool]:
    """Return what is in front of the first scan of a JPEG.

    These are its bytes, the ends of its segments, the extended XMP, and True if there is another thumbnail.
    """
    ends: list[int] = []
    parts: list[tuple[int, int]] = []
    extended: dict[bytes, list[tuple[bytes, bytes]]] = {}
    others = False
    place = 2
    for _ in range(_SEGMENTS_MAX):
        place = _next_marker(file, place)
        file.seek(place)
        head = file.read(4)
        if len(head) < 4 or head[1] in {_SCAN, _END}:
            break
        length = int.from_bytes(head[2:4])
        if head[1] in {0xE0, 0xE1}:
            start = file.read(_EXTENDED_HEADER)
            if head[1] == 0xE1 and start.startswith(_EXTENDED):
                key, where = start[len(_EXTENDED) : -8], start[-4:]
                extended.setdefault(key, []).append((where, file.read(max(0, length - 2 - len(start)))))
                parts.append((place, place + 2 + length))
            others |= head[1] == 0xE0 and start.startswith(_EXTENSION) and start[5] != _EXTENSION_JPEG
        place += 2 + length if length >= 2 else 1
        ends.append(place)
    else:
        others = True
    file.seek(0)
    header = file.read(min(place, _METADATA_MAX))
    texts = [b"".join(text for _, text in sorted(pieces)) for pieces in extended.values()]
    for start_of, end_of in reversed(parts):
        header = header[:start_of] + bytes(end_of - start_of) + header[end_of:]
    return header, [*ends, place], texts, others or place > _METADATA_MAX


def _next_marker(file: PictureFile, place: int) -> int:
    """Return the offset of the next marker of a segment; libjpeg skips what is none."""
    while True:
        file.seek(place)
        piece = file.read(_PIECE_SIZE)
        if (found := _MARKER.search(piece)) is not None:
            return place + found.start()
        if len(piece) < _PIECE_SIZE:
            return place + len(piece)
        place += len(piece) - 1


def jpegs_in(file: PreadFile) -> Iterator[tuple[int, int]]:
    """Yield offset and length of each JPEG in a file, apart from those within another one."""
    place = 0
    while place < file.size:
        file.seek(place)
        piece = file.read(_SEARCHED_AT_ONCE)
        found = piece.find(_JPEG)
        if found < 0:
            place += max(1, len(piece) - len(_JPEG) + 1)
            continue
        start = place + found
        if _is_jpeg(file.subfile(start)):
            place = end_of_jpeg(file, start) or file.size
            yield start, place - start
        else:
            place = start + len(_JPEG)


_SEARCHED_AT_ONCE = 64 << 10


def _is_jpeg(file: PictureFile) -> bool:
    """Return True if it has a frame before a scan: the mark alone occurs by chance."""
    place = 2
    for _ in range(_SEGMENTS_MAX):
        file.seek(place)
        head = file.read(10)
        if len(head) < 10 or head[0] != 0xFF or head[1] == _SCAN:
            return False
        if head[1] in _FRAMES:
            return int.from_bytes(head[2:4]) == 8 + 3 * head[9]
        place += 2 + int.from_bytes(head[2:4]) if head[1] != 0xFF else 1
    # Decoded to see: it has more segments than are looked at.
    return True


def _in_base64(text: bytes) -> list[PreadFile]:
    found: list[PreadFile] = []
    if not any(each in text for each in _BASE64_STARTS):
        return found
    for match in _IN_BASE64.finditer(text):
        plain = _REFERENCES.sub(b"", match[0])
        content = PreadFile(binascii.a2b_base64(plain[: len(plain) // 4 * 4]))
        if plain.startswith(_BASE64_STARTS[1:]) or _is_jpeg(content):
            found.append(content)
        if len(found) > _MOST:
            break
    return found


def _pngs(block: bytes) -> list[PreadFile]:
    found: list[PreadFile] = []
    place = block.find(_PNG)
    while place >= 0 and len(found) <= _MOST:
        found.append(PreadFile(block[place:]))
        place = block.find(_PNG, place + len(_PNG))
    return found


def _in_block(block: bytes) -> list[PreadFile]:
    """Return the pictures in a part of metadata."""
    found = _in_base64(block) + _pngs(block)
    place = block.find(_JPEG)
    while place >= 0 and len(found) <= _MOST:
        content = PreadFile(block[place:])
        if _is_jpeg(content):
            found.append(content)
        place = block.find(_JPEG, place + len(_JPEG))
    return found


def _texts(image: HasInfo, file: PreadFile, pillow_format: str) -> tuple[list[bytes], bool]:
    """Return all texts and bytes of metadata; and False if not all were looked at."""
    found: list[bytes] = []
    left = _METADATA_MAX
    whole = True
    values = [*image.info.values()]
    if pillow_format == "TIFF":
        values += [tags[tag] for tags in [getattr(image, "tag_v2", {})] for tag in _TIFF_TAGS if tag in tags]
    if pillow_format == "GIF":
        file.seek(0)
        content = file.read(min(file.size, _METADATA_MAX))
        place = content.find(_GIF_XMP)
        values += [content[place:]] if place >= 0 else []
        whole = len(content) == file.size
    for value in _values(values):
        block = value if isinstance(value, bytes) else value.encode("latin-1", "replace")
        if isinstance(value, str) and (profile := _PROFILE.match(value)) is not None:
            digits = "".join(profile[1].split())
            block = bytes.fromhex(digits[: len(digits) // 2 * 2])
        left -= len(block)
        if left < 0:
            whole = False
            break
        found.append(block)
    return found, whole


def _values(values: Iterable[Any]) -> Iterator[bytes | str]:
    for value in values:
        if isinstance(value, bytes | str):
            yield value
        elif isinstance(value, dict):
            yield from _values(value.values())
        elif isinstance(value, list | tuple):
            yield from _values(value)
