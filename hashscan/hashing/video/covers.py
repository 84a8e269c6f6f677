"""Find picture files that lie beside a video or a piece of music, and that FFmpeg does not take for covers.

FFmpeg knows a cover by the type that the file states for it. Players go by its content, and read tags at the
end of music that FFmpeg passes over.
"""

from __future__ import annotations

import binascii
import re
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hashscan.hashing.archives.openers import Stopped
from hashscan.hashing.formats import sniff
from hashscan.model import Reason

if TYPE_CHECKING:
    from av.container import InputContainer

    from hashscan.hashing.pread import PreadFile

TAG_MAX = 16 << 20
"""Length in bytes of a tag that is read; FFmpeg reads no longer ones either."""
INDEX_MAX = 64 << 20
"""Length in bytes of the index of an MP4 that is read, unpacked too."""

_TAIL = 128 << 10
"""Number of a file's last bytes in which the footer of a tag lies: older tags may follow."""
_FOOTER = re.compile(rb"APETAGEX(.{4})(.{4})(.{4})(.{4})\0{8}", re.DOTALL)
"""Version, length, number of items, flags. Source: APEv2 specification, Hydrogenaudio."""
_ITEM = struct.Struct("<II")
_IS_BINARY, _IS_HEADER = 0x2, 0x20000000
_ID3_FOOTER = re.compile(rb"3DI[\2-\4]\0.([\0-\x7f]{4})", re.DOTALL)
"""ID3v2.4, section 3.4."""
_ID3_PICTURE = re.compile(rb"A?PIC")

_ENCODED = re.compile(r"/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3]|SUkq|TU0AK")
"""Begin of a picture in base64: JPEG, PNG, GIF, WebP, BMP, TIFF."""

_COVER = re.compile(rb"(.{4})covr", re.DOTALL)
_PACKED = b"cmvd"
_BOX = struct.Struct(">I4s")
_VALUE_HEADER = 16
"""Bytes before the value of a metadata item in an MP4."""


def attachments(container: InputContainer) -> Iterator[bytes]:
    """Yield the attachments of a Matroska file, whatever their type, and pictures in text metadata."""
    for stream in container.streams.attachments:
        if stream.data:
            yield stream.data
    for metadata in (container.metadata, *(stream.metadata for stream in container.streams)):
        for value in metadata.values():
            # COVERART of older Vorbis comments, for example.
            if _ENCODED.match(value) is not None:
                try:
                    content = binascii.a2b_base64(value)
                except ValueError:
                    continue
                if sniff(content) is not None:
                    yield content


def tags_behind(file: PreadFile) -> Iterator[bytes | Stopped]:
    """Yield the pictures in tags at the end of music, or why they can't be read."""
    begin = max(0, file.size - _TAIL)
    file.seek(begin)
    tail = file.read(_TAIL)
    for footer in _FOOTER.finditer(tail):
        length, flags = (int.from_bytes(footer[group], "little") for group in (2, 4))
        if flags & _IS_HEADER or length < footer.end() - footer.start():
            continue
        if length > TAG_MAX:
            yield Stopped(b"tag", Reason.CONTAINER_MEMBER)
            continue
        file.seek(max(0, begin + footer.end() - length))
        yield from _items(file.read(length - len(footer[0])))
    for footer in _ID3_FOOTER.finditer(tail):
        seven = footer[1]
        length = seven[0] << 21 | seven[1] << 14 | seven[2] << 7 | seven[3]
        place = begin + footer.start() - length
        if place < 0:
            continue
        file.seek(place)
        if length > TAG_MAX or _ID3_PICTURE.search(file.read(length)) is not None:
            # No library that is used here reads such a tag.
            yield Stopped(b"tag", Reason.CONTAINER)


def _items(tag: bytes) -> Iterator[bytes]:
    """Yield the binary items of an APE tag, each behind the name of its file."""
    at = 0
    while at + _ITEM.size < len(tag):
        length, flags = _ITEM.unpack_from(tag, at)
        name_end = tag.find(b"\0", at + _ITEM.size)
        if name_end < 0:
            return
        value = tag[name_end + 1 : name_end + 1 + length]
        at = name_end + 1 + length
        if flags & _IS_BINARY:
            yield value.partition(b"\0")[2]
            if sniff(value) is not None:
                yield value


def unpacked_index(index: bytes) -> bytes:
    """Return an index of an MP4 with what is compressed in it behind it, up to `INDEX_MAX`."""
    at = index.find(_PACKED)
    if at < 0:
        return index
    try:
        return index + zlib.decompressobj().decompress(index[at + 8 :], INDEX_MAX)
    except zlib.error:
        return index


def covers_in_index(index: bytes) -> Iterator[bytes]:
    """Yield the covers in the metadata of an MP4, whatever their type."""
    for found in _COVER.finditer(index):
        at, end = found.end(), found.start() + int.from_bytes(found[1])
        while at + _VALUE_HEADER < min(end, len(index)):
            length, name = _BOX.unpack_from(index, at)
            if name == b"data":
                yield index[at + _VALUE_HEADER : at + length]
            at += max(length, _BOX.size)
