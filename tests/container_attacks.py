"""Harmless pictures in files whose structure browsers read otherwise than Pillow, drawn by code."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from tests.viewer_attacks import (
    SHOWN,
    SIZE,
    STORED,
    chunk,
    gif_of_cleared_frame,
    grey,
    png_of_cleared_frame,
    saved,
    with_chunks,
)


def avif(image: Image.Image | None = None) -> bytes:
    """The picture, or another one."""
    image = Image.fromarray(grey(SHOWN)) if image is None else image
    return saved(image.convert("RGB"), "AVIF", quality=90, max_threads=1)


def with_brands(major: bytes, brands: list[bytes]) -> bytes:
    """An AVIF with other brands than usual."""
    content = avif()
    length = int.from_bytes(content[:4])
    body = major + bytes(4) + b"".join(brands)
    head = struct.pack(">I4s", 8 + len(body), b"ftyp") + body
    return head + moved(content[length:], len(head) - length)


def moved(boxes: bytes, by: int) -> bytes:
    """Boxes whose `iloc` says that all items lie farther behind."""
    out = bytearray(boxes)
    place = out.index(b"iloc") + 8
    offset_bytes, length_bytes, base_bytes = out[place] >> 4, out[place] & 15, out[place + 1] >> 4
    assert out[place - 4] == 0  # version
    items, place = int.from_bytes(out[place + 2 : place + 4]), place + 4
    for _ in range(items):
        place += 4 + base_bytes
        extents, place = int.from_bytes(out[place : place + 2]), place + 2
        for _ in range(extents):
            offset = int.from_bytes(out[place : place + offset_bytes]) + by
            out[place : place + offset_bytes] = offset.to_bytes(offset_bytes)
            place += offset_bytes + length_bytes
    return bytes(out)


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        length = int.from_bytes(content[start : start + 4])
        yield content[start + 4 : start + 8], start, start + length
        start += length


def with_aperture() -> bytes:
    """An AVIF of another picture, of which a box `clap` has the upper left quarter shown."""
    noise = np.random.default_rng(1).integers(0, 2, (60, 80), np.uint8) * 255
    image = Image.fromarray(noise).resize((640, 480), Image.Resampling.NEAREST)
    image.paste(Image.fromarray(grey(SHOWN)), (0, 0))
    content = avif(image)
    found = {kind: (start, end) for kind, start, end in _boxes(content, 0, len(content))}
    meta = found[b"meta"]
    found |= {kind: (start, end) for kind, start, end in _boxes(content, meta[0] + 12, meta[1])}
    properties = found[b"iprp"]
    found |= {kind: (start, end) for kind, start, end in _boxes(content, properties[0] + 8, properties[1])}
    (first, middle), (again, end) = found[b"ipco"], found[b"ipma"]
    assert middle == again
    number = 1 + sum(1 for _ in _boxes(content, first + 8, middle))
    aperture = struct.pack(">I4sIIIIiIiI", 40, b"clap", *(320, 1, 240, 1), *(-320, 2, -240, 2))
    container = struct.pack(">I", middle - first + 40) + content[first + 4 : middle] + aperture
    uses = bytearray(content[again:end])
    # Of the first item: how many properties it has, and their numbers, the highest bit for those that count.
    uses[18] += 1
    uses.insert(18 + uses[18], 0x80 | number)
    uses[:4] = len(uses).to_bytes(4)
    out = bytearray(content[:first] + container + uses + content[end:])
    for start in (meta[0], properties[0]):
        out[start : start + 4] = (int.from_bytes(out[start : start + 4]) + 41).to_bytes(4)
    return moved(bytes(out), 41)


def bitmap(header: int) -> bytes:
    """A bitmap with as many bytes of its second header."""
    pixels = np.asarray(Image.fromarray(grey(SHOWN)).convert("RGB"))[::-1, :, ::-1].tobytes()
    about = struct.pack("<IiiHH", header, *SIZE, 1, 24).ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + header + len(pixels), 0, 0, 14 + header) + about + pixels


def icon(entries: list[tuple[int, bytes]], length: int | None = None) -> bytes:
    """An icon of pictures of 192x144 pixels with the depth that is said of each."""
    place = 6 + 16 * len(entries)
    out = struct.pack("<3H", 0, 1, len(entries))
    for depth, content in entries:
        said = len(content) if length is None else length
        out += struct.pack("<4B2H2I", 192, 144, 0, 0, 1, depth, said, place)
        place += len(content)
    return out + b"".join(content for _, content in entries)


def small(seed: int) -> bytes:
    """A picture for an icon."""
    return saved(Image.fromarray(grey(seed)).resize((192, 144)).convert("RGB"), "PNG")


def masked_icon(depth: int = 24, more: int = 0) -> bytes:
    """An icon all black, with the picture in its mask, which isn't where the directory has it."""
    dots = np.asarray(Image.fromarray(grey(SHOWN)).resize((192, 144)).convert("1"))
    mask = np.packbits(dots, axis=1)[::-1].tobytes()
    about = struct.pack("<IiiHH", 40, 192, 2 * 144, 1, 24).ljust(40, b"\0")
    content = about + bytes(3 * 192 * 144) + mask
    return icon([(depth, content)], len(content) + more) + bytes(4 * len(mask))


def over_grey(background: int, low: int, high: int, most: float) -> bytes:
    """The picture between two values over one background, and spoilt by blocks over others."""
    blocks = np.random.default_rng(1).integers(0, 2, (15, 20), np.uint8) * 255
    pattern = np.asarray(Image.fromarray(blocks).resize(SIZE, Image.Resampling.NEAREST))
    through = pattern / 255 * most
    colours = (grey(SHOWN, low, high) - background * through) / (1 - through)
    image = Image.fromarray(np.rint(colours).astype(np.uint8)).convert("RGB")
    image.putalpha(Image.fromarray(np.rint(255 * (1 - through)).astype(np.uint8)))
    return saved(image, "PNG")


def translucent_bitmap(masks: tuple[int, int, int, int], bits: int) -> bytes:
    """A bitmap all black, with the picture in its opacity.

    Args:
        masks: of red, green, blue and opacity.
        bits: of a pixel.
    """
    lowest = masks[3] & -masks[3]
    opacity = (255 - grey(SHOWN).astype(np.uint32)) * (masks[3] // lowest) // 255 * lowest
    pixels = opacity[::-1].astype(f"<u{bits // 8}").tobytes()
    about = struct.pack("<IiiHHII", 56, *SIZE, 1, bits, 3, len(pixels)).ljust(40, b"\0")
    about += struct.pack("<4I", *masks)
    return b"BM" + struct.pack("<IHHI", 70 + len(pixels), 0, 0, 70) + about + pixels


def of_two_kinds() -> bytes:
    """An AVIF animation that says of itself that another picture is to be shown where only one is."""
    frame = Image.fromarray(grey(STORED)).convert("RGB")
    frames = {"save_all": True, "append_images": [frame.rotate(180)], "duration": 100, "max_threads": 1}
    film, picture = saved(frame, "AVIF", **frames), avif()
    start, end = next(
        (start, end) for kind, start, end in _boxes(picture, 0, len(picture)) if kind == b"mdat"
    )
    out = bytearray(film)
    # The one extent of the first item: offset and length, of four bytes each.
    place = out.index(b"iloc") + 18
    out[place : place + 8] = struct.pack(">II", len(film) + 8, end - start - 8)
    return bytes(out) + picture[start:end]


def said_twice() -> bytes:
    """An animation that says twice that it is one."""
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    first, second = (grey(seed) for seed in (STORED, SHOWN))
    pieces = [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, 8, 0, 0, 0, 0)),
        2 * control,
    ]
    for number, plane in enumerate((first, second)):
        pieces.append(chunk(b"fcTL", struct.pack(">5I2H2B", number, *SIZE, 0, 0, 1, 10, 0, 0)))
        data = zlib.compress(np.pad(plane, ((0, 0), (1, 0))).tobytes())
        pieces.append(chunk(b"fdAT", struct.pack(">I", 2) + data) if number else chunk(b"IDAT", data))
    return b"".join((*pieces, chunk(b"IEND", b"")))


ATTACKS: dict[str, Callable[[], bytes]] = {
    "brand.avif": lambda: with_brands(b"isom", [b"avif", b"mif1"]),
    "brand-late.avif": lambda: with_brands(b"isom", [b"br%02d" % n for n in range(20)] + [b"avif"]),
    "aperture.avif": with_aperture,
    "header-16.bmp": lambda: bitmap(16),
    "header-42.bmp": lambda: bitmap(42),
    "header-60.bmp": lambda: bitmap(60),
    "opacity.bmp": lambda: translucent_bitmap((0xFF, 0xFF000000, 0xFF00, 0xFF0000), 32),
    "opacity-16.bmp": lambda: translucent_bitmap((0xF00, 0xF0, 0xF, 0xF000), 16),
    "two-kinds.avif": of_two_kinds,
    "length.ico": lambda: icon([(32, small(SHOWN))], 0),
    "tie.ico": lambda: icon([(8, small(STORED)), (32, small(SHOWN))]),
    "mask-length.ico": lambda: masked_icon(more=192 // 8 * 144),
    "mask-depth.ico": lambda: masked_icon(depth=32),
    "late.png": lambda: with_chunks(png_of_cleared_frame(), chunk(b"prVt", bytes(70_000))),
    "twice.png": said_twice,
    "tail.gif": lambda: gif_of_cleared_frame()[:-1] + b"!\xf9",
    "light-grey.png": lambda: over_grey(230, 150, 230, 0.6),
    "dark-grey.png": lambda: over_grey(34, 40, 140, 0.4),
}
"""By file name. In each Chromium shows the picture of seed `SHOWN`, an icon's made smaller.

Of `two-kinds.avif` viewers do that know no animations.
"""
