"""Read compound files (OLE2): Outlook messages, thumbnail stores (Thumbs.db), Office documents before 2007.

olefile reads their streams. Each is digested, decoded and opened like a file. Pictures that lie within a
stream are members, too, named by their offset: those of thumbnails, and of the blips of Office's drawings
([MS-ODRAW] 2.2.23). In a workbook the drawings are cut into records ([MS-XLS] 2.4.58, 2.4.170), and joined.

A metafile is a member with `Reason.UNSUPPORTED`, a packed file (`Ole10Native`) one with `Reason.CONTAINER`.
Of a compound file that is none of those above, the streams are checked, and the rest is `Reason.CONTAINER`.
Other drawings of lines and shapes are no pictures.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import olefile

from hashscan.hashing.archives.openers import READ_MAX, failed, guarded, stored
from hashscan.hashing.member_records import ContainerError
from hashscan.model import Reason

if TYPE_CHECKING:
    from hashscan.hashing.archives.library import ArchiveMember
    from hashscan.hashing.pread import PreadFile

_MAIL = "__properties_version1.0"
_KNOWN = frozenset({_MAIL, "catalog", "worddocument", "workbook", "book", "powerpoint document"})
"""Streams of the formats whose pictures are all found, in lower case."""
_ENCRYPTED = frozenset({"encryptedpackage", "encryptedsummary", "encryptioninfo"})
_WORKBOOKS = frozenset({"workbook", "book"})
_SUMMARY = "\5summaryinformation"
"""Properties, a thumbnail of the document among them."""
_THUMBNAIL = re.compile(r"[0-9]+|(?:16|32|48|96|256|768|1024|1280)_[0-9a-f]+", re.IGNORECASE)

_HEADER_MAX = 64
"""Bytes in which the header of a thumbnail ends."""
_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n")
_BLIP = re.compile(rb"(?=(..[\x1a-\x1f\x29\x2a]\xf0.{4}))", re.DOTALL)
_METAFILES = frozenset({0xF01A, 0xF01B, 0xF01C})
_UIDS = {0x46B, 0x6E3, 0x6E1, 0x7A9, 0x6E5, 0x3D5, 0x217, 0x543}
"""Instances of records that have two identifiers of 16 bytes instead of one."""
_INSTANCES = {
    0xF01A: {0x3D4, 0x3D5},
    0xF01B: {0x216, 0x217},
    0xF01C: {0x542, 0x543},
    0xF01D: {0x46A, 0x46B, 0x6E2, 0x6E3},
    0xF02A: {0x46A, 0x46B, 0x6E2, 0x6E3},
    0xF01E: {0x6E0, 0x6E1},
    0xF01F: {0x7A8, 0x7A9},
    0xF029: {0x6E4, 0x6E5},
}
"""Instances by the type of a blip's record."""

_BITMAP_FILE = struct.Struct("<2sIII")
_RECORD = struct.Struct("<HH")
_GROUP, _CONTINUED, _PASSWORD = 0x00EB, 0x003C, 0x002F
_STREAMS_MAX = 100_000


class CompoundOpener:
    """Opens compound files except messages of Outlook."""

    _mail = False

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the streams, and the pictures in them.

        Raises:
            ContainerError: the rest can't be read, or is not known.
        """
        if file.size > 4 * READ_MAX:
            # The library holds the table of all sectors.
            raise ContainerError(Reason.CONTAINER_BYTES)
        try:
            compound = olefile.OleFileIO(file)
            streams = compound.listdir(streams=True, storages=False)
        except MemoryError:
            raise
        except Exception:
            raise ContainerError(Reason.CONTAINER_BROKEN) from None
        top = {path[0].lower() for path in streams if len(path) == 1}
        if _MAIL in top and not self._mail:
            raise ContainerError(Reason.CONTAINER)
        if top & _ENCRYPTED:
            raise ContainerError(Reason.ENCRYPTED)
        if len(streams) > _STREAMS_MAX:
            raise ContainerError(Reason.CONTAINER_MEMBERS)
        if compound.parsing_issues:
            yield failed(b"", Reason.AMBIGUOUS)
        for path in streams:
            yield from guarded(_name(path), _stream(compound, path))
        if not top & _KNOWN:
            raise ContainerError(Reason.CONTAINER)


class CompoundMailOpener(CompoundOpener):
    """Opens all compound files."""

    _mail = True


def _name(path: list[str]) -> bytes:
    # Names may begin with a control character.
    return "/".join(path).encode("utf-8", "surrogatepass")


def _stream(compound: Any, path: list[str]) -> Iterator[ArchiveMember]:
    """Yield a stream and the pictures in it."""
    name = _name(path)
    try:
        content = compound.openstream(path).read() if compound.get_size(path) <= READ_MAX else None
    except MemoryError:
        raise
    except Exception:
        yield failed(name, Reason.CONTAINER_BROKEN)
        return
    if content is None:
        yield failed(name, Reason.CONTAINER_BYTES)
    elif content:
        yield stored(name, content)
        yield from _pictures(name, path[-1].lower(), content)


def _pictures(name: bytes, last: str, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the pictures in a stream.

    Args:
        last: the last part of its name, in lower case.
    """
    if last == "worddocument" and len(content) > 11 and content[11] & 1:
        yield failed(name, Reason.ENCRYPTED)
    elif last in _WORKBOOKS:
        drawings = _drawings(content)
        if drawings is None:
            yield failed(name, Reason.ENCRYPTED)
        else:
            yield from _blips(name, drawings)
    elif _THUMBNAIL.fullmatch(last):
        found = _PICTURE.search(content, 1, _HEADER_MAX)
        if found is not None:
            yield stored(name + b"@%d" % found.start(), content[found.start() :])
    elif last == _SUMMARY:
        found = _PICTURE.search(content)
        if found is not None:
            yield stored(name + b"@%d" % found.start(), content[found.start() :])
    elif last.endswith("ole10native"):
        yield failed(name, Reason.CONTAINER)
    else:
        yield from _blips(name, content)


def _blips(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the pictures of Office's drawings in a stream."""
    at = 0
    while (found := _BLIP.search(content, at)) is not None:
        instance, kind, length = struct.unpack("<HHI", found[1])
        instance >>= 4
        start, end = found.start() + 8, found.start() + 8 + length
        at = found.start() + 1
        if instance not in _INSTANCES[kind] or not length > 17 or found[1][0] & 15:
            continue
        place = name + b"@%d" % found.start()
        if end > len(content):
            yield failed(place, Reason.CONTAINER_BROKEN)
            end = len(content)
        identified = start + (32 if instance in _UIDS else 16)
        if kind in _METAFILES:
            yield failed(place, Reason.UNSUPPORTED)
        else:
            picture = content[identified + 1 : end]
            yield stored(place, _with_file_header(picture) if kind == 0xF01F else picture)
        at = end


def _with_file_header(bitmap: bytes) -> bytes:
    """Return a device-independent bitmap as a BMP file."""
    header, colours = 40, 0
    if len(bitmap) >= 40:
        header, depth, used = struct.unpack_from("<I", bitmap)[0], bitmap[14], bitmap[32:36]
        colours = int.from_bytes(used, "little") or (1 << depth if depth <= 8 else 0)
    pixels = 14 + min(header, 1 << 16) + 4 * min(colours, 256)
    return _BITMAP_FILE.pack(b"BM", 14 + len(bitmap), 0, pixels) + bitmap


def _drawings(workbook: bytes) -> bytes | None:
    """Return the drawings of a workbook, whose records hold at most 8,224 bytes; None if it is encrypted."""
    parts, at, group = [], 0, False
    while at + 4 <= len(workbook):
        kind, length = _RECORD.unpack_from(workbook, at)
        if kind == _PASSWORD:
            return None
        group = kind == _GROUP or (group and kind == _CONTINUED)
        if group:
            parts.append(workbook[at + 4 : at + 4 + length])
        at += 4 + length
    return b"".join(parts)
