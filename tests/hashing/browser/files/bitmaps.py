"""Windows bitmaps: all headers, depths, masks and codings; and faults in sizes and in run-length data."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, drawn, grey, profiles, rgb
from tests.pictures import encoded

RGB, RLE8, RLE4, FIELDS, JPEG, PNG, ALPHA_FIELDS = range(7)
HEADERS = 12, *range(16, 65, 4), 42, 46, 108, 124


def greys(count: int, size: int = 4) -> bytes:
    """Return a table of greys, of 3 or 4 bytes each."""
    return b"".join(bytes((255 * n // max(1, count - 1),) * 3).ljust(size, b"\0") for n in range(count))


def levels(bits: int) -> NDArray[np.uint8]:
    """Return a picture's indices."""
    if bits == 1:
        return np.asarray(Image.fromarray(grey()).convert("1")).astype(np.uint8)
    return grey() >> (8 - bits)


def rows(bits: int) -> list[bytes]:
    """Return a picture's rows from top to bottom, of 1 to 8, 24 or 32 bits a pixel, not padded."""
    if bits <= 8:
        planes = levels(bits)[:, :, None] >> np.arange(bits - 1, -1, -1) & 1
        return [np.packbits(row.ravel()).tobytes() for row in planes.astype(np.uint8)]
    colours = rgb()[:, :, ::-1]
    if bits == 32:
        colours = np.dstack((colours, np.zeros((HEIGHT, WIDTH), np.uint8)))
    return [row.tobytes() for row in colours]


def masked(masks: Sequence[int], bits: int) -> list[bytes]:
    """Return a picture's rows for masks of red, green, blue and perhaps opacity."""
    planes = [*np.moveaxis(rgb(), 2, 0), grey(7)]
    values = np.zeros((HEIGHT, WIDTH), np.uint64)
    for plane, mask in zip(planes, masks, strict=False):
        if mask:
            lowest = mask & -mask
            scaled = np.rint(plane * (mask // lowest / 255)).astype(np.uint64)
            values |= scaled * np.uint64(lowest)
    return [row.tobytes() for row in values.astype(f"<u{bits // 8}")]


def bitmap(
    content: list[bytes] | bytes,
    bits: int,
    *,
    header: int = 40,
    compression: int = RGB,
    behind: bytes = b"",
    downwards: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    planes: int = 1,
    colours: int = 0,
    offset: int | None = None,
    length: int | None = None,
    file_size: int | None = None,
    fields: bytes = b"",
) -> bytes:
    """Return a file.

    Args:
        content: rows from top to bottom, or all data.
        bits: of a pixel.
        header: length of the second header.
        compression: of the constants above.
        behind: masks and table of colours.
        downwards: the first row is the uppermost.
        size: width and height as stated.
        planes: as stated.
        colours: number in the table as stated.
        offset: of the data as stated.
        length: of the data as stated.
        file_size: as stated.
        fields: those of the second header behind the first 40 bytes.
    """
    if isinstance(content, list):
        padded = [row + bytes(-len(row) % 4) for row in content]
        content = b"".join(padded if downwards else padded[::-1])
    width, height = size[0], -size[1] if downwards else size[1]
    if header == 12:
        about = struct.pack("<IHHHH", 12, width, size[1], planes, bits)
    else:
        about = struct.pack(
            "<IiiHHIIiiII",
            *(header, width, height, planes, bits, compression),
            *(len(content) if length is None else length, 2835, 2835, colours, 0),
        )
        about = (about + fields)[:header].ljust(header, b"\0")
    start = 14 + len(about) + len(behind)
    head = struct.pack(
        "<2sIHHI",
        b"BM",
        start + len(content) if file_size is None else file_size,
        0,
        0,
        start if offset is None else offset,
    )
    return head + about + behind + content


def run_length(indices: NDArray[np.uint8], bits: int, how: str) -> list[bytes]:
    """Return coded rows from bottom to top, without their ends, as runs, as they are, or both."""
    out = []
    for row in indices[::-1].tolist():
        line, at = b"", 0
        while at < len(row):
            run = 1
            while at + run < len(row) and row[at + run] == row[at] and run < 255:
                run += 1
            if how == "runs" or (how == "both" and run > 2):
                line += bytes((run, row[at] if bits == 8 else row[at] * 17))
                at += run
                continue
            end = min(len(row), at + 40)
            if end - at < 3:
                line += b"".join(bytes((1, v if bits == 8 else v * 17)) for v in row[at:end])
            else:
                values = bytes(row[at:end])
                if bits == 4:
                    pairs = values + bytes(len(values) % 2)
                    values = bytes(a << 4 | b for a, b in zip(pairs[::2], pairs[1::2], strict=True))
                line += bytes((0, end - at)) + values + bytes(len(values) % 2)
            at = end
        out.append(line)
    return out


END_OF_ROW, END = b"\0\0", b"\0\1"


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    yield from _headers_and_depths()
    yield from _masks()
    yield from _run_lengths()
    yield from _faulty()


def _headers_and_depths() -> Iterator[tuple[str, bytes]]:
    for header in HEADERS:
        yield f"header-{header}.bmp", bitmap(rows(24), 24, header=header)
        table = greys(256, 3 if header == 12 else 4)
        yield f"header-{header}-table.bmp", bitmap(rows(8), 8, header=header, behind=table)
    for header in (12, 16, 40, 64, 108, 124):
        for bits in (1, 2, 4, 8, 24, 32):
            table = greys(1 << bits, 3 if header == 12 else 4) if bits <= 8 else b""
            for downwards in (False, True) if header > 12 else (False,):
                name = f"depth-{header}-{bits}{'-downwards' if downwards else ''}.bmp"
                yield name, bitmap(rows(bits), bits, header=header, behind=table, downwards=downwards)
    yield "depth-16.bmp", bitmap(masked((0x7C00, 0x3E0, 0x1F), 16), 16)
    yield "depth-0.bmp", bitmap(rows(24), 0)
    for width, height in ((2, 1), (161, 119), (400, 16)):
        yield f"size-{width}x{height}.bmp", encoded(drawn(3, width, height), "BMP")
    for kind in (
        0,
        int.from_bytes(b"sRGB", "big"),
        int.from_bytes(b"Win ", "big"),
        int.from_bytes(b"MBED", "big"),
        int.from_bytes(b"LINK", "big"),
    ):
        profile = profiles()["inverting"]
        gammas = struct.pack("<9i3I", *(0x28F5C28, 0x15E353F, 0x1EB851E) * 3, *(0x10000,) * 3)
        fields = (
            bytes(16)
            + struct.pack("<I", kind)
            + gammas
            + struct.pack("<4I", 4, 124 + 3 * WIDTH * HEIGHT, len(profile), 0)
        )
        content = bitmap(rows(24), 24, header=124, fields=fields)
        yield (
            f"colours-{kind:08x}.bmp",
            content + (profile if kind == int.from_bytes(b"MBED", "big") else b""),
        )


_MASKS = {
    "565": (16, 0xF800, 0x7E0, 0x1F),
    "555": (16, 0x7C00, 0x3E0, 0x1F),
    "444": (16, 0xF00, 0xF0, 0xF),
    "4444": (16, 0xF00, 0xF0, 0xF, 0xF000),
    "1555": (16, 0x7C00, 0x3E0, 0x1F, 0x8000),
    "231": (16, 0xC000, 0x3800, 0x400),
    "888": (32, 0xFF0000, 0xFF00, 0xFF),
    "bgr": (32, 0xFF, 0xFF00, 0xFF0000),
    "8888": (32, 0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    "alpha-low": (32, 0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    "101010": (32, 0x3FF00000, 0xFFC00, 0x3FF),
    "2101010": (32, 0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000),
    "one-bit": (32, 0x80, 0x40, 0x20),
    "no-blue": (32, 0xFF0000, 0xFF00, 0),
    "overlapping": (32, 0xFFFF00, 0xFFFF, 0xFF),
    "broken-up": (32, 0xF0F00000, 0xFF00, 0xFF),
    "zero": (32, 0, 0, 0),
}


def _masks() -> Iterator[tuple[str, bytes]]:
    for name, (bits, *masks) in _MASKS.items():
        content = masked(masks, bits)
        four = struct.pack("<4I", *masks, *(0,) * (4 - len(masks)))
        for header in (40, 52, 56, 64, 108, 124):
            inside = header > 40
            if name in {"565", "8888", "2101010"} or header in {40, 108}:
                made = bitmap(
                    content,
                    bits,
                    header=header,
                    compression=FIELDS,
                    fields=four if inside else b"",
                    behind=b"" if inside else four[:12],
                )
                yield f"masks-{name}-{header}.bmp", made
        if len(masks) == 4:
            yield f"masks-{name}-alpha.bmp", bitmap(content, bits, compression=ALPHA_FIELDS, behind=four)
    yield (
        "masks-on-24.bmp",
        bitmap(rows(24), 24, compression=FIELDS, behind=struct.pack("<3I", 0xFF, 0xFF00, 0xFF0000)),
    )
    opaque = masked((0xFF0000, 0xFF00, 0xFF, 0xFF000000), 32)
    yield "fourth-byte.bmp", bitmap(opaque, 32)
    yield "fourth-byte-124.bmp", bitmap(opaque, 32, header=124)


def _run_lengths() -> Iterator[tuple[str, bytes]]:
    # The depth is coarser than it might be, so that there are runs.
    for bits, compression, indices in ((8, RLE8, levels(3) * 32), (4, RLE4, levels(3) * 2)):
        table = greys(1 << bits)
        for how in ("runs", "plain", "both"):
            lines = run_length(indices, bits, how)
            whole = END_OF_ROW.join(lines) + END
            name = f"rle{bits}-{how}"
            yield f"{name}.bmp", bitmap(whole, bits, compression=compression, behind=table)
            yield (
                f"{name}-downwards.bmp",
                bitmap(whole, bits, compression=compression, behind=table, downwards=True),
            )
            yield (
                f"{name}-no-end.bmp",
                bitmap(END_OF_ROW.join(lines), bits, compression=compression, behind=table),
            )
            yield (
                f"{name}-no-row-ends.bmp",
                bitmap(b"".join(lines) + END, bits, compression=compression, behind=table),
            )
            for part in (25, 50, 75, 95):
                cut = whole[: len(whole) * part // 100]
                yield (
                    f"{name}-cut-{part}.bmp",
                    bitmap(cut, bits, compression=compression, behind=table, length=len(whole)),
                )
            early = END_OF_ROW.join(lines[:70]) + END
            yield f"{name}-ends-early.bmp", bitmap(early, bits, compression=compression, behind=table)
        lines = run_length(indices, bits, "both")
        for name, body in {
            "delta": END_OF_ROW.join(lines[:40]) + b"\0\2\x05\x09" + END_OF_ROW.join(lines[50:]) + END,
            "delta-beyond": END_OF_ROW.join(lines[:60]) + b"\0\2\xff\xff" + END_OF_ROW.join(lines[60:]) + END,
            "delta-many": END_OF_ROW.join(b"\0\2\x03\0" + line[2:] for line in lines) + END,
            "row-too-long": END_OF_ROW.join([*lines[:60], b"\xff\x22" + lines[60], *lines[61:]]) + END,
            "rows-too-long": END_OF_ROW.join(line + b"\x09\x22" for line in lines) + END,
            "rows-short": END_OF_ROW.join(line[:-2] for line in run_length(indices, bits, "runs")) + END,
            "too-many-rows": END_OF_ROW.join(lines + lines) + END,
            "empty": END,
            "row-ends": END_OF_ROW * 200 + END,
            "plain-odd": END_OF_ROW.join(lines[:60]) + b"\0\x05\x11\x22" + END_OF_ROW.join(lines[60:]) + END,
            "plain-long": END_OF_ROW.join(lines[:60]) + b"\0\xff" + END_OF_ROW.join(lines[60:]) + END,
            "count-zero": END_OF_ROW.join([b"\0\0" + line for line in lines]) + END,
            "more-behind": END_OF_ROW.join(lines) + END + b"more" * 99,
        }.items():
            yield f"rle{bits}-{name}.bmp", bitmap(body, bits, compression=compression, behind=table)
        whole = END_OF_ROW.join(lines) + END
        for header in (16, 64, 108, 124):
            yield (
                f"rle{bits}-header-{header}.bmp",
                bitmap(whole, bits, header=header, compression=compression, behind=table),
            )
        yield (
            f"rle{bits}-length-zero.bmp",
            bitmap(whole, bits, compression=compression, behind=table, length=0),
        )
        yield (
            f"rle{bits}-short-table.bmp",
            bitmap(
                whole,
                bits,
                compression=compression,
                behind=greys(1 << bits)[: 2 << bits],
                colours=1 << (bits - 1),
            ),
        )
        for number in range(4):
            random = np.random.default_rng(number)
            spoilt = bytearray(whole)
            for place in random.integers(0, len(whole), 3):
                spoilt[place] = random.integers(0, 256)
            yield (
                f"rle{bits}-spoilt-{number}.bmp",
                bitmap(bytes(spoilt), bits, compression=compression, behind=table),
            )
    whole = END_OF_ROW.join(run_length(levels(3) * 2, 4, "both")) + END
    yield "rle4-on-8-bits.bmp", bitmap(whole, 8, compression=RLE4, behind=greys(256))
    yield "rle8-on-4-bits.bmp", bitmap(whole, 4, compression=RLE8, behind=greys(16))
    # OS/2: compression 4 is run-length coding of 24 bits.
    lines = []
    for row in rgb()[::-1, :, ::-1]:
        lines.append(b"".join(b"\1" + pixel.tobytes() for pixel in row))
    coded = END_OF_ROW.join(lines) + END
    for header in (64, 40):
        yield f"rle24-{header}.bmp", bitmap(coded, 24, header=header, compression=JPEG)
        yield (
            f"rle24-{header}-cut.bmp",
            bitmap(coded[: len(coded) // 2], 24, header=header, compression=JPEG, length=len(coded)),
        )
    yield (
        "rle24-spoilt.bmp",
        bitmap(coded[:30000] + b"\0\2\x10\x10" + coded[30000:], 24, header=64, compression=JPEG),
    )
    # OS/2: compression 3 is Huffman coding of 1 bit.
    yield "huffman.bmp", bitmap(b"\0\1" * 500, 1, header=64, compression=FIELDS, behind=greys(2))


def _faulty() -> Iterator[tuple[str, bytes]]:
    for bits in (1, 8, 24, 32):
        table = greys(1 << bits) if bits <= 8 else b""
        content = bitmap(rows(bits), bits, behind=table)
        for part in (40, 70, 98):
            yield f"cut-{part}-{bits}.bmp", content[: len(content) * part // 100]
            upside = bitmap(rows(bits), bits, behind=table, downwards=True)
            yield f"cut-{part}-{bits}-downwards.bmp", upside[: len(content) * part // 100]
    for name, options in {
        "planes-0": {"planes": 0},
        "planes-3": {"planes": 3},
        "file-size-0": {"file_size": 0},
        "file-size-small": {"file_size": 100},
        "file-size-large": {"file_size": 10**8},
        "length-0": {"length": 0},
        "length-small": {"length": 100},
        "length-large": {"length": 10**8},
        "offset-0": {"offset": 0},
        "offset-14": {"offset": 14},
        "offset-beyond": {"offset": 10**6},
        "offset-negative": {"offset": 0xFFFFFFF0},
        "offset-later": {"offset": 54 + 3 * WIDTH * 10},
        "width-negative": {"size": (-WIDTH, HEIGHT)},
        "width-0": {"size": (0, HEIGHT)},
        "height-more": {"size": (WIDTH, 200)},
        "height-huge": {"size": (WIDTH, 30000)},
        "width-huge": {"size": (60000, HEIGHT)},
        "compression-jpeg": {"compression": JPEG},
        "compression-png": {"compression": PNG},
        "compression-9": {"compression": 9},
        "compression-rle8": {"compression": RLE8},
        "colours-stated": {"colours": 256},
    }.items():
        yield f"fault-{name}.bmp", bitmap(rows(24), 24, **options)  # type: ignore[arg-type]
    for name, table, colours in (
        ("none", b"", 0),
        ("half", greys(256)[:512], 128),
        ("half-not-stated", greys(256)[:512], 0),
        ("more", greys(256) + bytes(4 * 44), 300),
        ("huge", greys(256), 10**6),
        ("negative", greys(256), 0xFFFFFFFF),
        ("one", greys(256), 1),
    ):
        yield f"table-{name}.bmp", bitmap(rows(8), 8, behind=table, colours=colours)
    yield "table-gap.bmp", bitmap([b"\0" * 0, *rows(8)], 8, behind=greys(256) + bytes(100))
    yield "table-of-24.bmp", bitmap(rows(24), 24, behind=greys(256), colours=256)
    jpeg, png = encoded(drawn(1), "JPEG"), encoded(drawn(1), "PNG")
    yield "jpeg-inside.bmp", bitmap(jpeg, 0, compression=JPEG)
    yield "png-inside.bmp", bitmap(png, 0, compression=PNG)
    for kind in (b"BA", b"CI", b"CP", b"IC", b"PT"):
        yield f"kind-{kind.decode()}.bmp", kind + bitmap(rows(24), 24)[2:]
    bare = bitmap(rows(24), 24)
    array = b"BA" + struct.pack("<IIHH", 14 + len(bare), 0, 0, 0)
    yield "array.bmp", array + bare[:10] + struct.pack("<I", 54 + 14) + bare[14:]
