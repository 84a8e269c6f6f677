"""Read compound files (OLE2): Outlook messages, thumbnail stores (Thumbs.db), Office documents before 2007.

olefile reads their streams. Each is digested, decoded and opened like a file. Pictures that lie within a
stream are members, too, named by their offset: those of thumbnails, and of the blips of Office's drawings
([MS-ODRAW] 2.2.23). In a workbook the drawings are cut into records ([MS-XLS] 2.4.58, 2.4.170), and joined.

So are the themes of presentations and workbooks, which are ZIP archives within a stream, and the pictures of
forms that macros show ([MS-OFORMS] 2.4.12). Metafiles are unpacked; those of a Macintosh are members with
`Reason.UNSUPPORTED`; an object of another program (`Ole10Native`) is one with `Reason.CONTAINER`, if it is no
packed file. Of a compound file that is none of those above, no project of macros, and no object within a
document, the streams are checked, and the rest is `Reason.CONTAINER`.
Other drawings of lines and shapes are no pictures.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence, Set
from typing import Any

import olefile

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.openers import READ_MAX, failed, guarded, stored
from hashscan.hashing.documents.metafiles import IS_METAFILE, bitmap_file, in_bytes
from hashscan.hashing.formats import sniff
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

_NUMBER = struct.Struct("<I")
_EMBEDDED = 2
_NAMES = 3
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

_RECORD = struct.Struct("<HH")
_CONTINUED, _PASSWORD = 0x003C, 0x002F
_DRAWN = frozenset({0x00EB, 0x00EC, 0x1066})
"""Drawings of a workbook, of a sheet, and of what fills a part of a chart."""
_BITMAPS = frozenset({0x00E9, 0x007F})
"""The background of a sheet, and a picture of older workbooks ([MS-XLS] 2.4.22)."""
_BITMAP_HEAD = struct.Struct("<HHI")
_THEME, _THEME_CONTINUED = 0x0896, 0x087F
_METAFILE_HEADER = 34
_ZIP_END = b"PK\5\6"
_FORM_PICTURE = re.compile(rb"lt\0\0(.{4})", re.DOTALL)
"""Begin of a picture of a form: a mark, and its length."""
_OBJECT = re.compile(rb"(?=([\0\x10])\0\x11\x10(.{4}))", re.DOTALL)
"""Begin of an object of another program in a presentation ([MS-PPT] 2.10.34): compressed or not, and
its length."""
_COMPOUND = b"\xd0\xcf\x11\xe0"
_BITMAP_FORM = 9
_WITH_METAFILES = frozenset({"data", "worddocument"})
"""Streams of Word with metafiles that are no part of its drawings ([MS-DOC] 2.9.192, 2.9.158)."""
_FORMS = frozenset({"f", "o"})
"""Streams of a form, and of the objects in it."""
_OF_FORMS = _FORMS | {"x", "\1compobj", "\3vbframe"}
_OF_PROJECT = frozenset({"project", "projectwm", "projectlk"})
"""Streams of a project of macros, beside those of its folder ([MS-OVBA] 2.2.1)."""
_OF_OBJECTS = frozenset(
    {"\1ole", "\1ole10native", "\1compobj", "\3objinfo", "\3linkinfo", "\3eprint", "package"}
)
"""Streams of an object within a document ([MS-OLEDS] 2.3)."""
_SHOWN = "\2olepres"
"""Begin of the name of a stream by which an object is shown."""
_OF_OFFICE = _KNOWN - {_MAIL, "catalog"}
"""Streams that no program opens as a file of its own."""
_STREAMS_MAX = 100_000
"""Streams of a compound file."""


class CompoundOpener:
    """Opens compound files except messages of Outlook."""

    _mail = False

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the streams, and the pictures in them; what is not known is a ContainerError."""
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
        if (refused := _refused(streams, top, mail=self._mail)) is not None:
            raise ContainerError(refused)
        if compound.parsing_issues:
            yield failed(b"", Reason.AMBIGUOUS)
        for path in streams:
            yield from guarded(_name(path), _stream(compound, path))
        if not top & _KNOWN and not all(map(_is_understood, streams)):
            raise ContainerError(Reason.CONTAINER)


class CompoundMailOpener(CompoundOpener):
    """Opens all compound files."""

    _mail = True


def _name(path: list[str]) -> bytes:
    # Names may begin with a control character.
    return "/".join(path).encode("utf-8", "surrogatepass")


def _refused(streams: Sequence[Sequence[str]], top: Set[str], *, mail: bool) -> Reason | None:
    """Return a reason if the streams are not looked at; `top` are the names of the outermost ones, in lower
    case."""
    if not streams:
        return Reason.CONTAINER_BROKEN
    if _MAIL in top and not mail:
        return Reason.CONTAINER
    if top & _ENCRYPTED:
        return Reason.ENCRYPTED
    return Reason.CONTAINER_MEMBERS if len(streams) > _STREAMS_MAX else None


def _is_understood(path: Sequence[str]) -> bool:
    """Return True for a stream of an object in a document, of a project of macros or of one of its forms."""
    first, last = path[0].lower(), path[-1].lower()
    if len(path) > 1:
        return first == "vba" or last in _OF_FORMS
    return last in _OF_OBJECTS or last in _OF_PROJECT or last.startswith(_SHOWN)


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
        yield stored(name, content)._replace(behind=path[-1].lower() not in _OF_OFFICE)
        yield from _pictures(name, path[-1].lower(), content)


def _pictures(name: bytes, last: str, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the pictures in a stream; `last` is the last part of its name, in lower case."""
    if last == "worddocument" and len(content) > 11 and content[11] & 1:
        yield failed(name, Reason.ENCRYPTED)
    elif last in _WORKBOOKS:
        yield from _of_workbook(name, content)
    elif last == _SUMMARY or _THUMBNAIL.fullmatch(last):
        within = (0, len(content)) if last == _SUMMARY else (1, _HEADER_MAX)
        found = _PICTURE.search(content, *within)
        if found is not None:
            yield stored(name + b"@%d" % found.start(), content[found.start() :])
    elif last.endswith("ole10native"):
        yield from native(name, content[4:])
    elif last in _FORMS or last.startswith(_SHOWN):
        yield from (_form_pictures if last in _FORMS else in_bytes)(name, content)
    else:
        yield from _blips(name, content)
        if last in _OF_OFFICE:
            yield from _archives(name, content)
            yield from _objects(name, content)
        if last in _WITH_METAFILES or last.startswith("\3"):
            yield from in_bytes(name, content, IS_METAFILE)


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
        yield from guarded(place, _blip(place, kind, content[identified:end]))
        at = end


def _blip(place: bytes, kind: int, content: bytes) -> Iterator[ArchiveMember]:
    """Yield a picture of Office's drawings; the kind is the type of its record, the content follows its
    identifiers."""
    if kind in _METAFILES:
        yield _metafile(place, content)
    else:
        yield stored(place, bitmap_file(content[1:]) if kind == 0xF01F else content[1:])


def _objects(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the objects of other programs in a presentation."""
    left = READ_MAX
    for found in _OBJECT.finditer(content):
        begin, size = found.start() + 8, int.from_bytes(found[2], "little")
        body = content[begin : begin + size]
        place = name + b"@%d" % found.start()
        if found[1] == b"\0":
            if body.startswith(_COMPOUND):
                yield stored(place, body)
        elif body[4:5] == b"\x78":
            unpacker = zlib.decompressobj()
            try:
                body = unpacker.decompress(body[4:], left)
            except zlib.error:
                yield failed(place, Reason.CONTAINER_BROKEN)
                continue
            left -= len(body)
            if left <= 0:
                yield failed(place, Reason.CONTAINER_BYTES)
                return
            yield stored(place, body)


def _of_workbook(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the pictures of a workbook, whose records hold at most 8,224 bytes.

    ([MS-XLS] 2.4.22, 2.4.102, 2.4.130, 2.4.326.)
    """
    joined = _joined(content)
    if joined is None:
        yield failed(name, Reason.ENCRYPTED)
        return
    themes = joined.pop(_THEME, [])
    for kind, parts in sorted(joined.items()):
        if kind in _DRAWN:
            yield from _blips(name + b"#%x" % kind, b"".join(parts))
        else:
            for number, part in enumerate(parts, 1):
                yield _background(name + b"#%x,%d" % (kind, number), part)
    yield from _archives(name, b"".join(themes))


def _background(place: bytes, content: bytes) -> ArchiveMember:
    """Return a bitmap of a workbook as a member."""
    if len(content) < _BITMAP_HEAD.size:
        return failed(place, Reason.CONTAINER_BROKEN)
    form = _BITMAP_HEAD.unpack_from(content)[0]
    body = content[_BITMAP_HEAD.size :]
    if IS_METAFILE.match(body):
        return stored(place, body)
    return stored(place, bitmap_file(body)) if form == _BITMAP_FORM else failed(place, Reason.UNSUPPORTED)


def _metafile(place: bytes, content: bytes) -> ArchiveMember:
    """Return a metafile as a member ([MS-ODRAW] 2.2.31)."""
    body = content[_METAFILE_HEADER:]
    if content[_METAFILE_HEADER - 2 : _METAFILE_HEADER - 1] == b"\0":
        try:
            unpacker = zlib.decompressobj()
            body = unpacker.decompress(body, READ_MAX)
        except zlib.error:
            return failed(place, Reason.CONTAINER_BROKEN)
        if not unpacker.eof:
            return failed(place, Reason.CONTAINER_BROKEN if len(body) < READ_MAX else Reason.CONTAINER_BYTES)
    return stored(place, body) if IS_METAFILE.match(body) else failed(place, Reason.UNSUPPORTED)


def _archives(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the ZIP archives within a stream."""
    end, left = content.find(_ZIP_END), READ_MAX
    while end >= 0:
        if end + 22 <= len(content):
            size, offset, comment = struct.unpack_from("<IIH", content, end + 12)
            begin = end - size - offset
            if begin >= 0 and content.startswith(b"PK\3\4", begin):
                left -= end - begin
                place = name + b"@%d" % begin
                if left < 0:
                    yield failed(place, Reason.CONTAINER_BYTES)
                    return
                yield stored(place, content[begin : end + 22 + comment])
        end = content.find(_ZIP_END, end + 1)


def _records(workbook: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(workbook):
        kind, length = _RECORD.unpack_from(workbook, at)
        yield kind, workbook[at + 4 : at + 4 + length]
        at += 4 + length


def _form_pictures(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the pictures of controls of a form."""
    left = READ_MAX
    for found in _FORM_PICTURE.finditer(content):
        begin, size = found.end(), int.from_bytes(found[1], "little")
        if not 0 < size <= len(content) - begin:
            continue
        left -= size
        place = name + b"@%d" % begin
        if left < 0:
            yield failed(place, Reason.CONTAINER_BYTES)
            return
        yield stored(place, content[begin : begin + size])


def _joined(workbook: bytes) -> dict[int, list[bytes]] | None:
    """Return the contents of the records of a workbook that hold pictures, by their kind; None if it is
    encrypted. Those of drawings go on in the next of their kind; each bitmap is one."""
    found: dict[int, list[bytes]] = {}
    last = 0
    for kind, body in _records(workbook):
        if kind == _PASSWORD:
            return None
        if kind in {_THEME, _THEME_CONTINUED}:
            found.setdefault(_THEME, []).append(body[16 if kind == _THEME else 12 :])
        if kind != _CONTINUED:
            last = kind
        if last in _DRAWN or (last in _BITMAPS and kind != _CONTINUED):
            found.setdefault(last, []).append(body)
        elif last in _BITMAPS:
            found[last][-1] += body
    return found


def native(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the data of an object, as it is for its own program; a packed file, or one without a package."""
    try:
        packed = _packed_file(content)
    except (ValueError, struct.error):
        packed = None
    if packed is not None:
        yield stored(name + b"/" + packed[0], packed[1])
    elif sniff(content) is not None:
        yield stored(name, content)
    else:
        yield failed(name, Reason.CONTAINER)


def object_of_ole_1(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the data of an object of OLE 1, and the pictures by which it is shown."""
    try:
        (form,) = _NUMBER.unpack_from(content, 4)
        at = 8
        for _ in range(_NAMES):
            at += _NUMBER.size + _NUMBER.unpack_from(content, at)[0]
        (size,) = _NUMBER.unpack_from(content, at)
    except struct.error:
        form = size = at = 0
    begin = at + _NUMBER.size
    if form != _EMBEDDED or size > len(content) - begin:
        yield failed(name, Reason.CONTAINER)
        yield from in_bytes(name, content)
        return
    yield from guarded(name, native(name, content[begin : begin + size]))
    shown = name + b"/shown"
    yield from guarded(shown, in_bytes(shown, content[begin + size :]))


def _packed_file(content: bytes) -> tuple[bytes, bytes] | None:
    """Return the name and the bytes of a packed file; None if it is a link to one."""
    if not content.startswith(b"\2\0"):
        raise ValueError
    label = content.index(b"\0", 2)
    at = content.index(b"\0", label + 1) + 1
    _, kind, length = struct.unpack_from("<HHI", content, at)
    at += 8 + length
    (size,) = _NUMBER.unpack_from(content, at)
    at += _NUMBER.size
    if size > len(content) - at:
        raise ValueError
    return (content[2:label], content[at : at + size]) if kind == 3 else None
