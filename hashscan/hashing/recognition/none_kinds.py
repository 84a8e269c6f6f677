"""Prove of a file that no viewer shows a picture of it, so that nothing needs to be asked about it.

This is the fast path to "none". It runs in the scanning process, outside of the sandbox, on bytes that an
attacker wrote: each row is a proof over the whole file, not a signature at its begin.

A text is proven by its characters. Of the other rows, the first bytes are those of a format that no viewer
shows, and of no video or archive, so that only what programs search for behind other bytes could be found: an
archive, a raw stream, packets (`_traces.c`). Where one of these may be, the row proves nothing. A page that
begins with other bytes is shown only by its name (`names.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from hashscan.c_parts import BUILT
from hashscan.hashing.font_tables import may_have_pictures
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.text_proof import TextProof

if BUILT:
    from hashscan.hashing.recognition._traces import has_traces
else:
    has_traces = None  # type: ignore[assignment]

_PIECE_SIZE = 256 << 10


def none_kind(file: PreadFile, *, text: bool = True) -> str:
    """Return the name of the row that proves a file to be none; empty if no row does.

    Args:
        file: one that no signature tells, whole.
        text: False for one that is no text.

    Raises:
        OSError: it can't be read.
    """
    row = structure(file)
    if row is not None:
        return "" if may_hold_others(file) else row
    if not text:
        return ""
    file.seek(0)
    proof = TextProof()
    while piece := file.read(_PIECE_SIZE):
        if not proof.feed(piece):
            return ""
    return TEXT_PROOF


def structure(file: PreadFile) -> str | None:
    """Return the row whose structure a file has to its end, whatever may be hidden in it.

    It is empty for a file with the first bytes of a row alone; None for one without.
    """
    file.seek(0)
    begin = file.read(_BEGIN_SIZE)
    for row in _ROWS.get(begin[:2], ()):
        if begin.startswith(row.magic):
            return row.name if row.holds(file, begin) else ""
    return None


TEXT_PROOF = "text"
"""Name of the row of texts."""
_BEGIN_SIZE = 64
_BLOCK = 512
PROBED = 2 << 20
"""Bytes that libavformat and mpv look at, at most, to decide what a file is."""
_REST_SIZE, _AT_ONCE_MAX = 1 << 20, 16 << 20


_ARCHIVES, _STREAMS, _JPEGS, _WHOLE = 1, 2, 4, 8
"""Bits of what `_traces.c` searches for; the last one says that nothing follows the bytes."""
FURTHER, FIRST_OF_PICTURE = _ARCHIVES, _ARCHIVES | _STREAMS
FIRST = FIRST_OF_PICTURE | _JPEGS


def may_hold_others(file: PreadFile, first: int = FIRST) -> bool:
    """Return True if programs may find a video in a file's first bytes, or an archive anywhere.

    Args:
        first: `FURTHER` to search the first bytes as all others are.
    """
    return has_traces is None or _has_traces(file, first)


def _has_traces(file: PreadFile, first: int) -> bool:
    file.seek(0)
    if first == FURTHER and file.size <= _AT_ONCE_MAX:
        return has_traces(file.read(), _ARCHIVES | _WHOLE)
    if has_traces(file.read(PROBED), first):
        return True
    # Blocks of tar archives are aligned, and so are the pieces; each overlaps with the one before.
    for start in range(PROBED - _BLOCK, file.size - _BLOCK, _REST_SIZE):
        file.seek(start)
        if has_traces(file.read(_REST_SIZE + _BLOCK), FURTHER):
            return True
    return False


def may_be_played(begin: bytes, *, jpegs: bool = True) -> bool:
    """Return True if FFmpeg may find a video in the first bytes of a file that it does not begin with.

    Args:
        jpegs: True if JPEGs count.
    """
    return has_traces is None or has_traces(begin, _STREAMS | _JPEGS if jpegs else _STREAMS)


class Row(NamedTuple):
    """One format that no viewer shows."""

    name: str
    magic: bytes
    holds: Callable[[PreadFile, bytes], bool] = lambda file, begin: True  # noqa: ARG005 - the signature of all
    """Returns True if a file with these first 64 bytes is one to its end; its size and lists say so."""


def _is_elf(file: PreadFile, begin: bytes) -> bool:
    """Return True if it ends where its last section, segment or table ends (System V ABI, chapter 4)."""
    if (
        len(begin) < 64
        or begin[4] not in {1, 2}
        or begin[5] not in {1, 2}
        or begin[6] != 1
        or any(begin[8:16])
    ):
        return False
    order, wide = "<>"[begin[5] - 1], begin[4] == 2
    head, program, section = _WIDE if wide else _NARROW
    fields = struct.unpack_from(order + head, begin, 16)
    programs_at, sections_at, (program_size, programs, section_size, sections) = *fields[4:6], fields[8:12]
    if (programs and program_size != struct.calcsize(order + program)) or (
        sections and section_size != struct.calcsize(order + section)
    ):
        return False
    ends = [programs_at + programs * program_size, sections_at + sections * section_size]
    if max(ends) > file.size:
        return False
    file.seek(programs_at)
    listed = struct.iter_unpack(order + program, file.read(programs * program_size)) if programs else ()
    ends += [each[2] + each[5] if wide else each[1] + each[4] for each in listed]
    file.seek(sections_at)
    listed = struct.iter_unpack(order + section, file.read(sections * section_size)) if sections else ()
    ends += [each[4] + each[5] for each in listed if each[1] != _NO_BITS]
    return bool(max(ends) == file.size)


_WIDE, _NARROW = ("HHIQQQIHHHHHH", "IIQQQQQQ", "IIQQQQIIQQ"), ("HHIIIIIHHHHHH", "8I", "10I")
_NO_BITS = 8


def _is_bytecode(file: PreadFile, begin: bytes) -> bool:
    """Return True for compiled Python (PEP 552) of a source that is not longer than 16 MiB."""
    return len(begin) > 16 and not any(begin[4:8]) and not begin[15] and begin[16] & 0x7F == ord("c")


def _is_catalogue(file: PreadFile, begin: bytes) -> bool:
    """Return True for translations of GNU gettext (its manual, 10.3) whose tables are within the file."""
    if len(begin) < 28:
        return False
    revision, number, *tables = struct.unpack_from("<5I" if begin[0] == 0xDE else ">5I", begin, 4)
    return revision in {0, 1} and all(28 <= table <= file.size - 8 * number for table in tables[:2])


def _is_zone(file: PreadFile, begin: bytes) -> bool:
    """Return True for a time zone (RFC 8536)."""
    return len(begin) >= 44 and begin[4] in b"\x00234" and not any(begin[5:20]) and file.size < 1 << 20


def _is_database(file: PreadFile, begin: bytes) -> bool:
    """Return True if a database of SQLite has as many pages as its header says."""
    size, pages = int.from_bytes(begin[16:18]), int.from_bytes(begin[28:32])
    return begin.startswith(b"SQLite format 3\0") and file.size == (65536 if size == 1 else size) * pages


def _is_font(file: PreadFile, begin: bytes) -> bool:
    """Return True if a font (OpenType) of at most 2 MiB ends where the last of its tables ends."""
    tables = int.from_bytes(begin[4:6])
    # Their number is the type of a first box of 64 KiB for libavformat, which would look behind that.
    if not 0 < tables <= 64 or file.size > PROBED:
        return False
    file.seek(12)
    directory = file.read(16 * tables)
    if len(directory) < 16 * tables:
        return False
    ends = [offset + length for _, _, offset, length in struct.iter_unpack(">4sIII", directory)]
    return bool(0 <= file.size - max(ends) < 4) and not _shows_pictures(file)


def _is_web_font(file: PreadFile, begin: bytes) -> bool:
    """Return True for a font (WOFF, WOFF2) that is as long as its header says."""
    return int.from_bytes(begin[8:12]) == file.size and not _shows_pictures(file)


def _shows_pictures(file: PreadFile) -> bool:
    file.seek(0)
    return may_have_pictures(file.read(4096))


def _is_class(file: PreadFile, begin: bytes) -> bool:
    """Return True for a class of Java (The Java Virtual Machine Specification, 4.1)."""
    return not begin[4] and 45 <= int.from_bytes(begin[6:8]) < 128


_ROWS: dict[bytes, tuple[Row, ...]] = {}
for _row in (
    Row("ELF", b"\x7fELF", _is_elf),
    *(Row("Python bytecode", bytes((each, 13)) + b"\r\n", _is_bytecode) for each in range(256)),
    *(Row("Python bytecode", bytes((each, 14)) + b"\r\n", _is_bytecode) for each in range(256)),
    Row("translations", b"\xde\x12\x04\x95", _is_catalogue),
    Row("translations", b"\x95\x04\x12\xde", _is_catalogue),
    Row("time zone", b"TZif", _is_zone),
    Row("LLVM bitcode", b"BC\xc0\xde\x35\x14\0\0"),
    Row("SQLite", b"SQLite format 3\0", _is_database),
    Row("font", b"\0\1\0\0\0", _is_font),
    Row("font", b"OTTO", _is_font),
    Row("web font", b"wOFF", _is_web_font),
    Row("web font", b"wOF2", _is_web_font),
    Row("Java class", b"\xca\xfe\xba\xbe", _is_class),
    Row("object of Git", b"\x78\x01"),
):
    _ROWS[_row.magic[:2]] = (*_ROWS.get(_row.magic[:2], ()), _row)
"""All rows but that of texts, by the first two bytes."""
