"""Search for archives, compressed files and disk images behind something else, as unpackers do.

7-Zip takes a file for the first archive that begins within 8 MiB, unzip for one of which the end is near the
file's, GNU tar goes on to the next header that it understands, at any multiple of 512 bytes. All programs and
drivers were tried that `tests.hashing.recognition.test_disguised_archives` names.

A signature alone occurs in programs that read such archives, and in random bytes. So each has a check of what
follows it, which is sure where that has a checksum or takes few values.
"""

from __future__ import annotations

import binascii
import bz2
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Literal, NamedTuple, Protocol

import numpy as np

from hashscan.hashing.containers import (
    ARCHIVES_SEARCHED,
    CONTAINERS,
    TAIL_SIZE,
    VOLUMES,
    ZIP_METHODS,
    container_behind,
    is_ext,
    is_old_tar,
)
from hashscan.hashing.format_signatures import FileFormat, number
from hashscan.hashing.formats import contains_pictures, sniff
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.none_kinds import FURTHER, may_hold_others, none_kind
from hashscan.hashing.recognition.recogniser import Probed

DOUBTFUL_MAX = 8
"""Places without a checksum that may be the begin of an archive of one kind."""
FAILED_MAX, FAILED_SHORT_MAX = 1 << 17, 1 << 20
"""Places with a signature of one kind of which the check fails, and with one of two bytes, which data may
consist of; a file with more is undecoded, so that the checks do not take long."""

TAR_SEARCHED = 64 << 20
"""Bytes of a file of another format in which a tar archive is looked for."""
SEARCHED_BEHIND = 72 << 10
"""Bytes behind the last place that are read for the checks."""
_BLOCK = 512
_PIECE_SIZE = 1 << 20

_NO, _MAYBE, _SURE = 0, 1, 2
_Check = Callable[[bytes, int], int]
"""Says of the bytes of a file if an archive begins at an offset."""

_KINDS = {known.name: known for known in CONTAINERS}


class _Sign(NamedTuple):
    """One signature."""

    kind: FileFormat
    signature: bytes
    check: _Check
    lead: int = 0
    """Number of bytes of the archive before its signature."""


class _Unpacker(Protocol):
    """A decompressor of the standard library."""

    @property
    def eof(self) -> bool:
        """True behind the end of the stream."""

    @property
    def unused_data(self) -> bytes:
        """Return the bytes behind the end of the stream."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return what data gives, as far as the length permits."""


def _sure(_content: bytes, _at: int) -> int:
    return _SURE


def _sure_if(*, condition: bool) -> int:
    return _SURE if condition else _NO


def _is_zip(content: bytes, at: int) -> int:
    """Check the header of a member: version, method, and a name without control characters."""
    length = number(content, at + 26, 2)
    name = content[at + 30 : at + 30 + length]
    return _sure_if(
        condition=number(content, at + 4, 1) <= _ZIP_VERSION_MAX
        and number(content, at + 8, 2) in ZIP_METHODS
        and 0 < length == len(name) <= _NAME_MAX
        and _CONTROL.search(name) is None
    )


_ZIP_VERSION_MAX, _NAME_MAX = 63, 4096
_CONTROL = re.compile(rb"[\0-\x1f]")


def _is_7z(content: bytes, at: int) -> int:
    return _sure_if(
        condition=number(content, at + 8, 4) == binascii.crc32(content[at + 12 : at + 32])
        and number(content, at + 20, 8) > 0
    )


def _is_rar(content: bytes, at: int) -> int:
    if content[at + 6 : at + 7] == b"\0":
        # The size of the block's header, and the checksum over it.
        size = number(content, at + 12, 2)
        found = binascii.crc32(content[at + 9 : at + 7 + size]) & 0xFFFF
        return _sure_if(condition=size >= _RAR_HEADER and number(content, at + 7, 2) == found)
    # RAR 5 has the size as a number of seven bits a byte.
    size = shift = 0
    place = at + 12
    while place < at + 15:
        byte = number(content, place, 1)
        size |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 1 << 7:
            break
    stated = number(content, at + 8, 4)
    if size > _RAR_CHECKED:
        return _MAYBE
    return _sure_if(condition=size > 0 and stated == binascii.crc32(content[at + 12 : place + size]))


_RAR_HEADER, _RAR_CHECKED = 7, 4096


def _is_cab(content: bytes, at: int) -> int:
    zeros = number(content, at + 12, 4) | number(content, at + 20, 4)
    files, version, folders = (
        number(content, at + 16, 4),
        content[at + 24 : at + 26],
        number(content, at + 26, 2),
    )
    return _sure_if(condition=zeros == 0 and files >= _CAB_HEADER and version == b"\3\1" and folders > 0)


_CAB_HEADER = 36


def _is_iso(content: bytes, at: int) -> int:
    descriptor = at + 32768
    is_volume = content[descriptor] in _VOLUME_TYPES and content[descriptor + 6] in _VOLUME_VERSIONS
    return _sure_if(condition=at >= 0 and is_volume)


_VOLUME_TYPES, _VOLUME_VERSIONS = frozenset({0, 1, 2, 3, 255}), frozenset({1, 2})


def _is_cpio(content: bytes, at: int) -> int:
    """Check that all fields are numbers, and that the name ends in a zero; a text of digits has none."""
    is_octal = content[at + 5 : at + 6] == b"7"
    pattern, place, name, base = _CPIO_OCTAL if is_octal else _CPIO_HEX
    if pattern.match(content, at + 6) is None:
        return _NO
    length = int(content[at + place : at + place + (6 if is_octal else 8)], base)
    end = at + name + length
    return _sure_if(condition=0 < length <= 1 << 16 and content[end - 1 : end] == b"\0")


_CPIO_HEX = re.compile(rb"[0-9A-Fa-f]{104}"), 94, 110, 16
_CPIO_OCTAL = re.compile(rb"[0-7]{70}"), 59, 76, 8
"""The pattern of the fields, the places of the length of the name and of the name, the base of numbers."""


def _is_binary_cpio(content: bytes, at: int) -> int:
    """Check that it is a file with content, that its name ends in a zero, and is no more than a path.

    What precedes the first file with content shows nothing.
    """
    swapped = content[at] != _CPIO_LITTLE

    def field(offset: int) -> int:
        return int.from_bytes(content[at + offset : at + offset + 2], "big" if swapped else "little")

    # The checks that are quick first: data may consist of such signatures.
    length = field(20)
    end = at + 26 + length
    if not 1 < length <= _NAME_MAX or content[end - 1] or field(6) >> 12 != _CPIO_FILE:
        return _NO
    if not 0 < field(22) << 16 | field(24) < 1 << 31:
        return _NO
    return _MAYBE if _CONTROL.search(content, at + 26, end - 1) is None else _NO


_CPIO_LITTLE, _CPIO_FILE = 0xC7, 8


def _is_tar(content: bytes, at: int) -> int:
    return _sure_if(condition=at >= 0 and is_old_tar(content[at : at + _BLOCK]))


def _is_gzip(content: bytes, at: int) -> int:
    """Unpack it; a wrong checksum makes it doubtful only, since programs show what they have unpacked."""
    flags, place = content[at + 3], at + 10
    if flags & 0xE0:
        return _NO
    if flags & 4:
        place += 2 + number(content, place, 2)
    for flag in (8, 16):
        if flags & flag:
            place = content.find(b"\0", place, place + (_NAME_MAX if flag == 8 else 1 << 16)) + 1
            if place <= 0:
                return _NO
    place += flags & 2
    # The begin first: random bytes have many such signatures.
    if _unpacks(zlib.decompressobj(-zlib.MAX_WBITS), content[place : place + _NAME_MAX]) == _NO:
        return _NO
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacked, is_broken = _unpacked(unpacker, content, place)
    if unpacker.eof:
        is_broken = unpacker.unused_data[:4] != binascii.crc32(unpacked).to_bytes(4, "little")
    return _worth(unpacked) if is_broken else _SURE


def _unpacked(unpacker: _Unpacker, content: bytes, at: int) -> tuple[bytes, bool]:
    """Return the begin of what a stream is unpacked to, and True if it breaks there."""
    unpacked = bytearray()
    try:
        while at < len(content) and not unpacker.eof and len(unpacked) < _UNPACKED_MAX:
            # A piece of bzip2 may give gigabytes.
            unpacked += unpacker.decompress(content[at : at + _STREAM_PIECE], _UNPACKED_MAX)
            at += _STREAM_PIECE
    except (zlib.error, lzma.LZMAError, OSError):
        return bytes(unpacked), True
    return bytes(unpacked), False


_UNPACKED_MAX, _STREAM_PIECE = 4 << 20, 1024


def _worth(unpacked: bytes) -> int:
    """Return if a stream that breaks is an archive, by what programs show of it before.

    Compressed files lie in blocks of others, and are cut there. Of a text without pictures nothing is shown.
    Few bytes may be by chance.
    """
    # Some bytes of what follows were unpacked, too.
    if len(unpacked) <= _BY_CHANCE_MAX or none_kind(PreadFile(unpacked[:-_BY_CHANCE_MAX])):
        shows = sniff(unpacked) is not None or contains_pictures(unpacked[-2 * _BY_CHANCE_MAX :])
        return _SURE if shows else _MAYBE
    return _SURE


_BY_CHANCE_MAX = 4096


def _is_bzip2(content: bytes, at: int) -> int:
    unpacked, is_broken = _unpacked(bz2.BZ2Decompressor(), content, at)
    return _worth(unpacked) if is_broken and unpacked else _SURE


def _unpacks(unpacker: zlib._Decompress, packed: bytes) -> int:
    size = 0
    try:
        for at in range(0, len(packed), _PIECE):
            size += len(unpacker.decompress(packed[at : at + _PIECE], _UNPACKED_ENOUGH))
            if unpacker.eof or size >= _UNPACKED_ENOUGH:
                break
    except zlib.error:
        return _sure_if(condition=size >= _UNPACKED_ENOUGH)
    if unpacker.eof:
        return _sure_if(condition=size >= _PICTURE_MIN)
    return _SURE if size else _MAYBE


_PIECE, _UNPACKED_ENOUGH = 64, 512
_PICTURE_MIN = 32
"""Bytes that no picture has fewer of; random bytes are often a packed file of some bytes."""


def _is_xz(content: bytes, at: int) -> int:
    stated = number(content, at + 8, 4)
    if stated != binascii.crc32(content[at + 6 : at + 8]) or content[at + 6]:
        return _NO
    try:
        unpacked, is_broken = _unpacked(lzma.LZMADecompressor(lzma.FORMAT_XZ), content, at)
    except MemoryError:
        return _SURE
    return _worth(unpacked) if is_broken and unpacked else _SURE


def _is_zstandard(content: bytes, at: int) -> int:
    """Check the headers of a frame, of its blocks, and of the literals of the first one (RFC 8878, 3.1)."""
    descriptor = content[at + 4]
    single, form = descriptor >> 5 & 1, descriptor >> 6
    sized = (single, 2, 4, 8)[form]
    first = at + 5 + (not single) + (0, 1, 2, 4)[descriptor & 3] + sized
    stated = number(content, first - sized, sized) + (256 if sized == 2 else 0)
    if descriptor & 8:
        return _NO
    blocks, place, is_last = 0, first, False
    while not is_last and blocks < _ZSTANDARD_BLOCKS:
        header = number(content, place, 3)
        is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == _RESERVED or size > _ZSTANDARD_BLOCK or place + 3 > len(content):
            return _MAYBE if blocks else _NO
        if not blocks and not _has_literals(content[place + 3 : place + 8], kind, size):
            return _MAYBE
        if is_last and kind == 0 and not blocks and sized and size != stated:
            return _MAYBE
        place += 3 + (1 if kind == 1 else size)
        blocks += size > 0
        if not size and not is_last:
            return _MAYBE
    # A single block without compression says too little.
    return _SURE if blocks > 1 or (blocks and number(content, first, 3) >> 1 & 3 == _PACKED) else _MAYBE


def _has_literals(begin: bytes, kind: int, size: int) -> bool:
    """Return True if the literals that begin a block are as long as it permits."""
    if kind != _PACKED:
        return True
    bits, form = number(begin, 0, 5), begin[0] >> 2 & 3
    if begin[0] & 2:
        head, width = ((3, 10), (3, 10), (4, 14), (5, 18))[form]
        packed = bits >> 4 + width & (1 << width) - 1
        # The first block has no tree to repeat.
        return not begin[0] & 1 and head + packed < size
    head, length = (
        (1, bits >> 3 & 31),
        (2, bits >> 4 & 0xFFF),
        (1, bits >> 3 & 31),
        (3, bits >> 4 & 0xFFFFF),
    )[form]
    return head + (1 if begin[0] & 1 else length) < size


_ZSTANDARD_BLOCK, _ZSTANDARD_BLOCKS = 128 << 10, 8
_RESERVED, _PACKED = 3, 2


def _is_lha(content: bytes, at: int) -> int:
    if at < 0 or content[at + 6] != ord("-"):
        return _NO
    level = content[at + 20]
    if level > 1:
        return _MAYBE if level <= _LHA_LEVEL_MAX and number(content, at, 2) >= _LHA_HEADER else _NO
    size = content[at]
    total = sum(content[at + 2 : at + 2 + size]) & 0xFF
    return _sure_if(condition=size >= _LHA_HEADER and total == content[at + 1])


_LHA_LEVEL_MAX, _LHA_HEADER = 3, 21


def _is_arj(content: bytes, at: int) -> int:
    size = number(content, at + 2, 2)
    end = at + 4 + size
    is_size = 30 <= size <= 2600
    return _sure_if(condition=is_size and number(content, end, 4) == binascii.crc32(content[at + 4 : end]))


def _is_squashfs(content: bytes, at: int) -> int:
    """Check the version, and the size of blocks, which is stated twice from version 4 on."""
    order: Literal["little", "big"] = "little" if content[at] == ord("h") else "big"

    def field(offset: int, size: int) -> int:
        return int.from_bytes(content[at + offset : at + offset + size], order)

    if field(28, 2) == _SQUASHFS_VERSION:
        return _sure_if(condition=field(12, 4) == 1 << min(field(22, 2), 32) and field(30, 2) == 0)
    return _sure_if(condition=1 <= field(28, 2) < _SQUASHFS_VERSION and 12 <= field(34, 2) <= 20)


_SQUASHFS_VERSION = 4


def _is_nsis(content: bytes, at: int) -> int:
    header, whole = number(content, at + 20, 4), number(content, at + 24, 4)
    return _sure_if(condition=at >= 0 and number(content, at, 4) < 16 and header > 0 and 0 < whole < 1 << 31)


def _is_wim(content: bytes, at: int) -> int:
    return _sure_if(condition=60 <= number(content, at + 8, 4) <= 512 and number(content, at + 12, 4) > 0)


def _is_help(content: bytes, at: int) -> int:
    """Check the identifiers of classes in help files."""
    return _sure_if(condition=content[at + 24 : at + 56].count(b"\x7c\x01\xfd\x10") > 0)


def _is_rpm(content: bytes, at: int) -> int:
    """Check the version, the kind of package, and that of its signature."""
    is_lead = (
        content[at + 5] <= 1
        and number(content, at + 6, 2) in {0, 1 << 8}
        and content[at + 78 : at + 80] == b"\0\5"
    )
    return _sure_if(condition=is_lead)


def _is_xar(content: bytes, at: int) -> int:
    """Check the header: its length, its version, and the length of the table of contents."""
    is_header = content[at + 4 : at + 8] == b"\0\x1c\0\1"
    return _sure_if(condition=is_header and 0 < int.from_bytes(content[at + 8 : at + 16], "big") < 1 << 32)


def _is_szdd(content: bytes, at: int) -> int:
    return _sure_if(condition=content[at + 8 : at + 9] == b"A" and 0 < number(content, at + 10, 4) < 1 << 31)


def _is_ext(content: bytes, at: int) -> int:
    """Check the fields that Linux checks, and the size of inodes, which the first revision does not state."""
    superblock = content[at + 1024 : at + 2048] if at >= 0 else b""
    size = number(superblock, 88, 2)
    is_size = number(superblock, 76, 4) == 0 or (size >= _INODE_MIN and size.bit_count() == 1)
    return _sure_if(condition=is_size and is_ext(superblock))


_INODE_MIN = 128


def _is_boot(content: bytes, at: int) -> int:
    """Check the boot sector of FAT and NTFS: its last bytes, and a power of two as the size of sectors."""
    sector = number(content, at + 11, 2)
    return _sure_if(
        condition=at >= 0
        and content[at + 510 : at + 512] == b"\x55\xaa"
        and sector in {512, 1024, 2048, 4096}
    )


def _is_qcow(content: bytes, at: int) -> int:
    """Check the version, and the size of clusters."""
    version, bits = content[at + 4 : at + 8], int.from_bytes(content[at + 20 : at + 24], "big")
    is_first = version == b"\0\0\0\1" and 9 <= content[at + 32] <= 21
    return _sure_if(condition=is_first or (version in {b"\0\0\0\2", b"\0\0\0\3"} and 9 <= bits <= 21))


def _is_vmdk(content: bytes, at: int) -> int:
    """Check the version, the capacity, and that the size of grains is a power of two."""
    is_grain = number(content, at + 20, 8).bit_count() == 1
    return _sure_if(
        condition=1 <= number(content, at + 4, 4) <= 3 and number(content, at + 12, 8) > 0 and is_grain
    )


def _is_vhdx(content: bytes, at: int) -> int:
    return _sure_if(condition=content[at + 65536 : at + 65540] == b"head")


def _is_udf(content: bytes, at: int) -> int:
    """Check the begin of the extended area, and the descriptor that follows it."""
    following = content[at + 34817 : at + 34822]
    return _sure_if(condition=at >= 0 and content[at + 32768] == 0 and following in VOLUMES)


def _is_hfs(content: bytes, at: int) -> int:
    """Check the size of blocks, and their number."""
    size, blocks = (int.from_bytes(content[at + place : at + place + 4], "big") for place in (1064, 1068))
    return _sure_if(condition=at >= 0 and size >= _BLOCK and size.bit_count() == 1 and blocks > 0)


def _is_cramfs(content: bytes, at: int) -> int:
    magic = content[max(at, 0) : at + 4]
    return _sure_if(condition=magic in {b"\x45\x3d\xcd\x28", b"\x28\xcd\x3d\x45"})


def _is_placed(_content: bytes, at: int) -> int:
    return _sure_if(condition=at >= 0)


def _is_lzma(content: bytes, at: int) -> int:
    """Check the fields of a file of LZMA alone, which has no signature, and unpack its begin.

    Programs differ in which sizes of the dictionary they take; those of xz are sure.
    """
    head = content[at : at + _LZMA_HEAD]
    dictionary, length = number(head, 1, 4), number(head, 5, 8)
    if (
        len(head) < _LZMA_HEAD
        or head[0] >= 9 * 5 * 5
        or head[13]
        or not (0 < length < 1 << 56 or length == (1 << 64) - 1)
    ):
        return _NO
    # As far as is unpacked here, no more of the dictionary is needed.
    changed = head[:1] + min(dictionary, 1 << 16).to_bytes(4, "little") + head[5:]
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
    try:
        unpacked = unpacker.decompress(changed + content[at + _LZMA_HEAD : at + (64 << 10)], _NAME_MAX)
    except lzma.LZMAError:
        return _NO
    if len(unpacked) < (_PICTURE_MIN if unpacker.eof else _UNPACKED_ENOUGH) or len(set(unpacked)) == 1:
        return _NO
    return _SURE if dictionary.bit_count() <= 2 and dictionary >= 1 << 12 else _MAYBE


_LZMA_HEAD = 14
_LZMA_BEGINS = 0, 1
"""Offsets at which such a file begins; one of LZMA86 has a byte before."""

_DISK, _OTHER = _KINDS["disk image"], _KINDS["other archive"]
_SIGNS = (
    _Sign(_KINDS["ZIP"], b"PK\3\4", _is_zip),
    _Sign(_KINDS["7z"], b"7z\xbc\xaf\x27\x1c", _is_7z),
    _Sign(_KINDS["RAR"], b"Rar!\x1a\7", _is_rar),
    _Sign(_KINDS["CAB"], b"MSCF\0\0\0\0", _is_cab),
    _Sign(_KINDS["CD or DVD image"], b"CD001", _is_iso, 32769),
    _Sign(_KINDS["CD or DVD image"], b"BEA01", _is_udf, 32769),
    _Sign(_KINDS["cpio"], b"07070", _is_cpio),
    _Sign(_KINDS["binary cpio"], b"\xc7\x71", _is_binary_cpio),
    _Sign(_KINDS["binary cpio"], b"\x71\xc7", _is_binary_cpio),
    _Sign(_KINDS["tar"], b"ustar", _is_tar, 257),
    _Sign(_KINDS["gzip"], b"\x1f\x8b\x08", _is_gzip),
    *(_Sign(_KINDS["bzip2"], b"BZh%d1AY&SY" % level, _is_bzip2) for level in range(1, 10)),
    _Sign(_KINDS["xz"], b"\xfd7zXZ\0", _is_xz),
    _Sign(_KINDS["Zstandard"], b"\x28\xb5\x2f\xfd", _is_zstandard),
    _Sign(_KINDS["LHA"], b"-lh", _is_lha, 2),
    _Sign(_KINDS["LHA"], b"-lz", _is_lha, 2),
    _Sign(_KINDS["ARJ"], b"\x60\xea", _is_arj),
    _Sign(_KINDS["RPM"], b"\xed\xab\xee\xdb\3", _is_rpm),
    _Sign(_OTHER, b"xar!", _is_xar),
    _Sign(_OTHER, b"MSWIM\0\0\0", _is_wim),
    _Sign(_OTHER, b"\xef\xbe\xad\xdeNullsoftInst", _is_nsis, 4),
    _Sign(_OTHER, b"ITSF\3\0\0\0\x60\0\0\0", _is_help),
    _Sign(_OTHER, b"ITOLITLS\1\0\0\0\x28\0\0\0", _sure),
    _Sign(_OTHER, b"SZDD\x88\xf0\x27\x33", _is_szdd),
    *(_Sign(_DISK, magic, _is_squashfs) for magic in (b"hsqs", b"sqsh", b"shsq", b"qshs")),
    _Sign(_DISK, b"\x53\xef", _is_ext, 1080),
    *(
        _Sign(_DISK, name, _is_boot, place)
        for name, place in ((b"FAT1", 54), (b"FAT32   ", 82), (b"NTFS    ", 3))
    ),
    _Sign(_DISK, b"EFI PART\0\0\1\0\x5c\0\0\0", _is_placed, 512),
    _Sign(_DISK, b"KDMV", _is_vmdk),
    _Sign(_DISK, b"QFI\xfb", _is_qcow),
    _Sign(_DISK, b"vhdxfile", _is_vhdx),
    _Sign(_DISK, b"\x7f\x10\xda\xbe\1\0\1\0", _is_placed, 64),
    _Sign(_DISK, b"Compressed ROMFS", _is_cramfs, 16),
    _Sign(_DISK, b"H+\0\4", _is_hfs, 1024),
    _Sign(_DISK, b"HX\0\5", _is_hfs, 1024),
)


def _by_pair() -> dict[int, list[tuple[_Sign, int]]]:
    """Return the signatures by two of their bytes, the last ones, and the offset of these."""
    found: dict[int, list[tuple[_Sign, int]]] = {}
    for sign in _SIGNS:
        # Not two zeros, which are the commonest of all.
        ends = len(sign.signature.rstrip(b"\0"))
        offset = min(ends, 4) - 2
        pair = number(sign.signature, offset, 2)
        found.setdefault(pair, []).append((sign, offset))
    return found


_PAIRS = _by_pair()
_IS_PAIR = np.zeros(1 << 16, dtype=np.bool_)
_IS_PAIR[list(_PAIRS)] = True


def archive_probe(file: PreadFile) -> Iterator[Probed]:
    """Yield all archives, compressed files and disk images that programs find in a file, and where.

    Of each kind the first that is sure, and those that may be one before it. None of a kind that is found by
    its end, and opened by that.
    """
    return _archives(file, file.size)


def archives_beside(file: PreadFile) -> Iterator[Probed]:
    """Yield the archives in a file that is a video or document, which is not read to its end for that."""
    return _archives(file, TAR_SEARCHED)


def _archives(file: PreadFile, searched: int) -> Iterator[Probed]:
    file.seek(max(0, file.size - TAIL_SIZE))
    behind = container_behind(file.read(TAIL_SIZE))
    file.seek(0)
    found: dict[str, int] = {} if behind is None else {behind.name: DOUBTFUL_MAX + 1}
    for sign, at, is_sure in chain(_searched(file, found), _tar_behind(file, searched)):
        count = found.get(sign.kind.name, 0)
        if count > DOUBTFUL_MAX:
            continue
        found[sign.kind.name] = DOUBTFUL_MAX + 1 if is_sure else count + 1
        if is_sure or count < DOUBTFUL_MAX:
            yield Probed(sign.kind, is_sure, at)
        else:
            yield Probed(_OTHER, True)


def _searched(file: PreadFile, found: dict[str, int]) -> Iterator[tuple[_Sign, int, bool]]:
    """Yield each place where an archive may begin, in their order, as far as 7-Zip looks.

    Args:
        found: by the name of each kind, the number of places; beyond `DOUBTFUL_MAX`, it is searched no more.
    """
    content = file.read(ARCHIVES_SEARCHED + SEARCHED_BEHIND)
    failed: Counter[bytes] = Counter()
    # A check may look behind the end.
    padded = content + bytes(SEARCHED_BEHIND)
    for at in _LZMA_BEGINS:
        if evidence := _is_lzma(content, at):
            yield _LZMA, at, evidence == _SURE
    if not may_hold_others(file, FURTHER):
        return
    for place in _pairs(content):
        for sign, offset in _PAIRS[number(content, place, 2)]:
            at = place - offset - sign.lead
            if at > ARCHIVES_SEARCHED or not content.startswith(sign.signature, place - offset):
                continue
            name = sign.kind.name
            if found.get(name, 0) > DOUBTFUL_MAX:
                continue
            evidence = sign.check(padded, at)
            if evidence != _NO:
                yield sign, at, evidence == _SURE
                continue
            failed[sign.signature] += 1
            if failed[sign.signature] > (FAILED_MAX if len(sign.signature) > _SHORT else FAILED_SHORT_MAX):
                found[name] = DOUBTFUL_MAX + 1
                yield _UNCHECKED, 0, True


def _pairs(content: bytes) -> Iterator[int]:
    """Yield the places of all pairs of bytes that a signature may have."""
    for begin in range(0, len(content), _PIECE_SIZE):
        piece = content[begin : begin + _PIECE_SIZE + 1]
        places = [
            first
            + 2 * np.flatnonzero(_IS_PAIR[np.frombuffer(piece, "<u2", (len(piece) - first) // 2, first)])
            for first in (0, 1)
            if len(piece) > first + 1
        ]
        if places:
            # Not by `np.unique`, which loads a module then.
            yield from (np.sort(np.concatenate(places)) + begin).tolist()


_SHORT = 2
_UNCHECKED = _Sign(_OTHER, b"", _sure)


class TarSearch:
    """The state of a search for a header of tar at a multiple of 512 bytes; the bytes are given in pieces."""

    def __init__(self) -> None:
        self._last, self._size = b"", 0

    def feed(self, piece: bytes) -> int | None:
        """Take the next bytes, and return the offset of the first header that ends in them; None for none."""
        if len(self._last) or len(piece) % _BLOCK:
            piece = self._last + piece
        whole = len(piece) // _BLOCK * _BLOCK
        # Its checksum has eight characters, of which three in a row are digits.
        digits = {at.start() for place in (150, 153) for at in _DIGITS.finditer(piece[place:whole:_BLOCK])}
        for at in sorted(at * _BLOCK for at in digits):
            if is_old_tar(piece[at : at + _BLOCK]):
                return self._size + at
        self._last, self._size = piece[whole:], self._size + whole
        return None


_TAR, _LZMA = _Sign(_KINDS["tar"], b"", _is_tar), _Sign(_KINDS["LZMA"], b"", _is_lzma)
_DIGITS = re.compile(rb"[0-7]")


def _tar_behind(file: PreadFile, searched: int) -> Iterator[tuple[_Sign, int, bool]]:
    """Yield the first header of a tar archive at a multiple of 512 bytes, wherever it is, as GNU tar does."""
    search = TarSearch()
    for begin in range(0, min(file.size, searched), _PIECE_SIZE):
        file.seek(begin)
        if (at := search.feed(file.read(_PIECE_SIZE))) is not None:
            yield _TAR, at, True
            return
