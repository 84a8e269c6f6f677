"""Icons and cursors: PNG and bitmap entries of all depths, several in a file; and faults in the directory."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.hashing.browser.files.bitmaps import greys
from tests.hashing.browser.files.drawing import drawn, grey, rgb, translucent
from tests.pictures import encoded

ICON, CURSOR = 1, 2
SIDE = 64


class Entry(NamedTuple):
    """An entry of the directory, and its picture."""

    content: bytes
    width: int = SIDE
    height: int = SIDE
    colours: int = 0
    planes: int = 1
    depth: int = 32
    length: int | None = None
    offset: int | None = None


def icon(
    entries: Sequence[Entry], kind: int = ICON, count: int | None = None, *, reserved: int = 0, gap: int = 0
) -> bytes:
    """Return a file of entries."""
    out = struct.pack("<3H", reserved, kind, len(entries) if count is None else count)
    place = 6 + 16 * len(entries) + gap
    for entry in entries:
        out += struct.pack(
            "<4B2H2I",
            *(entry.width % 256, entry.height % 256, entry.colours, 0, entry.planes, entry.depth),
            len(entry.content) if entry.length is None else entry.length,
            place if entry.offset is None else entry.offset,
        )
        place += len(entry.content)
    return out + bytes(gap) + b"".join(entry.content for entry in entries)


def png(seed: int = 1, width: int = SIDE, height: int = SIDE, mode: str = "RGBA") -> bytes:
    """Return a picture for an entry."""
    image = (
        translucent(seed, width=width, height=height)
        if mode == "RGBA"
        else drawn(seed, width, height).convert(mode)
    )
    return encoded(image, "PNG")


def dib(
    depth: int = 32,
    seed: int = 1,
    side: int = SIDE,
    *,
    mask: str = "ellipse",
    header: int = 40,
    doubled: bool = True,
    compression: int = 0,
    alpha: str = "shades",
) -> bytes:
    """Return a picture for an entry, as a bitmap without its first header."""
    plane = grey(seed, side, side)
    table = b""
    if depth <= 8:
        indices = (
            np.asarray(Image.fromarray(plane).convert("1")).astype(np.uint8)
            if depth == 1
            else plane >> (8 - depth)
        )
        bits = indices[:, :, None] >> np.arange(depth - 1, -1, -1) & 1
        lines = [np.packbits(row.ravel()).tobytes() for row in bits.astype(np.uint8)]
        table = greys(1 << depth, 3 if header == 12 else 4)
    elif depth == 16:
        red, green, blue = (rgb(seed, side, side)[:, :, n].astype(np.uint16) >> 3 for n in range(3))
        lines = [row.tobytes() for row in (red << 10 | green << 5 | blue).astype("<u2")]
    else:
        colours = rgb(seed, side, side)[:, :, ::-1]
        if depth == 32:
            shades = {
                "shades": grey(7, side, side),
                "none": np.zeros((side, side), np.uint8),
                "full": np.full((side, side), 255, np.uint8),
            }
            colours = np.dstack((colours, shades[alpha]))
        lines = [row.tobytes() for row in colours]
    rows = b"".join(line + bytes(-len(line) % 4) for line in lines[::-1])
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    hidden = {"ellipse": x * x + y * y > 0.8, "none": x > 9, "all": x < 9, "picture": plane < 128}[mask]
    packed = np.packbits(hidden[::-1], axis=1)
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 4)))
    height = 2 * side if doubled else side
    if header == 12:
        about = struct.pack("<IHHHH", 12, side, height, 1, depth)
    else:
        about = struct.pack("<IiiHHI", header, side, height, 1, depth, compression).ljust(header, b"\0")
    return about + table + rows + (packed.tobytes() if doubled else b"")


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    for kind, suffix in ((ICON, "ico"), (CURSOR, "cur")):
        for mode in ("RGBA", "RGB", "L", "P", "1"):
            yield f"png-{mode}.{suffix}".lower(), icon([Entry(png(mode=mode))], kind)
        for depth in (1, 4, 8, 16, 24, 32):
            for mask in ("ellipse", "none", "all", "picture"):
                yield (
                    f"bitmap-{depth}-{mask}.{suffix}",
                    icon([Entry(dib(depth, mask=mask), depth=depth)], kind),
                )
        for alpha in ("none", "full"):
            yield f"bitmap-32-alpha-{alpha}.{suffix}", icon([Entry(dib(32, alpha=alpha))], kind)
        for header in (12, 16, 64, 108, 124):
            yield f"bitmap-header-{header}.{suffix}", icon([Entry(dib(24, header=header), depth=24)], kind)
        png_then = [Entry(png(1)), Entry(dib(32, 2))]
        yield f"png-then-bitmap.{suffix}", icon(png_then, kind)
        yield f"bitmap-then-png.{suffix}", icon(png_then[::-1], kind)
        sides = (16, 24, 32, 48, 64, 128)
        several = [Entry(png(n, side, side), side, side) for n, side in enumerate(sides, 1)]
        yield f"several-sizes.{suffix}", icon(several, kind)
        yield f"several-sizes-down.{suffix}", icon(several[::-1], kind)
        depths = [Entry(dib(depth, n), depth=depth) for n, depth in enumerate((1, 4, 8, 24, 32), 1)]
        yield f"several-depths.{suffix}", icon(depths, kind)
        yield f"several-depths-down.{suffix}", icon(depths[::-1], kind)
        yield f"sixteen.{suffix}", icon([Entry(dib(32, n)) for n in range(1, 17)], kind)
        yield (
            f"seventeen-best-last.{suffix}",
            icon([*(Entry(dib(24, n, 32), 32, 32) for n in range(1, 17)), Entry(png(20))], kind),
        )
    yield "size-256.ico", icon([Entry(png(1, 256, 256), 256, 256)])
    yield "size-of-png-other.ico", icon([Entry(png(1, 100, 80), 64, 64)])
    yield "size-of-bitmap-other.ico", icon([Entry(dib(32, 1, 48), 64, 64)])
    yield "sizes-stated-zero.ico", icon([Entry(png(1, 64, 64), 0, 0), Entry(png(2, 128, 128), 128, 128)])
    yield "depths-stated-otherwise.ico", icon([Entry(dib(24, 1), depth=32), Entry(dib(32, 2), depth=8)])
    yield "depths-not-stated.ico", icon([Entry(dib(24, 1), depth=0), Entry(dib(32, 2), depth=0)])
    yield "colours-not-depth.ico", icon([Entry(dib(4, 1), colours=16, depth=0), Entry(dib(32, 2), depth=0)])
    yield "depths-equal.ico", icon([Entry(dib(32, 1)), Entry(dib(32, 2))])
    yield "pngs-equal.ico", icon([Entry(png(1)), Entry(png(2))])
    yield "overlapping.ico", icon([Entry(png(1)), Entry(b"", offset=6 + 32, length=len(png(1)))])
    for name, options in {
        "length-0": {"length": 0},
        "offset-0": {"offset": 0},
        "both-0": {"offset": 0, "length": 0},
        "length-short": {"length": 40},
        "length-long": {"length": 10**6},
        "offset-beyond": {"offset": 10**6},
        "offset-in-directory": {"offset": 8},
        "offset-huge": {"offset": 0xFFFFFFF0},
    }.items():
        for what, content in (("png", png(1)), ("bitmap", dib(32, 1))):
            faulty = Entry(content)._replace(**options)
            yield f"first-{name}-{what}.ico", icon([faulty])
            yield f"first-{name}-{what}-then.ico", icon([faulty, Entry(png(2, 48, 48), 48, 48)])
            yield f"second-{name}-{what}.ico", icon([Entry(png(2, 48, 48), 48, 48), faulty])
    whole = png(1)
    for count in (0, 2, 9, 1000, 65535):
        yield f"count-{count}.ico", icon([Entry(whole)], count=count)
        yield f"count-{count}-gap.ico", icon([Entry(whole)], count=count, gap=300)
    for kind in (0, 3, 256):
        yield f"kind-{kind}.ico", icon([Entry(whole)], kind)
    yield "reserved.ico", icon([Entry(whole)], reserved=1)
    for part in (40, 80, 97):
        for what, content in (("png", whole), ("bitmap", dib(32, 1)), ("bitmap-24", dib(24, 1))):
            yield f"cut-{part}-{what}.ico", icon([Entry(content)])[: 22 + len(content) * part // 100]
    yield "not-doubled.ico", icon([Entry(dib(32, doubled=False))])
    yield "not-doubled-24.ico", icon([Entry(dib(24, doubled=False), depth=24)])
    no_mask = dib(24)[: -SIDE * SIDE // 8]
    yield "no-mask.ico", icon([Entry(no_mask, depth=24)])
    yield "no-mask-32.ico", icon([Entry(dib(32)[: -SIDE * SIDE // 8])])
    yield "jpeg-inside.ico", icon([Entry(encoded(drawn(1, SIDE, SIDE), "JPEG"))])
    yield "bmp-inside.ico", icon([Entry(encoded(drawn(1, SIDE, SIDE), "BMP"))])
    yield "fields.ico", icon([Entry(dib(32, compression=3))])
    spoilt = bytearray(whole)
    spoilt[-8] ^= 1
    yield "png-crc.ico", icon([Entry(bytes(spoilt))])
    yield "png-crc-then.ico", icon([Entry(bytes(spoilt)), Entry(png(2, 48, 48), 48, 48)])
    yield (
        "animated-png.ico",
        icon([Entry(encoded(drawn(1, 64, 64), "PNG", save_all=True, append_images=[drawn(2, 64, 64)]))]),
    )
