"""Recognise containers by their content: archives, compressed files, documents, mails, videos, disk images.

`container_kinds` says which of them are opened. Programs open some of them although they begin with something
else, and these are recognised there, too: a ZIP archive is found by the record at its end, whatever it is
appended to; a RAR archive by its last block; a PDF document within the first kilobyte. So a file may be a
picture and a container at once. Other archives behind something are searched for in the sandbox
(`recognition.archive_probe`).

Not recognised: formats without a signature (Brotli, raw Deflate, encrypted volumes).

The signatures are from the specifications of the formats, and from the lists of file(1) and of PRONOM.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from functools import cache

from msgspec import structs

from hashscan.hashing.format_signatures import Candidates, FileFormat, at, contains, number, starting_with

SEARCHED = 256 * 1024
"""Number of a file's first bytes that are searched, at most."""

START_SIZE = 4096
"""Number of first bytes that signatures lie in, except those of CDs."""

TAIL_SIZE = 66_000 + 8192
"""Number of a file's last bytes in which the record at the end of a ZIP archive begins: it has 22 bytes, and
up to 65,535 of a comment follow (APPNOTE.TXT of PKWARE, 4.3.16); Info-ZIP's unzip looks a little farther."""


def _is_lzma(prefix: bytes) -> bool:
    # The size of the dictionary is a power of two or three halves of one; the length is unknown or sensible.
    dictionary, length = number(prefix, 1, 4), number(prefix, 5, 8)
    return dictionary.bit_count() in {1, 2} and (length == (1 << 64) - 1 or length < 1 << 38)


def _is_compress(prefix: bytes) -> bool:
    return len(prefix) > 2 and 9 <= prefix[2] & 0x1F <= 16


def _is_bzip2(prefix: bytes) -> bool:
    return prefix[4:10] in {b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"}


def _is_arj(prefix: bytes) -> bool:
    return 20 <= number(prefix, 2, 2) <= 2600


def _is_binary_cpio(prefix: bytes) -> bool:
    # The types of files, and a name of sensible length.
    mode, name = (
        number(prefix, place, 2) if prefix[0] == 0xC7 else int.from_bytes(prefix[place : place + 2], "big")
        for place in (6, 20)
    )
    return mode >> 12 in {1, 2, 4, 6, 8, 10, 12} and 0 < name <= 4096


def _is_transport_stream(prefix: bytes) -> bool:
    # Packets of 188 bytes, each perhaps after a time stamp of four.
    return any(
        all(prefix[place : place + 1] == b"G" for place in range(first, first + 5 * step, step))
        for first, step in ((0, 188), (4, 192))
    )


def _has_cover(prefix: bytes) -> bool:
    return b"APIC" in prefix or (prefix[3:4] == b"\2" and b"PIC" in prefix)


def _is_flash(prefix: bytes) -> bool:
    return 0 < number(prefix, 3, 1) < 60


def _is_other_document(prefix: bytes) -> bool:
    # The first record of a workbook says what it is; a zero follows the version of a drawing. The other
    # signatures say enough.
    if prefix.startswith(b"AC10"):
        return prefix[6:7] == b"\0"
    return prefix[0] != 9 or (len(prefix) > 8 and number(prefix, 6, 2) in {0x10, 0x20, 0x40, 0x100})


def _is_metafile(prefix: bytes) -> bool:
    # Without a header for programs, which ignore the stated version: the first record has a sensible length
    # and function.
    if prefix[2:4] != b"\x09\0":
        return True
    words, function = number(prefix, 18, 4), number(prefix, 22, 2)
    return 3 <= words < 1 << 24 and not 0x49 < function & 0xFF < 0xF0 and function >> 8 <= 0x0F


_FIRST_UNITS = (b"\x67", b"\x27", b"\x09\x10", b"\x09\xf0", b"\x40\1")
"""Begin of the first unit of an H.264 or H.265 stream: parameters, or a delimiter."""

_HEADER_MAX, _LINE_MAX = 64 * 1024, 1000
_FIRST_HEADER = re.compile(rb"(?:From [^\n]+\n)?(?:[!-9;-~]{1,80}[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*)+")
_CONTENT_TYPE = re.compile(rb"^content-type[ \t]*:\s*([^\s;]*)", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(rb"^content-transfer-encoding[ \t]*:\s*\"?quoted", re.IGNORECASE | re.MULTILINE)
_IN_PAGE = re.compile(
    rb"data:(?:image|[;,]|text/)|&#(?:0*(?:100|97|116|58)|x0*(?:64|61|74|3a))\b"
    rb"|^content-transfer-encoding[ \t]*:\s*\"?base64",
    re.IGNORECASE | re.MULTILINE,
)
"""In a mail that is a page: a picture in it, or an encoding in which one can't be seen."""
_UUENCODED = re.compile(rb"^begin(?:-base64)? [0-7]{3,4} \S", re.MULTILINE)


def _is_mail(prefix: bytes) -> bool:
    # A mail of text alone shows no picture, unless it is a page with one in it; nor does anything else that
    # begins with "Name: value".
    header = _FIRST_HEADER.match(prefix[:_HEADER_MAX])
    if header is None:
        return False
    # A longer header goes on behind the bytes that were compared.
    whole = header[0] if header.end() < _HEADER_MAX - _LINE_MAX else prefix
    kinds = [kind.lower() for kind in _CONTENT_TYPE.findall(whole)]
    if b"text/html" in kinds:
        body = binascii.a2b_qp(prefix) if _QUOTED.search(whole) else prefix
        if _IN_PAGE.search(whole) or _IN_PAGE.search(body.translate(None, b"\t\r\n")):
            return True
    return any(not kind.startswith(b"text/") for kind in kinds) or (
        (bool(kinds) or header[0].count(b"\n") > 2) and _UUENCODED.search(prefix, header.end()) is not None
    )


def _is_mailbox(prefix: bytes) -> bool:
    # A line of the envelope, and then at least two headers.
    header = _FIRST_HEADER.match(prefix[:_HEADER_MAX])
    return header is not None and header[0].count(b"\n") > 2


def _is_uuencoded(prefix: bytes) -> bool:
    return _UUENCODED.match(prefix) is not None


def _is_card_with_photo(prefix: bytes) -> bool:
    return b"\nPHOTO" in prefix


CONTAINERS: tuple[FileFormat, ...] = tuple(
    structs.replace(known, container=True)
    for known in (
        FileFormat("ZIP", None, (at(b"PK\3\4"), at(b"PK\5\6"), at(b"PK\7\x08PK\3\4"), at(b"PK00PK\3\4"))),
        FileFormat("tar", None),
        FileFormat("gzip", None, (at(b"\x1f\x8b\x08"),)),
        FileFormat("bzip2", None, (at(b"BZh"),), _is_bzip2),
        FileFormat("xz", None, (at(b"\xfd7zXZ\0"),)),
        FileFormat("Zstandard", None),
        FileFormat("LZMA", None, (at(b"\x5d\0\0"),), _is_lzma),
        FileFormat("compress", None, (at(b"\x1f\x9d"),), _is_compress),
        FileFormat(
            "other compressed file",
            None,
            (
                *(at(b"LZIP"), at(b"\x04\x22\x4d\x18"), at(b"\x02\x21\x4c\x18"), at(b"LRZI")),
                *(at(b"\x89LZO\0\r\n\x1a\n"), at(b"\xff\6\0\0sNaPpY")),
            ),
        ),
        FileFormat("7z", None, (at(b"7z\xbc\xaf\x27\x1c"),)),
        FileFormat("RAR", None, (at(b"Rar!\x1a\x07"), at(b"RE~^"))),
        FileFormat("CAB", None, (at(b"MSCF\0\0\0\0"), at(b"ISc("))),
        FileFormat("cpio", None, (at(b"070701"), at(b"070702"), at(b"070707"))),
        FileFormat("binary cpio", None, (at(b"\xc7\x71"), at(b"\x71\xc7")), _is_binary_cpio),
        FileFormat("ar", None, (at(b"!<arch>\n"), at(b"!<thin>\n"))),
        FileFormat("WARC", None, (at(b"WARC/0."), at(b"WARC/1."))),
        FileFormat("RPM", None, (at(b"\xed\xab\xee\xdb"),)),
        FileFormat("LHA", None),
        FileFormat("ARJ", None, (at(b"\x60\xea"),), _is_arj),
        FileFormat(
            "other archive",
            None,
            (
                *(at(b"xar!"), at(b"MSWIM\0\0\0")),
                *(at(b"SIT!\0"), at(b"StuffIt (c)1997"), at(b"StuffIt!\r"), at(b"EGGA\0\1"), at(b"ALZ\1")),
                *(
                    at(b"ANDROID BACKUP\n"),
                    at(b"ITSF\3\0\0\0"),
                    at(b"(This file must be converted with BinHex"),
                ),
            ),
        ),
        FileFormat(
            "disk image",
            None,
            (
                *(at(b"KDMV"), at(b"COWD"), at(b"QFI\xfb"), at(b"vhdxfile"), at(b"conectix"), at(b"hsqs")),
                *(at(b"sqsh"), at(b"XFSB"), at(b"-rom1fs-"), at(b"\x45\x3d\xcd\x28"), at(b"QED\0")),
                *(at(b"WithoutFreeSpace"), at(b"WithouFreSpacExt"), at(b"\x3a\xff\x26\xed\1\0")),
                # A sector of a CD with its synchronisation, as in BIN/CUE.
                at(b"\0" + b"\xff" * 10 + b"\0"),
            ),
        ),
        FileFormat("CD or DVD image", None),
        FileFormat("PDF", None),
        FileFormat("PostScript", None, (at(b"%!PS"), at(b"\x04%!PS"), at(b"\x1b%-12345X"))),
        FileFormat("DjVu", None, (at(b"AT&TFORM"), at(b"FORM", (8, b"DJV")))),
        FileFormat("compound file", None, (at(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),)),
        FileFormat(
            "Windows metafile",
            None,
            (
                *(at(b"\1\0\0\0", (40, b" EMF")), at(b"\xd7\xcd\xc6\x9a")),
                *(at(b"\1\0\x09\0"), at(b"\2\0\x09\0"), at(b"VCLMTF")),
            ),
            _is_metafile,
        ),
        FileFormat("RTF", None, (at(b"{\\rt"),)),
        FileFormat(
            "other document",
            None,
            (
                *(at(b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d"), at(b"\x78\x9f\x3e\x22")),
                # Outlook's store; WordPerfect and all else of that company; Publisher and Write before
                # compound files.
                *(
                    at(b"!BDN"),
                    at(b"\xffWPC"),
                    at(b"\xe7\xac\x2c\0"),
                    at(b"\x31\xbe\0\0"),
                    at(b"\x32\xbe\0\0"),
                ),
                # Excel 2 to 4; books and drawings of single programs.
                *(at(b"\x09\0\4\0"), at(b"\x09\2\6\0"), at(b"\x09\4\6\0")),
                *(
                    # Mails of Outlook Express and Notes; InDesign, CorelDRAW; a table of contents of OneNote.
                    at(b"\xcf\xad\x12\xfe"),
                    at(b"\x1a\0\0\4\0\0"),
                    at(b"\x06\x06\xed\xf5\xd8\x1d\x46\xe5"),
                    at(b"RIFF", (8, b"CDR")),
                    at(b"RIFF", (8, b"cdr")),
                    at(b"\xa1\x2f\xff\x43\xd9\xef\x76\x4c"),
                ),
                *(
                    at(b"AC10"),
                    at(b"%FDF-"),
                    at(b"HWP Document File"),
                    at(b"ITOLITLS"),
                    at(b"TPZ3"),
                ),
            ),
            _is_other_document,
        ),
        FileFormat("mailbox", None, (at(b"From "),), _is_mailbox),
        FileFormat("mail", None),
        FileFormat("uuencoded file", None, (at(b"begin "), at(b"begin-base64 ")), _is_uuencoded),
        FileFormat("contact with a photo", None, (at(b"BEGIN:VCARD"),), _is_card_with_photo),
        FileFormat("font with pictures", None),
        FileFormat("thumbnails", None, (at(b"CMMM"), at(b"IMMM"))),
        FileFormat("MP4 or QuickTime", None),
        FileFormat("Matroska or WebM", None, (at(b"\x1a\x45\xdf\xa3"),)),
        FileFormat("AVI", None, (at(b"RIFF", (8, b"AVI ")), at(b"RIFX", (8, b"AVI ")))),
        FileFormat("MPEG", None, (at(b"\0\0\1\xba"), at(b"\0\0\1\xb3"))),
        FileFormat("MPEG transport stream", None, (at(b"G"),), _is_transport_stream),
        FileFormat("Flash video", None, (at(b"FLV\1"),)),
        FileFormat("Flash", None, (at(b"FWS"), at(b"CWS"), at(b"ZWS")), _is_flash),
        FileFormat("Windows Media", None, (at(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),)),
        FileFormat("Ogg", None, (at(b"OggS\0"),)),
        FileFormat(
            "other video",
            None,
            (
                *(at(b".RMF\0\0\0"), at(b"\6\x0e\x2b\x34\2\5\1\1"), at(b"DKIF\0\0"), at(b"YUV4MPEG2 ")),
                *(at(b"\0\0\0\1" + unit) for unit in _FIRST_UNITS),
                *(at(b"\0\0\1" + unit) for unit in _FIRST_UNITS),
                *(at(b"\x1f\7\0"), at(b"BBCD\0"), at(b"nut/multimedia container"), at(b"\x12\0\x0a\x0a")),
            ),
        ),
        FileFormat("music with a picture", None, (at(b"ID3"),), _has_cover),
        FileFormat("FLAC", None, (at(b"fLaC"),)),
        FileFormat("appended data", None),
        FileFormat("unrecognised file", None),
    )
)
"""All containers; a file is the first that recognises it. Those without a signature are recognised by
`container_beside`, `container_behind` or `container_of` itself."""

_BY_NAME = {known.name: known for known in CONTAINERS}

APPENDED = _BY_NAME["appended data"]
"""A picture with something behind it, or in parts of it that decoders pass over; see `embedded.ends`."""

UNRECOGNISED = _BY_NAME["unrecognised file"]
"""A file that no signature tells, and that `recognition.none_kinds` does not prove to be none: what it is, is
asked in the sandbox (`recognition.recogniser`). It is opened as a container of the one file that it is."""


@cache
def _candidates(first_byte: int) -> Candidates:
    """Return the containers possible for a file that starts with this byte."""
    return starting_with(CONTAINERS, first_byte)


_LATE = {
    b"ftyp": _BY_NAME["MP4 or QuickTime"],
    b"**ACE**": _BY_NAME["other archive"],
    b"\xdc\xa7\xc4\xfd": _BY_NAME["other archive"],
}
"""Containers by bytes at the offsets 4, 7 and 20."""

_ZSTANDARD = {b"\xb5\x2f\xfd": range(0x22, 0x29), b"\x2a\x4d\x18": range(0x50, 0x60)}
"""Bytes at the offset 1, and which may precede them: of a frame, and of one to be skipped."""

_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"moof", b"styp", b"sidx"})
_OCTAL = re.compile(rb"\0?\s*([0-7]{3,8})(?:[ \0]|\Z)")
"""A checksum as GNU tar reads it, which need not have an end."""
_HEADER_LINE = re.compile(rb"[!-9;-~]{1,80}[ \t]*:")


def container_of(prefix: bytes | memoryview) -> FileFormat | None:
    """Return a container by a file's first bytes, or None.

    Args:
        prefix: the first `SEARCHED` bytes, or the whole file if it is shorter; at least one byte.
    """
    start = bytes(prefix[:START_SIZE])
    if (known := _candidates(start[0]).first(start, prefix)) is not None:
        return known
    if (late := _LATE.get(start[4:8]) or _LATE.get(start[7:14]) or _LATE.get(start[20:24])) is not None:
        return late
    if start[1:4] in _ZSTANDARD and start[0] in _ZSTANDARD[start[1:4]]:
        return _BY_NAME["Zstandard"]
    if start[60:68] in {b"BOOKMOBI", b"TEXtREAd"} or start[128:132] == b"DICM":
        return _BY_NAME["other document"]
    if start[4:5] == b"G" and _is_transport_stream(start):
        return _BY_NAME["MPEG transport stream"]
    if start[4:8] in _BOXES and 8 <= int.from_bytes(start[:4], "big") < 1 << 29:
        return _BY_NAME["MP4 or QuickTime"]
    if start[2:5] in {b"-lh", b"-lz"} and start[6:7] == b"-":
        return _BY_NAME["LHA"]
    if _HEADER_LINE.match(start) is not None and _is_mail(bytes(prefix)):
        return _BY_NAME["mail"]
    return container_beside(start, prefix)


VOLUMES = frozenset({b"CD001", b"BEA01", b"BOOT2", b"CDW02", b"NSR02", b"NSR03"})
"""Any of them may be the first descriptor (ECMA-167, 2/8.3): systems pass over those they do not need."""


def container_beside(start: bytes, prefix: bytes | memoryview) -> FileFormat | None:
    """Return a container that may begin with anything, such as a picture, by a file's first bytes.

    Args:
        start: the first 4,096 bytes.
        prefix: the first 37,000 bytes or more.
    """
    found = _all_beside(start, prefix)
    return found[0] if found else None


def _all_beside(start: bytes, prefix: bytes | memoryview) -> list[FileFormat]:
    found = []
    # The first member of a tar archive may be a PDF document.
    if start.startswith(b"ustar", 257) or is_old_tar(start):
        found.append(_BY_NAME["tar"])
    # The mark may begin at the byte 1,024. Its first byte alone is searched for in a fifth of the time.
    if start.find(b"%", 0, 1025) >= 0 and start.find(b"%PDF", 0, 1028) >= 0:
        found.append(_BY_NAME["PDF"])
    # ISO 9660 and UDF: the volume descriptors begin at the 16th sector.
    if len(prefix) > 32769 and bytes(prefix[32769:32774]) in VOLUMES:
        found.append(_BY_NAME["CD or DVD image"])
    if _is_disk(start):
        found.append(_BY_NAME["disk image"])
    return found


_ASCII = bytes(range(128))


def is_old_tar(start: bytes) -> bool:
    """Return True for the header of a tar archive before POSIX, which has a checksum and no signature."""
    stated = _OCTAL.match(start[148:156])
    if stated is None or len(start) < 512:
        return False
    others = start[:148] + start[156:512]
    # Old programs take the bytes for signed.
    total, negative = sum(others), len(others.translate(None, _ASCII))
    return int(stated[1], 8) - 8 * 32 in {total, total - 256 * negative}


def _is_disk(start: bytes) -> bool:
    if start[510:512] == b"\x55\xaa" and (
        start[0] in {0xEB, 0xE9}
        or (
            all(start[place] in {0, 0x80} for place in range(446, 510, 16))
            and any(start[place] for place in range(450, 510, 16))
        )
    ):
        return True
    if is_ext(start[1024:2048]):
        return True
    # EROFS, F2FS, and APFS.
    if start[1024:1028] in {b"\xe2\xe1\xf5\xe0", b"\x10\x20\xf5\xf2"} or start[32:36] == b"NXSB":
        return True
    return start[1024:1028] in {b"H+\0\4", b"HX\0\5"} or start[64:68] == b"\x7f\x10\xda\xbe"


def is_ext(superblock: bytes) -> bool:
    """Return True for the superblock of ext2 to ext4 with the fields without which Linux mounts none.

    How it acts on errors, its revision and the time of its last check may be unset.
    """
    if superblock[56:58] != b"\x53\xef":
        return False
    blocks, first, log_size = (number(superblock, place, 4) for place in (4, 20, 24))
    of_group, inodes = number(superblock, 32, 4), number(superblock, 40, 4)
    return (
        blocks > 0
        and first <= 1
        and log_size <= 6
        and all(0 < each <= 8 << 10 + log_size for each in (of_group, inodes))
    )


_RAR_ENDS = (b"\xc4\x3d\x7b\0\x40\7\0", b"\x1d\x77\x56\x51\3\5\4\0")
_RAR_SEARCHED = 256


def container_behind(tail: bytes) -> FileFormat | None:
    """Return a container that may lie behind anything, such as a picture, by a file's last bytes.

    Args:
        tail: the last `TAIL_SIZE` bytes, or the whole file if it is shorter.
    """
    found = _all_behind(tail)
    return found[0] if found else None


def _all_behind(tail: bytes) -> list[FileFormat]:
    found = []
    # Texts do not have the last byte, and are searched for that in a third of the time.
    if b"\6" in tail and contains(tail, b"PK\5\6") and _has_zip(tail):
        found.append(_BY_NAME["ZIP"])
    last = tail[-_RAR_SEARCHED:]
    # The last byte of each is searched for in a fifth of the time.
    if (b"\0" in last and _RAR_ENDS[0] in last) or (b"\5" in last and _RAR_ENDS[1] in last):
        found.append(_BY_NAME["RAR"])
    if tail[-512:-508] == b"koly" or tail[-512:-504] == b"conectix":
        found.append(_BY_NAME["disk image"])
    return found


def containers_of(known: FileFormat | None, prefix: bytes, tail: bytes) -> tuple[FileFormat, ...]:
    """Return all containers that programs may see in a file, each once.

    Args:
        known: what the file was recognised as.
        prefix: the first `TAIL_SIZE` bytes, or the whole file if it is shorter.
        tail: the last `TAIL_SIZE` bytes, or the whole file if it is shorter.
    """
    return tuple(
        dict.fromkeys(
            (
                *([known] if known is not None and known.container else []),
                *_all_beside(prefix[:START_SIZE], prefix),
                *_all_behind(tail),
                *([_BY_NAME["PDF"]] if known is not None and not known.container and _ends_pdf(tail) else []),
            )
        )
    )


ARCHIVES_SEARCHED = 8 << 20
"""Last offset at which 7-Zip lets an archive begin (`kMaxCheckStartPosition` in OpenArchive.cpp)."""
_ARCHIVES_WITHIN = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\7")


def may_hold_archive(begin: bytes) -> bool:
    """Return True if an archive of 7-Zip or WinRAR may lie within a file that begins like something else.

    People append them to pictures, and both programs find them there.

    Args:
        begin: the first `ARCHIVES_SEARCHED` bytes, or the whole file if it is shorter.
    """
    return any(contains(begin, signature) for signature in _ARCHIVES_WITHIN)


def _ends_pdf(tail: bytes) -> bool:
    """Return True if a PDF document ends there, as one may that is appended to a picture: MuPDF opens it."""
    end = tail[-_PDF_END_SEARCHED:]
    return contains(end, b"startxref") and contains(end, b"%%EOF")


_LATER_PART = re.compile(
    rb"\.(?:(?:7z|zip|rar|arj|ace|cab|tar|tgz|tbz2?|txz|gz|bz2|xz|zst|lzma|iso|img|dmg|vmdk|bin|exe|pdf|psd|jpe?g"
    rb"|png|avi|mkv|mov|mp4|m4v|mpe?g|mts|wmv)(?:\.(?!0*1\Z)[0-9]{3,4}|[._-]?(?:part)?[._-]?[a-d][a-z])"
    rb"|z[0-9]{2,3}|r[0-9]{2}|part(?!0*1\.)[0-9]{1,4}\.(?:rar|zip|7z|exe))\Z|\[[0-9]+\](?:\.last)?\.piece\Z",
    re.IGNORECASE,
)
"""The end of the name of a part that follows the first: of 7-Zip, Info-ZIP, WinRAR, HJSplit and split(1); of
each part of one that an OPC package stores in pieces (ECMA-376, part 2, 7.2.4)."""


def is_later_part(name: bytes, kind: FileFormat | None) -> bool:
    """Return True if a file is a later part of one that was divided, which begins anywhere in that one.

    Args:
        kind: what its first and last bytes were recognised as; a container is read as far as it goes.
    """
    unknown = kind is None or kind == UNRECOGNISED or not kind.container
    return unknown and _LATER_PART.search(name) is not None


_PDF_END_SEARCHED = 4096


def is_doubtful(kind: FileFormat, containers: Sequence[FileFormat], tail: bytes) -> bool:
    """Return True if a file need not be a container of this kind, of all that programs may see in it.

    So is a PDF document that begins behind the header of another container, as the first member of an archive
    does, if its end is not where readers look for it first: they search the whole file then. And so is a ZIP
    archive that ends within a compound file, as the themes of presentations do.
    """
    if kind == containers[0]:
        return False
    if kind.name == "ZIP" and containers[0].name == "compound file":
        end = tail.rfind(b"PK\5\6")
        return end + 22 + number(tail, end + 20, 2) != len(tail)
    return kind.name == "PDF" and not contains(tail[-_PDF_END_SEARCHED:], b"startxref")


_CENTRAL = re.compile(rb"PK\x01\x02")
ZIP_METHODS = frozenset({*range(21), *range(90, 100)})
"""Numbers of all methods of compression of a ZIP archive (APPNOTE.TXT, 4.4.5)."""


def _has_zip(tail: bytes) -> bool:
    """Return True if one of the records at the end of a ZIP archive is plausible.

    In random bytes its signature alone occurs in one of 65,000 files, and programs that read such archives
    have both signatures among their constants. Programs differ in which field they ignore, so that one sign
    is enough: numbers that agree, or a header of a member before it.
    """
    place = tail.rfind(b"PK\5\6", 0, len(tail) - 18)
    if place >= 0 and any(map(_is_central, _CENTRAL.finditer(tail, 0, place))):
        return True
    while place >= 0:
        here, start, on_this, all_of_them = (number(tail, place + at, 2) for at in (4, 6, 8, 10))
        # Of an empty one, programs read nothing.
        if here == start and on_this == all_of_them and any(tail[place + 8 : place + 20]):
            return True
        place = tail.rfind(b"PK\5\6", 0, place)
    return False


def _is_central(found: re.Match[bytes]) -> bool:
    """Return True for a header of the directory that names a file, and a method of compression."""
    method, name = number(found.string, found.start() + 10, 2), number(found.string, found.start() + 28, 2)
    return method in ZIP_METHODS and name > 0
