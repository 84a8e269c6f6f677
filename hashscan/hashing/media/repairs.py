"""Find faults beside the pixels that viewers overlook and Pillow does not, and read the file without them.

Pillow rejects a PNG for a text with a wrong checksum, a JPEG for a short JFIF segment, and an AVIF for
invalid Exif data; every browser shows these files. So a file that could not be decoded is read again with
such parts renamed, so that libraries skip them. All else stays where it is in the file, so that offsets
stay valid. Only the names and checksums of the parts are changed, and no copy of the file is made.

This could be used to hide a picture if a viewer used a part that was renamed here. So each repair comes with
a reason if that is possible: then what was decoded is hashed, but the file is undecoded. There is no reason
for parts that say nothing about pixels (texts, times, private chunks), and for those too short for any viewer
to read them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import cast

from hashscan.hashing.avif_items import Patch, Repair, avif_repairs, boxes_of
from hashscan.hashing.embedded.directories import MemoryFile
from hashscan.hashing.pread import PatchedFile, PictureFile, PreadFile
from hashscan.model import Reason

_PARTS_MAX, _PATCHES_MAX, _JUNK_MAX = 1 << 14, 1 << 12, 1 << 16
_READ_MAX = 256 << 20
"""Maximum bytes of a PNG's chunks for which a checksum is computed."""


def patched(file: PreadFile | MemoryFile, patches: list[Patch]) -> PreadFile | MemoryFile:
    """Return the file with changes."""
    if isinstance(file, PreadFile):
        return PatchedFile(file, patches)
    content = bytearray(file.getbuffer())
    for offset, new in patches:
        content[offset : offset + len(new)] = new
    return MemoryFile(bytes(content))


def repaired_files(file: PreadFile, pillow_format: str) -> Iterator[tuple[PreadFile, Reason | None]]:
    """Yield a file without its faults, each with the reason of its repair; see `repairs_of`.

    An AVIF in a form that libavif does not read is rewritten in memory.

    Raises:
        Exception: EOFError or NotImplementedError of `ordinary_avif`.
    """
    content = ordinary_avif(file) if pillow_format == "AVIF" else None
    if content is not None:
        # A MemoryFile has all methods that are needed for this format.
        yield cast("PreadFile", MemoryFile(content)), None
        return
    for patches, reason in repairs_of(file, pillow_format):
        yield PatchedFile(file, patches), reason


def repairs_of(file: PictureFile, pillow_format: str) -> Iterator[Repair]:
    """Yield repairs of a file, the next to be tried if the file can't be decoded with the one before.

    Args:
        file: the file.
        pillow_format: its format.
    """
    file.seek(0)
    match pillow_format:
        case "JPEG":
            found = [_jpeg(file)]
        case "PNG":
            found = [_png(file)]
        case "AVIF":
            found = avif_repairs(file)
        case _:
            return
    for patches, reason in found:
        if 0 < len(patches) <= _PATCHES_MAX:
            yield patches, reason


# JPEG (ITU-T T.81, annex B)

_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length. Before the scan, libjpeg skips them, and the bytes between markers."""
_COMMENT, _SCAN = 0xFE, 0xDA
_SHORTEST = {0xE0: (b"JFIF", 14), 0xE2: (b"ICC_PROFILE\0", 15), 0xED: (b"", 1 << 16), 0xEE: (b"Adobe", 12)}
"""By marker, how a segment starts that Pillow reads, and the length from which libjpeg reads it, too. Nothing
in Photoshop's segment (0xED) is shown."""


def _jpeg(file: PictureFile) -> Repair:
    """Make markers without a length fill bytes, and short segments comments, up to the first scan."""
    patches: list[Patch] = []
    file.seek(2)
    for _ in range(_PARTS_MAX):
        start = file.tell()
        junk = 0
        while (byte := file.read(1)) != b"\xff":
            junk += 1
            if not byte or junk > _JUNK_MAX:
                return patches, None
        while (byte := file.read(1)) == b"\xff":
            pass
        here = file.tell() - 1
        if not byte or byte[0] == _SCAN:
            break
        if byte == b"\0" or byte[0] in _ALONE:
            patches.append((start, b"\xff" * (here + 1 - start)))
            continue
        if junk:
            patches.append((start, b"\xff" * junk))
        length = int.from_bytes(file.read(2))
        begins, shortest = _SHORTEST.get(byte[0], (b"", 0))
        if length - 2 < shortest and file.read(len(begins)) == begins:
            patches.append((here, bytes((_COMMENT,))))
        file.seek(here + 1 + max(2, length))
    return patches, None


# PNG (third edition, section 5)

_SKIPPED = b"zZZz"
"""Chunk type that no program knows: ancillary, public, not safe to copy."""
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_SHORTEST_CHUNKS = {b"cHRM": 32, b"cICP": 4, b"gAMA": 4, b"iCCP": 4, b"sRGB": 1}
"""Chunks that change how pixels look, with the length from which a viewer may read them."""
_SHORTEST_FRAMES = {b"acTL": 8, b"fcTL": 26, b"fdAT": 4}
_ANIMATED = frozenset(_SHORTEST_FRAMES)
_DRAWN = frozenset({*_SHORTEST_CHUNKS, *_ANIMATED, b"eXIf", b"tRNS"})
_TRANSPARENCY = {0: 2, 2: 6}
"""Bytes of one colour by colour type; a palette has one byte for each colour."""


def _png(file: PictureFile) -> Repair:
    """Rename the chunks that say nothing about pixels, and those that are malformed."""
    patches: list[Patch] = []
    reason = None
    animated = pixels = False
    place, read = 8, 0
    file.seek(25)
    shortest = {**_SHORTEST_CHUNKS, b"tRNS": _TRANSPARENCY.get(file.read(1)[0] if file.size > 25 else 0, 1)}
    for _ in range(_PARTS_MAX):
        file.seek(place)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4]), head[4:]
        if len(head) < 8 or kind == b"IEND":
            break
        after = place + 12 + length
        if after > file.size:
            if pixels and not animated and kind not in _CRITICAL:
                # All pixels are in front of it.
                patches.append((place, b"\0\0\0\0IEND"))
            break
        pixels |= kind == b"IDAT"
        animated |= kind == b"acTL" and not pixels
        if kind not in _CRITICAL:
            read += length
            if read > _READ_MAX:
                return [], None
            content = file.read(length)
            intact = zlib.crc32(kind + content).to_bytes(4) == file.read(4)
            used = kind in _DRAWN and not (kind in _ANIMATED and not animated)
            used &= length >= shortest.get(kind, 0)
            found, lost = _chunk_patches(place, kind, content, used=used, intact=intact)
            patches += found
            if lost:
                reason = Reason.BROKEN
        place = after
    return patches, reason


def _chunk_patches(
    place: int, kind: bytes, content: bytes, *, used: bool, intact: bool
) -> tuple[list[Patch], bool]:
    """Return changes to an ancillary chunk at an offset, and True if they drop what a viewer may use.

    Args:
        used: viewers show the picture differently without it.
        intact: its checksum is right.
    """
    after = place + 8 + len(content)
    if used and kind not in _ANIMATED and (mended := _mended(kind, content)) is not None:
        # Pictures are hashed with and without their colour information.
        changed = [(place + 8, mended)] if mended != content else []
        check = [] if intact and not changed else [(after, zlib.crc32(kind + mended).to_bytes(4))]
        return changed + check, False
    if used and intact and len(content) >= _SHORTEST_FRAMES.get(kind, len(content) + 1):
        return [], False
    renamed = [(place + 4, _SKIPPED), (after, zlib.crc32(_SKIPPED + content).to_bytes(4))]
    # The frames of an animation are read apart from this; a profile without a name is none.
    return renamed, used and kind not in _ANIMATED and b"\0" in content


def _mended(kind: bytes, content: bytes) -> bytes | None:
    """Return the content of a chunk about colours as Pillow accepts it; None if this isn't possible."""
    if kind != b"iCCP":
        return content
    name, separator, rest = content.partition(b"\0")
    # The method of compression is 0 in any case.
    return name + b"\0\0" + rest[1:] if name and separator and rest else None


# AVIF with a minimized image box (`mini`), which browsers show and the libavif that Pillow contains does not
# read. It is rewritten as an ordinary file; the pictures themselves are copied as they are. Source: ISO/IEC
# 23008-12:2022, amendment 2, and libavif's reader.

_FILE_MAX = 64 << 20
"""Maximum length in bytes of a file that is rewritten in memory."""
_TOP_BOXES_MAX = 100
_TURNS = {5: b"\1", 3: b"\2", 6: b"\3", 7: b"\3", 8: b"\1"}
"""By EXIF orientation, the quarter turns against the clock."""
_MIRRORS = {2: b"\1", 4: b"\0", 5: b"\0", 7: b"\0"}
"""By EXIF orientation, the axis: 0 turns it upside down, 1 swaps left and right."""
_ESSENTIAL = frozenset({b"av1C", b"imir", b"irot"})
_OPACITY = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


class _Bits:
    """Numbers in a box, the highest bit of each byte first."""

    def __init__(self, content: bytes) -> None:
        self._content, self.place = content, 0

    def read(self, count: int) -> int:
        """Return the next number.

        Raises:
            EOFError: it isn't there.
        """
        start, end = self.place // 8, (self.place + count + 7) // 8
        if end > len(self._content):
            raise EOFError
        value = int.from_bytes(self._content[start:end]) >> (8 * end - self.place - count)
        self.place += count
        return value & ((1 << count) - 1)


def ordinary_avif(file: PictureFile) -> bytes | None:
    """Return the file without a minimized box; None if it has none.

    Raises:
        EOFError: the file is truncated.
        NotImplementedError: it has parts that are not read here.
    """
    for kind, first, after in islice(boxes_of(file, 0, file.size), _TOP_BOXES_MAX):
        if kind == b"mini":
            if after - first > _FILE_MAX:
                raise NotImplementedError
            file.seek(first)
            return _rewritten(file.read(after - first))
    return None


def _rewritten(box: bytes) -> bytes:
    bits = _Bits(box)
    version, coded_by, is_float, full, alpha, coded, hdr, icc, exif, xmp = map(
        bits.read, (2, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    )
    if version or coded_by or is_float or hdr:
        raise NotImplementedError
    sampling, orientation = bits.read(2), bits.read(3) + 1
    side = 15 if bits.read(1) else 7
    size = bits.read(side) + 1, bits.read(side) + 1
    # The place of colour values between those of brightness; the coded picture says the same.
    bits.read({1: 2, 2: 1}.get(sampling, 0))
    depth = bits.read(3) + 9 if bits.read(1) else 8
    multiplied = bits.read(1) if alpha else 0
    primaries, transfer = (2, 2) if icc else (1, 13)
    matrix = 6 if sampling else 2
    if coded:
        primaries, transfer = bits.read(8), bits.read(8)
        matrix = bits.read(8) if sampling else 2
    meta = (20 if bits.read(1) else 10) if icc or exif or xmp else 0
    config, data = 12 if bits.read(1) else 3, 28 if bits.read(1) else 15
    profile_size = bits.read(meta) + 1 if icc else 0
    config_size, size_of_main = bits.read(config), bits.read(data) + 1
    size_of_alpha = bits.read(data) if alpha else 0
    alpha_config_size = bits.read(config) if size_of_alpha else 0
    for _ in range(exif + xmp):
        bits.read(meta)
    place = (bits.place + 7) // 8
    pieces = list[bytes]()
    for length in (config_size, alpha_config_size, profile_size, size_of_alpha, size_of_main):
        pieces.append(box[place : place + length])
        if len(pieces[-1]) < length:
            raise EOFError
        place += length
    main_config, alpha_config, profile, alpha_data, main_data = pieces
    planes = 1 if not sampling else 3
    properties = [
        _full(b"ispe", struct.pack(">II", *size)),
        _full(b"pixi", bytes((planes, *[depth] * planes))),
        _box(b"av1C", main_config),
        _box(b"colr", b"nclx", struct.pack(">3HB", primaries, transfer, matrix, full << 7)),
        *([_box(b"colr", b"prof", profile)] if profile else []),
        *([_box(b"irot", _TURNS[orientation])] if orientation in _TURNS else []),
        *([_box(b"imir", _MIRRORS[orientation])] if orientation in _MIRRORS else []),
    ]
    uses = [list(range(1, len(properties) + 1))]
    data_of = [main_data]
    references = b""
    if size_of_alpha:
        first = len(properties) + 1
        properties += [
            _full(b"pixi", bytes((1, depth))),
            _box(b"av1C", alpha_config or main_config),
            _full(b"auxC", _OPACITY),
        ]
        turned = [number for number in uses[0] if properties[number - 1][4:8] in {b"irot", b"imir"}]
        uses.append([1, first, first + 1, first + 2, *turned])
        data_of.append(alpha_data)
        references = _box(b"auxl", struct.pack(">3H", 2, 1, 1))
        references += _box(b"prem", struct.pack(">3H", 1, 1, 2)) if multiplied else b""
    return _assembled(properties, uses, data_of, references)


def _assembled(properties: list[bytes], uses: list[list[int]], data: list[bytes], references: bytes) -> bytes:
    """Return a file of one picture, and perhaps its opacity."""
    head = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    items = range(1, len(data) + 1)
    essential = [0x80 if content[4:8] in _ESSENTIAL else 0 for content in properties]
    associations = b"".join(
        struct.pack(">HB", number, len(used)) + bytes(essential[each - 1] | each for each in used)
        for number, used in zip(items, uses, strict=True)
    )
    entries = [_full(b"infe", struct.pack(">HH4sB", number, 0, b"av01", 0), version=2) for number in items]

    def meta(start: int) -> bytes:
        located = b""
        for number, content in zip(items, data, strict=True):
            located += struct.pack(">HHHII", number, 0, 1, start, len(content))
            start += len(content)
        return _full(
            b"meta",
            _full(b"hdlr", bytes(4), b"pict", bytes(13)),
            _full(b"pitm", struct.pack(">H", 1)),
            _full(b"iloc", b"\x44\0", struct.pack(">H", len(data)), located),
            _full(b"iinf", struct.pack(">H", len(data)), *entries),
            _full(b"iref", references) if references else b"",
            _box(
                b"iprp",
                _box(b"ipco", *properties),
                _full(b"ipma", struct.pack(">I", len(data)), associations),
            ),
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + _box(b"mdat", *data)


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, *content: bytes, version: int = 0) -> bytes:
    return _box(kind, bytes((version, 0, 0, 0)), *content)
