"""Check of ZIP archives: do all programs see the same members?

Some programs go by the directory at the end of an archive, others by the header in front of each member, and
others by the first of several archives in a file. An archive is read the same by all of them if its directory
is the only one, and if the members that it names and their headers fill the archive (APPNOTE.TXT of PKWARE,
4.3). Anything may lie before the first member, as in a self-extracting program, but no other member.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from hashscan.hashing.containers import TAIL_SIZE
from hashscan.hashing.formats import sniff
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

END = struct.Struct("<4sHHHHIIH")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4sBBHHHHHIIIHHHHHII")
LOCAL = struct.Struct("<4sHHHHHIIIHH")

MEMBER, CENTRAL, DIRECTORY_END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
"""Signatures of the header of a member, of an entry of the directory, and of what follows the directory."""
_MEMBERS = (MEMBER, CENTRAL, DIRECTORY_END)
ENCRYPTED, DESCRIBED = 1, 8
DEFLATE64 = 9
_DESCRIPTOR, _DESCRIPTOR_SIZE = b"PK\7\x08", 12
"""Signature of what follows a member of unknown length, and length up to where it states the packed one."""
_BLOCK = 1 << 20
_UNIX, _TYPE_MASK, LINK, _FOLDER, _REGULAR = 3, 0o170000, 0o120000, 0o040000, 0o100000
_TYPES = frozenset({0, LINK, _FOLDER, _REGULAR})
_LINK_MAX = 4095
"""Length of the longest target of a link."""
_MAX_16, MAX_32 = 0xFFFF, 0xFFFFFFFF


class Entry(NamedTuple):
    """An entry of the directory, about one member."""

    offset: int
    flags: int
    method: int
    packed: int
    size: int
    is_folder: bool
    mode: int
    """Type of the file for Unix; 0 if unknown."""
    crc: int
    """Checksum of the unpacked bytes."""


class StructureError(Exception):
    """The error that programs may read the archive differently."""


def zip_doubt(file: PreadFile, members_max: int) -> Reason | None:
    """Return a reason if programs may see other members than its directory names, else None. More than
    `members_max` are one, too: the library would hold all of them."""
    try:
        if not _check(file, members_max):
            return Reason.CONTAINER_MEMBERS
    except (StructureError, struct.error):
        return Reason.AMBIGUOUS
    finally:
        file.seek(0)
    return None


def _check(file: PreadFile, members_max: int) -> bool:
    """Check the archive; return False if it has too many members."""
    begin, end, base, number = directory(file)
    found = []
    for entry, _ in entries(file, begin, end):
        found.append(entry)
        if len(found) > members_max:
            return False
    _need(len(found) == number or (number < _MAX_16 and len(found) % (_MAX_16 + 1) == number))
    found.sort()
    at = 0
    for entry in found:
        place = base + entry.offset
        _need(place >= at)
        _check_gap(file, at, place)
        at = _check_member(file, place, entry)
    _need(begin >= at)
    _check_gap(file, at, begin)
    return True


def _need(condition: bool) -> None:
    if not condition:
        raise StructureError


def _read(file: PreadFile, place: int, size: int) -> bytes:
    _need(place >= 0)
    file.seek(place)
    return file.read(size)


def directory(file: PreadFile) -> tuple[int, int, int, int]:
    """Return where the directory begins and ends, where the archive begins, and the number of members; raise
    StructureError or struct.error if programs may take others for it."""
    first = max(0, file.size - TAIL_SIZE)
    tail = _read(file, first, TAIL_SIZE)
    place = tail.rfind(DIRECTORY_END)
    _need(place >= 0)
    _, disk, begins_on, here, number, size, offset, comment = END.unpack_from(tail, place)
    _need(place + END.size + comment <= len(tail) and disk == begins_on == 0 and here == number)
    # An archive in another file, such as a document that it is attached to.
    _need(not any(signature in tail[place + 4 :] for signature in _MEMBERS))
    end = place = first + place
    if place >= _LOCATOR.size:
        signature, on, at, disks = _LOCATOR.unpack(_read(file, place - _LOCATOR.size, _LOCATOR.size))
        if signature == b"PK\6\7":
            _need(on == 0 and disks <= 1)
            # The record may be longer than usual, and nothing may precede the archive then.
            usual = place - _LOCATOR.size - _END_64.size
            record = _END_64.unpack(_read(file, usual, _END_64.size))
            _need(record[0] == b"PK\6\6" and record[1] == _END_64.size - 12 and record[4] == record[5] == 0)
            _need(record[6] == record[7])
            for small, large, most in (
                (number, record[7], _MAX_16),
                (size, record[8], MAX_32),
                (offset, record[9], MAX_32),
            ):
                _need(small in {large, most})
            number, size, offset, end = record[7], record[8], record[9], usual
            _need(at + end - size - offset == usual)
    begin = end - size
    base = begin - offset
    _need(base >= 0)
    # Programs that take the offset as it is must not find another directory there.
    _need(base == 0 or _read(file, offset, 4) != CENTRAL)
    return begin, end, base, number


def entries(file: PreadFile, at: int, end: int) -> Iterator[tuple[Entry, bytes]]:
    """Yield the entries of the directory, which must fill it, and the name of each."""
    block, begin = b"", at
    while at < end:
        if at - begin + _CENTRAL.size + 3 * _MAX_16 > len(block) and begin + len(block) < end:
            block, begin = _read(file, at, min(_BLOCK, end - at)), at
        here = at - begin
        found = _CENTRAL.unpack_from(block, here)
        signature, _, system, _, flags, method = found[:6]
        packed, size, name_length, extra_length, comment_length, disk = found[9:15]
        attributes, offset = found[16], found[17]
        here += _CENTRAL.size
        name = block[here : here + name_length]
        extra = block[here + name_length : here + name_length + extra_length]
        size, packed, offset = large(extra, size, packed, offset)
        _need(signature == CENTRAL and disk in {0, _MAX_16})
        mode = attributes >> 16 & _TYPE_MASK if system == _UNIX else 0
        is_folder = name.endswith((b"/", b"\\")) or mode == _FOLDER or (system == 0 and bool(attributes & 16))
        yield Entry(offset, flags, method, packed, size, is_folder, mode, found[8]), name
        at += _CENTRAL.size + name_length + extra_length + comment_length
    _need(at == end)


def has_deflate64(file: PreadFile) -> bool:
    """Return True if a member is packed by Deflate64, as Windows packs those of 2 GiB and more."""
    try:
        begin, end, _, _ = directory(file)
        return any(entry.method == DEFLATE64 for entry, _ in entries(file, begin, end))
    except (StructureError, struct.error):
        return False


def large(extra: bytes, *values: int) -> list[int]:
    """Return size, packed size and offset; from the extra field where they do not fit into 32 bits."""
    if MAX_32 not in values:
        return list(values)
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            rest = extra[at + 4 : at + 4 + length]
            found = iter(struct.unpack(f"<{len(rest) // 8}Q", rest[: len(rest) // 8 * 8]))
            return [next(found, value) if value == MAX_32 else value for value in values]
        at += 4 + length
    return list(values)


def _check_member(file: PreadFile, place: int, entry: Entry) -> int:
    """Compare a member's own header with the directory; return where its bytes end."""
    header = _read(file, place, LOCAL.size)
    signature, _, flags, method, _, _, _, packed, size, name_length, extra_length = LOCAL.unpack(header)
    both = ENCRYPTED | DESCRIBED
    _need(signature == MEMBER and method == entry.method and flags & both == entry.flags & both)
    if flags & DESCRIBED:
        _need(packed in {0, MAX_32, entry.packed} and size in {0, MAX_32, entry.size})
    else:
        _need(packed in {MAX_32, entry.packed} and size in {MAX_32, entry.size})
    if MAX_32 in {packed, size} and not flags & DESCRIBED:
        extra = _read(file, place + LOCAL.size + name_length, extra_length)
        _need(large(extra, size, packed) == [entry.size, entry.packed])
    _need(method or entry.packed == entry.size or bool(flags & ENCRYPTED))
    begin = place + LOCAL.size + name_length + extra_length
    _need(entry.mode in _TYPES and not (entry.is_folder and entry.size))
    if entry.mode == LINK:
        _need(entry.size <= _LINK_MAX and not _is_file(_read(file, begin, entry.packed), method))
    end: int = begin + entry.packed
    if method == 0 and flags & DESCRIBED and not flags & ENCRYPTED:
        _check_described(file, begin, end)
    return end


def _check_described(file: PreadFile, begin: int, end: int) -> None:
    """Check that a stored member does not seem to end before, for programs that search for its end."""
    at, last = begin, b""
    while at < end:
        block = _read(file, at, min(_BLOCK, end - at))
        _need(bool(block))
        joined, first = last + block, at - len(last)
        place = joined.find(_DESCRIPTOR)
        while place >= 0:
            stated = joined[place + 8 : place + _DESCRIPTOR_SIZE]
            _need(int.from_bytes(stated, "little") != (first + place - begin) & MAX_32 or len(stated) < 4)
            place = joined.find(_DESCRIPTOR, place + 1)
        last, at = joined[1 - _DESCRIPTOR_SIZE :], at + len(block)


def _is_file(content: bytes, method: int) -> bool:
    """Return True if the bytes of a link are more than a path, for a program that makes a file of it."""
    if method == 8:
        try:
            content = zlib.decompressobj(-15).decompress(content, _LINK_MAX)
        except zlib.error:
            return True
    return b"\0" in content or sniff(content) is not None


def _check_gap(file: PreadFile, at: int, end: int) -> None:
    """Check that nothing between members looks like another one."""
    last = b""
    while at < end:
        block = _read(file, at, min(_BLOCK, end - at))
        _need(bool(block))
        joined = last + block
        _need(not any(signature in joined for signature in _MEMBERS))
        last, at = block[-3:], at + len(block)
