"""Harmless pictures in files with faults or unusual headers that browsers overlook, drawn by code.

    python -m tests.format_cases FOLDER

writes each as a file. Every one shows `scene(1)`, if anything; `DECOY` is a picture that is stored in a file
but not shown by browsers.
"""

from __future__ import annotations

import base64
import functools
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pictures import encoded, scene

PNG = b"\x89PNG\r\n\x1a\n"
SHOWN, DECOY = 1, 2
"""Seeds of the picture that is shown, and of one that is not."""


# ISO base media files


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


@functools.cache
def avif(seed: int = SHOWN) -> bytes:
    return encoded(scene(seed), "AVIF", quality=80, max_threads=1)


@functools.cache
def translucent_avif() -> bytes:
    image = scene(SHOWN).convert("RGBA")
    alpha = np.full((240, 320), 255, np.uint8)
    alpha[:8, :8] = 200
    image.putalpha(Image.fromarray(alpha))
    return encoded(image, "AVIF", quality=80, max_threads=1)


def moved(content: bytes, by: int) -> bytes:
    """Add a number to the offsets of an AVIF's items (`iloc` of version 0, 4-byte offsets)."""
    place = content.index(b"iloc") + 8
    assert content[place : place + 2] == b"\x44\0"
    (count,) = struct.unpack_from(">H", content, place + 2)
    found = bytearray(content)
    place += 4
    for _ in range(count):
        (extents,) = struct.unpack_from(">H", found, place + 4)
        place += 6
        for _ in range(extents):
            struct.pack_into(">I", found, place, struct.unpack_from(">I", found, place)[0] + by)
            place += 8
    return bytes(found)


def with_type(content: bytes, file_type: bytes) -> bytes:
    """Replace an AVIF's first box."""
    length = int.from_bytes(content[:4])
    return file_type + moved(content, len(file_type) - length)[length:]


def brands(major: bytes, *others: bytes) -> bytes:
    return box(b"ftyp", major + bytes(4) + b"".join(others))


def mini_avif() -> bytes:
    """A minimized image box (ISO/IEC 23008-12, 3rd edition, annex Q) for an opaque 4:2:0 AVIF."""
    content = avif()
    place = content.index(b"av1C")
    config = content[place + 4 : place - 4 + int.from_bytes(content[place - 4 : place])]
    data = content[content.index(b"mdat") + 4 :]
    fields = [(0, 2), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (1, 2), (0, 3)]
    fields += [(0, 1), (319, 15), (239, 15), (0, 1), (0, 1), (0, 1), (0, 1), (1, 1), (len(config), 3)]
    fields += [(len(data) - 1, 28)]
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    head = int(bits, 2).to_bytes(len(bits) // 8)
    return box(b"ftyp", b"mif3avif") + box(b"mini", head + config + data)


def with_property_twice(content: bytes) -> bytes:
    """An AVIF with a second, equal `ipma` box."""
    place = content.index(b"ipma") - 4
    length = int.from_bytes(content[place : place + 4])
    repeated = content[place : place + length]
    found = bytearray(content[: place + length] + repeated + content[place + length :])
    for kind in (b"meta", b"iprp"):
        at = found.index(kind) - 4
        struct.pack_into(">I", found, at, struct.unpack_from(">I", found, at)[0] + length)
    return moved(bytes(found), length)


def without_alpha_size() -> bytes:
    """An AVIF whose alpha item has no size (`ispe`): its association is replaced by that of `pixi`."""
    found = bytearray(translucent_avif())
    place = found.index(b"ipma") + 8
    (items,) = struct.unpack_from(">I", found, place)
    place += 4
    for _ in range(items):
        (item,) = struct.unpack_from(">H", found, place)
        count = found[place + 2]
        if item == 2:
            indices = found[place + 3 : place + 3 + count]
            found[place + 3] = indices[1]
        place += 3 + count
    return bytes(found)


def with_invalid_exif() -> bytes:
    """An AVIF whose Exif item has no TIFF header."""
    exif = Image.Exif()
    exif[0x010E] = "a description"
    content = encoded(scene(SHOWN), "AVIF", quality=80, max_threads=1, exif=exif)
    place = max(content.find(b"MM\0*"), content.find(b"II*\0"))
    return content[:place] + b"junk" + content[place + 4 :]


def _iso() -> Iterator[tuple[str, bytes]]:
    content = avif()
    for major in (b"miaf", b"isom", b"mp42", b"qt  ", b"jpeg", b"MA1B", b"heic", bytes(4)):
        name = major.decode().strip().strip("\0") or "zeros"
        yield f"1 avif major {name}", with_type(content, brands(major, b"mif1", b"avif", b"miaf"))
    yield (
        "1 avif 64-bit length",
        with_type(
            content,
            struct.pack(">I4sQ", 1, b"ftyp", 32) + b"avif" + bytes(4) + b"mif1avif",
        ),
    )
    yield (
        "1 avif 64-bit length isom",
        with_type(
            content,
            struct.pack(">I4sQ", 1, b"ftyp", 32) + b"isom" + bytes(4) + b"mif1avif",
        ),
    )
    for end in (64, 128, 256):
        late = (b"iso4",) * ((end - 20) // 4) + (b"avif",)
        yield f"1 avif brand ends at {end}", with_type(content, brands(b"isom", *late))
        yield f"1 avif mif1, brand ends at {end}", with_type(content, brands(b"mif1", *late))
    yield "1 avif brand ends at 260", with_type(content, brands(b"isom", *(b"iso4",) * 60, b"avif"))
    yield "1 avif major heic, late", with_type(content, brands(b"heic", *(b"iso4",) * 30, b"avif"))
    yield "1 avif mif1 alone", with_type(content, brands(b"mif1", b"mif1", b"miaf"))
    yield "1 avif mini", mini_avif()
    yield "3 avif plain", content
    yield "3 avif invalid Exif", with_invalid_exif()
    yield "3 avif two ipma", with_property_twice(content)
    yield "3 avif alpha plain", translucent_avif()
    yield "3 avif alpha without ispe", without_alpha_size()


# Bitmaps


def bitmap(
    header: int, bits: int, compression: int = 0, data: bytes | None = None, height: int = 240
) -> bytes:
    """A bitmap with a header of any size; paletted ones are grey with 16 or 256 levels."""
    grey = np.asarray(scene(SHOWN).convert("L"))[::-1]
    if data is None:
        if bits == 24:
            data = np.repeat(grey[:, :, None], 3, 2).tobytes()
        elif bits == 8:
            data = grey.tobytes()
        else:
            data = (grey[:, ::2] & 0xF0 | grey[:, 1::2] >> 4).tobytes()
    fields = struct.pack(
        "<IiiHHIIiiII", header, 320, height, 1, bits, compression, len(data), 2835, 2835, 0, 0
    )
    if header == 12:
        fields = struct.pack("<IHHHH", 12, 320, 240, 1, bits)
    colours = {8: range(256), 4: range(0, 256, 17)}.get(bits, ())
    pad = b"" if header == 12 else b"\0"
    palette = b"".join(bytes((c, c, c)) + pad for c in colours)
    start = 14 + header + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    return head + fields[:header].ljust(header, b"\0") + palette + data


def run_lengths(bits: int, *, quirk: str = "") -> bytes:
    """The picture's rows run-length coded, with one of several faults."""
    grey = np.asarray(scene(SHOWN).convert("L"))[::-1]
    grey = grey // 16 * 17 if bits == 4 else grey // 8 * 8
    out = bytearray()
    for number, row in enumerate(grey):
        values = row >> 4 if bits == 4 else row
        changes = np.flatnonzero(np.diff(values)) + 1
        starts = [0, *changes.tolist()]
        ends = [*changes.tolist(), 320]
        for start, end in zip(starts, ends, strict=True):
            value = int(values[start])
            byte = value << 4 | value if bits == 4 else value
            left = end - start
            while left:
                count = min(left, 255)
                out += bytes((count, byte))
                left -= count
        if quirk == "overlong rows":
            out += bytes((90, 0x77))
        if quirk == "delta" and number % 40 == 20:
            out += bytes((0, 0, 0, 2, 0, 1))
            continue
        if quirk == "no line ends":
            continue
        if quirk == "bitmap end early" and number == 150:
            break
        out += b"\0\0"
    out += b"\0\1"
    if quirk == "cut":
        out = out[: len(out) * 3 // 4]
    if quirk == "no bitmap end":
        out = out[:-2]
    if quirk == "absolute":
        out = bytearray()
        for row in grey:
            values = row >> 4 if bits == 4 else row
            for start in range(0, 320, 64):
                piece = values[start : start + 64]
                packed = (piece[::2] << 4 | piece[1::2]).tobytes() if bits == 4 else piece.tobytes()
                out += bytes((0, 64)) + packed
            out += b"\0\0"
        out += b"\0\1"
    if quirk == "absolute beyond the row":
        out = bytearray()
        for row in grey:
            values = np.concatenate((row >> 4 if bits == 4 else row, np.full(64, 7, row.dtype)))
            for start in range(0, 384, 64):
                piece = values[start : start + 64]
                packed = (piece[::2] << 4 | piece[1::2]).tobytes() if bits == 4 else piece.tobytes()
                out += bytes((0, 64)) + packed
            out += b"\0\0"
        out += b"\0\1"
    return bytes(out)


def run_lengths_24() -> bytes:
    """The picture as RLE24 of OS/2: runs of three bytes."""
    grey = np.asarray(scene(SHOWN).convert("L"))[::-1] // 8 * 8
    out = bytearray()
    for row in grey:
        ends = [*(np.flatnonzero(np.diff(row)) + 1).tolist(), 320]
        start = 0
        for end in ends:
            while start < end:
                count = min(end - start, 255)
                out += bytes((count, row[start], row[start], row[start]))
                start += count
        out += b"\0\0"
    return bytes(out + b"\0\1")


QUIRKS = (
    "",
    "overlong rows",
    "delta",
    "no line ends",
    "bitmap end early",
    "cut",
    "no bitmap end",
    "absolute",
    "absolute beyond the row",
)


def _bitmaps() -> Iterator[tuple[str, bytes]]:
    for header in (12, *range(16, 68, 4), 42, 46, 108, 124):
        for bits in (24, 8):
            yield f"1 bmp header {header} depth {bits}", bitmap(header, bits)
    for quirk in QUIRKS:
        for bits in (8, 4):
            data = run_lengths(bits, quirk=quirk)
            yield f"2 bmp rle{bits} {quirk or 'plain'}", bitmap(40, bits, 3 - bits // 4, data)
    yield "3 bmp os2 rle24", bitmap(64, 24, 4, run_lengths_24())
    yield "3 bmp os2 rle24 cut", bitmap(64, 24, 4, run_lengths_24()[:9000])
    yield "3 bmp os2 rle8", bitmap(64, 8, 1, run_lengths(8))
    yield "3 bmp rle8 top-down", bitmap(40, 8, 1, run_lengths(8), height=-240)
    yield "3 bmp rle8 24-byte header", bitmap(24, 8, 1, run_lengths(8))
    yield "3 bmp cut", bitmap(40, 24)[:150_000]


# Icons


def icon(kind: int, *entries: tuple[int, int, bytes], first: bytes = b"") -> bytes:
    """An icon or cursor; each entry has its side (0: 256), depth and content."""
    offset = 6 + 16 * len(entries) + len(first)
    head = [struct.pack("<3H", 0, kind, len(entries) + len(first) // 16), first]
    for side, depth, content in entries:
        head.append(struct.pack("<4B2H2I", side % 256, side % 256, 0, 0, 1, depth, len(content), offset))
        offset += len(content)
    return b"".join((*head, *(content for _, _, content in entries)))


def icon_png(seed: int, side: int = 128) -> bytes:
    return encoded(scene(seed, side, side), "PNG")


def icon_bitmap(seed: int, bits: int, side: int = 128) -> bytes:
    """A bitmap as icons hold it: twice the height, and a mask that shows all of it."""
    picture = scene(seed, side, side)
    if bits == 8:
        grey = np.asarray(picture.convert("L"))[::-1]
        palette = b"".join(bytes((c, c, c, 0)) for c in range(256))
        data = palette + grey.tobytes()
    else:
        pixels = np.asarray(picture)[::-1, :, ::-1]
        alpha = np.full((side, side, bits // 8 - 3), 255, np.uint8)
        data = np.concatenate((pixels, alpha), 2).tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, side, 2 * side, 1, bits, 0, 0, 0, 0, 0, 0)
    return head + data + bytes(side * side // 8)


def _icons() -> Iterator[tuple[str, bytes]]:
    png = icon_png(SHOWN)
    empty = struct.pack("<4B2H2I", 16, 16, 0, 0, 1, 32, 0, 0)
    yield "1 ico first entry empty", icon(1, (128, 32, png), first=empty)
    nowhere = struct.pack("<4B2H2I", 16, 16, 0, 0, 1, 32, 100, 0)
    yield "1 ico first offset 0", icon(1, (128, 32, png), first=nowhere)
    content = bytearray(icon(1, (16, 32, icon_png(3, 16)), (128, 32, png)))
    content[14:18] = bytes(4)
    yield "1 ico first size 0", bytes(content)
    beyond = struct.pack("<4B2H2I", 16, 16, 0, 0, 1, 32, 100, 1 << 30)
    yield "1 ico first beyond the end", icon(1, (128, 32, png), first=beyond)
    broken = png[:8] + b"\xff" * 100
    yield "1 ico first broken", icon(1, (64, 32, broken), (128, 32, png))
    small = tuple((16, 32, icon_png(10 + number, 16)) for number in range(15))
    yield "1 ico the 16th", icon(1, *small, (128, 32, png))
    for order in ("low first", "high first"):
        pair = [(128, 8, icon_bitmap(DECOY, 8)), (128, 32, icon_bitmap(SHOWN, 32))]
        yield f"1 ico equal sizes, {order}", icon(1, *(pair if order == "low first" else pair[::-1]))
    yield "1 cur with png", icon(2, (128, 0, png))
    yield "1 cur with bitmap", icon(2, (128, 0, icon_bitmap(SHOWN, 32)))
    yield "1 cur two pngs", icon(2, (16, 0, icon_png(3, 16)), (128, 0, png))
    yield "1 ico 24 bit", icon(1, (128, 24, icon_bitmap(SHOWN, 24)))
    jpeg = encoded(scene(SHOWN, 128, 128))
    yield "1 ico with jpeg", icon(1, (128, 24, jpeg))


# PNG


def chunk(kind: bytes, content: bytes, *, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4])
        found.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


@functools.cache
def png(seed: int = SHOWN) -> bytes:
    return encoded(scene(seed), "PNG")


def png_with(*extra: bytes, last: bool = False) -> bytes:
    content = png()
    at = len(content) - 12 if last else 33
    return content[:at] + b"".join(extra) + content[at:]


def animated(counts: tuple[bytes, ...], *, default: int = DECOY, first_is_frame: bool = False) -> bytes:
    """An animated PNG: a default picture, then two equal frames; `counts` are the contents of acTL chunks."""
    shown = b"".join(content for kind, content in chunks_of(png()) if kind == b"IDAT")
    still = b"".join(content for kind, content in chunks_of(png(default)) if kind == b"IDAT")
    header = chunks_of(png())[0][1]

    def control(number: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">5I2H2B", number, 320, 240, 0, 0, 500, 100, 0, 0))

    pieces = [PNG, chunk(b"IHDR", header), *(chunk(b"acTL", count) for count in counts)]
    number = 0
    if first_is_frame:
        pieces.append(control(0))
        number = 1
    pieces.append(chunk(b"IDAT", still))
    for _ in range(2):
        pieces += [control(number), chunk(b"fdAT", struct.pack(">I", number + 1) + shown)]
        number += 2
    return b"".join((*pieces, chunk(b"IEND", b"")))


def _png() -> Iterator[tuple[str, bytes]]:
    two = struct.pack(">II", 2, 0)
    three = struct.pack(">II", 3, 0)
    yield "2 apng one acTL", animated((two,))
    yield "2 apng two acTL", animated((two, two))
    yield "2 apng two acTL, first a frame", animated((three, three), first_is_frame=True)
    yield "2 apng acTL of no frames", animated((bytes(8),))
    yield "2 apng acTL of too many frames", animated((b"\xff" * 8,))
    yield "2 apng acTL of no frames, then two", animated((bytes(8), two))
    yield "2 apng short acTL", animated((b"\0\0",))
    yield "3 png empty iCCP", png_with(chunk(b"iCCP", b""))
    yield "3 png iCCP of a name", png_with(chunk(b"iCCP", b"name"))
    yield "3 png iCCP of another method", png_with(chunk(b"iCCP", b"name\0\7" + zlib.compress(b"x")))
    yield "3 png iCCP of zlib junk", png_with(chunk(b"iCCP", b"name\0\0junkjunk"))
    yield "3 png zTXt of another method", png_with(chunk(b"zTXt", b"name\0\7text"))
    yield "3 png bad CRC of tEXt", png_with(chunk(b"tEXt", b"name\0text", crc=1))
    yield "3 png bad CRC of iCCP", png_with(chunk(b"iCCP", b"n\0\0" + zlib.compress(b"x"), crc=1))
    yield "3 png bad CRC of a private chunk", png_with(chunk(b"prVt", b"text", crc=1))
    yield "3 png bad CRC of IHDR", png()[:29] + bytes(4) + png()[33:]
    yield "3 png short gAMA", png_with(chunk(b"gAMA", b"\0"))
    yield "3 png short cHRM", png_with(chunk(b"cHRM", b"\0"))
    yield "3 png empty sRGB", png_with(chunk(b"sRGB", b""))
    yield "3 png short pHYs", png_with(chunk(b"pHYs", b"\0"))
    yield "3 png short tRNS", png_with(chunk(b"tRNS", b"\0"))
    yield "3 png invalid chunk name", png_with(chunk(b"a\xffb\0", b"text"))
    yield "3 png fcTL alone", png_with(chunk(b"fcTL", bytes(26)))
    yield "3 png fdAT before IDAT", png_with(chunk(b"fdAT", bytes(26)))
    yield "3 png short fcTL", png_with(chunk(b"fcTL", bytes(3)))
    yield "3 png short acTL", png_with(chunk(b"acTL", bytes(3)))
    yield "3 png short fdAT after IDAT", png_with(chunk(b"fdAT", b""), last=True)
    yield "3 png fdAT after IDAT", png_with(chunk(b"fdAT", bytes(26)), last=True)
    yield "3 png zTXt of another method after IDAT", png_with(chunk(b"zTXt", b"name\0\7text"), last=True)
    yield (
        "3 png over 64 MB of text",
        png_with(*[chunk(b"tEXt", b"k%d\0" % n + b"t" * (15 << 20)) for n in range(5)]),
    )
    bomb = b"name\0\0" + zlib.compress(bytes(17 << 20))
    yield "3 png a text of 17 MB in zTXt", png_with(chunk(b"zTXt", bomb))
    yield "3 png a chunk beyond the end", png()[:-12] + struct.pack(">I", 1 << 30) + b"tEXt"
    yield "3 png bad CRC of IDAT", png().replace(png()[-16:-12], bytes(4))
    yield "3 png without IEND", png()[:-12]
    content = bytearray(png())
    content[-20] ^= 0xFF
    yield "3 png wrong checksum of zlib", bytes(content)
    idat = chunks_of(png())
    yield (
        "3 png ancillary chunk between IDAT",
        PNG
        + chunk(*idat[0])
        + chunk(b"IDAT", b"".join(c for k, c in idat if k == b"IDAT")[:5000])
        + chunk(b"tEXt", b"a\0b")
        + chunk(b"IDAT", b"".join(c for k, c in idat if k == b"IDAT")[5000:])
        + chunk(b"IEND", b""),
    )


# JPEG


@functools.cache
def jpeg(seed: int = SHOWN) -> bytes:
    return encoded(scene(seed), "JPEG", quality=90)


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(content)) + content


def jpeg_with(extra: bytes, *, instead: bool = False) -> bytes:
    """A JPEG with bytes behind its first marker, in place of the JFIF segment or before it."""
    content = jpeg()
    return content[:2] + extra + content[20 if instead else 2 :]


def _jpeg() -> Iterator[tuple[str, bytes]]:
    for name, part in (
        ("short JFIF", segment(0xE0, b"JFIF\0")),
        ("JFIF of 4 bytes", segment(0xE0, b"JFIF")),
        ("JFIF of 7 bytes", segment(0xE0, b"JFIF\0\1\1")),
        ("short Adobe", segment(0xEE, b"Adobe")),
        ("Adobe of 6 bytes", segment(0xEE, b"Adobe\0")),
        ("short ICC", segment(0xE2, b"ICC_PROFILE\0")),
        ("ICC of 13 bytes", segment(0xE2, b"ICC_PROFILE\0\1")),
        ("ICC of two pieces, one there", segment(0xE2, b"ICC_PROFILE\0\1\2abc")),
        ("FF 01", b"\xff\x01"),
        ("junk after FF 01", b"\xff\x01junk"),
        ("junk", b"junk"),
        ("FF junk", b"\xff\xff\xff\0\1"),
        ("FF 00", b"\xff\0\xff\0"),
        ("a restart marker", b"\xff\xd0"),
        ("short Photoshop", segment(0xED, b"Photoshop 3.0\x008BIM\4\4")),
        ("Photoshop of a short resource", segment(0xED, b"Photoshop 3.0\x008BIM\3\xed\0\0\0\0\0\2ab")),
        ("Photoshop cut", segment(0xED, b"Photoshop 3.0\x008BIM\4")),
        ("short Exif", segment(0xE1, b"Exif\0\0")),
        ("junk Exif", segment(0xE1, b"Exif\0\0junkjunkjunk")),
        ("a reserved marker", segment(0xF0, b"text")),
        ("a marker below C0", segment(0x20, b"text")),
        ("DNL", segment(0xDC, b"\0\xf0")),
        ("DHP", segment(0xDE, b"\x08\0\xf0\1\x40\1\1\x11\0")),
        ("EXP", segment(0xDF, b"\0")),
        ("empty MPF", segment(0xE2, b"MPF\0")),
        ("segment length 0", b"\xff\xfe\0\0"),
    ):
        yield f"3 jpeg {name}", jpeg_with(part, instead=name.startswith("short JFIF"))
    middle = jpeg().index(b"\xff\xc0")
    yield "3 jpeg junk before SOF", jpeg()[:middle] + b"junk" + jpeg()[middle:]
    yield "3 jpeg FF 01 before SOF", jpeg()[:middle] + b"\xff\x01" + jpeg()[middle:]
    scan = jpeg().index(b"\xff\xda")
    yield "3 jpeg junk before SOS", jpeg()[:scan] + b"junk" + jpeg()[scan:]
    yield "3 jpeg bytes after SOI without FF", b"\xff\xd8" + b"\0\0" + jpeg()[2:]
    yield "3 jpeg without EOI", jpeg()[:-2]
    yield "3 jpeg two quantization tables of 16 bit", jpeg_with(segment(0xDB, b"\x12" + bytes(128)))
    yield "3 jpeg short quantization table", jpeg_with(segment(0xDB, b"\3" + bytes(10)))
    yield "3 jpeg empty quantization segment", jpeg_with(segment(0xDB, b""))


# TIFF with previews


def tiff_with_preview(compression: int, preview: bytes = b"") -> bytes:
    """A DNG-like TIFF: a tiny first picture, and a sub-directory with the picture as one JPEG strip."""
    preview = preview or jpeg()
    out = bytearray(b"II*\0" + struct.pack("<I", 8))

    def directory(entries: list[tuple[int, int, int, int]]) -> bytes:
        found = struct.pack("<H", len(entries))
        for tag, kind, count, value in sorted(entries):
            found += struct.pack("<HHII", tag, kind, count, value)
        return found + bytes(4)

    small = np.asarray(scene(DECOY, 64, 48).convert("L")).tobytes()
    first_at = 8
    first_len = 2 + 12 * 10 + 4
    sub_at = first_at + first_len
    sub_len = 2 + 12 * 10 + 4
    small_at = sub_at + sub_len
    preview_at = small_at + len(small)
    first = [
        (0x100, 4, 1, 64),
        (0x101, 4, 1, 48),
        (0x102, 3, 1, 8),
        (0x103, 3, 1, 1),
        (0x106, 3, 1, 1),
        (0x111, 4, 1, small_at),
        (0x115, 3, 1, 1),
        (0x116, 4, 1, 48),
        (0x117, 4, 1, len(small)),
        (0x14A, 4, 1, sub_at),
    ]
    sub = [
        (0xFE, 4, 1, 1),
        (0x100, 4, 1, 320),
        (0x101, 4, 1, 240),
        (0x102, 3, 1, 8),
        (0x103, 3, 1, compression),
        (0x106, 3, 1, 6),
        (0x111, 4, 1, preview_at),
        (0x115, 3, 1, 3),
        (0x116, 4, 1, 240),
        (0x117, 4, 1, len(preview)),
    ]
    out += directory(first) + directory(sub)
    return bytes(out) + small + preview


def _tiff() -> Iterator[tuple[str, bytes]]:
    for compression in (6, 7):
        yield f"2 tiff preview of compression {compression}", tiff_with_preview(compression)


# Texts with pictures in them


def texts() -> Iterator[tuple[str, bytes]]:
    """Pages, drawings and style sheets with the picture in them."""
    data = b"data:image/jpeg;base64," + base64.b64encode(jpeg())
    svg = b"<svg width='320' height='240' xmlns='http://www.w3.org/2000/svg' xmlns:x='http://www.w3.org/1999/xlink'>"
    yield "1 svg", svg + b"<image width='320' height='240' href='" + data + b"'/></svg>"
    yield "1 svg xlink", svg + b"<image width='320' height='240' x:href='" + data + b"'/></svg>"
    yield "1 html", b"<!DOCTYPE html><title>t</title><img src='" + data + b"'>"
    yield "1 css", b"body { background: url(" + data + b") }"


MAKERS: tuple[Callable[[], Iterator[tuple[str, bytes]]], ...] = (
    _iso,
    _bitmaps,
    _icons,
    _png,
    _jpeg,
    _tiff,
    texts,
)


@functools.cache
def cases() -> dict[str, bytes]:
    """All files by name; a name starts with the number of the class that it belongs to."""
    return {name: content for make in MAKERS for name, content in make()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in cases().items():
        (folder / name.replace(" ", "_").replace(",", "")).write_bytes(content)
