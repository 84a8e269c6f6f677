"""GIF files: disposals, tables of colours, transparency, offsets and interlacing; and faults."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, drawn, grey, profiles
from tests.pictures import encoded

GREYS = bytes(value for index in range(16) for value in (17 * index,) * 3)
NEGATIVE = bytes(value for index in range(16) for value in (255 - 17 * index,) * 3)
LOOP = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
TRAILER = b";"


@cache
def _coded(indices: bytes, width: int, height: int) -> bytes:
    """Return the coded data of a picture of 16 colours: the size of codes, and blocks."""
    image = Image.frombytes("P", (width, height), indices)
    image.putpalette(GREYS)
    whole = encoded(image, "GIF", optimize=False, interlace=False)
    start = whole.index(struct.pack("<BHHHH", 0x2C, 0, 0, width, height)) + 9
    flags = whole[start]
    return whole[start + 1 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) : -1]


def indices(seed: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Return a picture in 16 greys, in dots."""
    noise = np.random.default_rng(seed).integers(0, 17, (height, width))
    return ((grey(seed)[:height, :width].astype(int) + noise) // 17).clip(0, 15).astype(np.uint8)


def head(
    size: tuple[int, int] = (WIDTH, HEIGHT),
    table: bytes = GREYS,
    background: int = 0,
    version: bytes = b"GIF89a",
) -> bytes:
    """Return all before the first block."""
    flags = 0xF0 | ((len(table) // 3).bit_length() - 2) if table else 0x70
    return version + struct.pack("<HHBBB", *size, flags, background, 0) + table


def frame(
    seed: int,
    box: tuple[int, int, int, int] = (0, 0, WIDTH, HEIGHT),
    *,
    disposal: int = 0,
    transparent: int | None = None,
    table: bytes = b"",
    interlaced: bool = False,
    control: bool = True,
    delay: int = 10,
) -> bytes:
    """Return a frame of a box (left, top, width, height)."""
    left, top, width, height = box
    values = indices(seed, width, height)
    if interlaced:
        values = np.concatenate([values[start::step] for start, step in ((0, 8), (4, 8), (2, 4), (1, 2))])
    flags = (0x80 | ((len(table) // 3).bit_length() - 2) if table else 0) | interlaced << 6
    out = b""
    if control:
        bits = disposal << 2 | (transparent is not None)
        out = struct.pack("<4BH2B", 0x21, 0xF9, 4, bits, delay, transparent or 0, 0)
    return (
        out
        + struct.pack("<B4HB", 0x2C, left, top, width, height, flags)
        + table
        + _coded(values.tobytes(), width, height)
    )


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    yield from _stills()
    yield from _animations()
    yield from _faulty()


def _stills() -> Iterator[tuple[str, bytes]]:
    for version in (b"GIF87a", b"GIF89a", b"GIF88a", b"GIF99z"):
        yield (
            f"version-{version.decode().lower()}.gif",
            head(version=version) + frame(1, control=False) + TRAILER,
        )
    for interlaced in (False, True):
        for transparent in (None, 0, 15):
            for table in (b"", NEGATIVE):
                words = "interlaced" if interlaced else "rows", "local" if table else "global"
                name = f"still-{words[0]}-{transparent}-{words[1]}"
                made = frame(1, interlaced=interlaced, transparent=transparent, table=table)
                yield f"{name}.gif".lower(), head() + made + TRAILER
    for colours in (2, 4, 64, 256):
        yield f"colours-{colours}.gif", encoded(drawn(1).quantize(colours), "GIF")
    yield "two-tones.gif", encoded(drawn(1).convert("1"), "GIF")
    for width, height in ((2, 1), (161, 119), (400, 16)):
        yield f"size-{width}x{height}.gif", encoded(drawn(3, width, height), "GIF")
    profile = b"!\xff\x0bICCRGBG1012" + b"".join(
        bytes((len(piece),)) + piece
        for piece in (
            profiles()["inverting"][n : n + 255] for n in range(0, len(profiles()["inverting"]), 255)
        )
    )
    yield "profile.gif", head() + profile + b"\0" + frame(1) + TRAILER


def _animations() -> Iterator[tuple[str, bytes]]:
    part, other = (20, 10, 100, 80), (0, 30, 150, 90)
    for disposal in range(8):
        for transparent in (None, 0):
            for table in (b"", NEGATIVE):
                frames = (
                    frame(1, disposal=disposal, transparent=transparent, table=table),
                    frame(2, part, disposal=disposal, transparent=transparent),
                    frame(3, other, disposal=disposal, transparent=transparent, table=table),
                )
                words = "opaque" if transparent is None else "clear", "local" if table else "global"
                name = f"dispose-{disposal}-{words[0]}-{words[1]}"
                yield f"{name}.gif", head() + LOOP + b"".join(frames) + TRAILER
    for background in (0, 9, 200):
        for first in (part, (150, 110, 10, 10)):
            frames = frame(1, first, disposal=2), frame(2, other, disposal=2), frame(3, part)
            yield (
                f"background-{background}-{first[0]}.gif",
                head(background=background) + b"".join(frames) + TRAILER,
            )
    yield "no-loop.gif", head() + frame(1) + frame(2) + TRAILER
    yield "delay-zero.gif", head() + LOOP + frame(1, delay=0) + frame(2, delay=0) + TRAILER
    yield "no-control.gif", head() + frame(1, control=False) + frame(2, control=False) + TRAILER
    yield (
        "interlaced-frames.gif",
        head() + frame(1, interlaced=True) + frame(2, part, interlaced=True) + TRAILER,
    )
    yield "local-only.gif", head(table=b"") + frame(1, table=GREYS) + frame(2, table=NEGATIVE) + TRAILER
    yield (
        "by-pillow.gif",
        encoded(drawn(1), "GIF", save_all=True, append_images=[drawn(2), drawn(3)], duration=100),
    )


def _faulty() -> Iterator[tuple[str, bytes]]:
    content = head() + LOOP + frame(1) + frame(2) + TRAILER
    for part in (30, 45, 60, 80, 97):
        yield f"cut-{part}.gif", content[: len(content) * part // 100]
    yield "no-trailer.gif", content[:-1]
    yield "behind-trailer.gif", content + b"what follows" * 99
    yield "two-pictures.gif", content + content
    still = head() + frame(1)
    for name, more in {
        "zeros": bytes(5),
        "text": b"junk",
        "comment": b"!\xfe\x04text\0",
        "comment-open": b"!\xfe\x04text",
        "comment-empty": b"!\xfe\0",
        "unknown-extension": b"!\x77\x03abc\0",
        "application-short": b"!\xff\x03abc\0",
        "application-long": b"!\xff\x0fNETSCAPE2.0abcd\x03\1\0\0\0",
        "plain-text": b"!\x01\x0c" + bytes(12) + b"\x02ab\0",
        "control-short": b"!\xf9\x02\0\0\0",
        "control-long": b"!\xf9\x08" + bytes(8) + b"\0",
        "control-twice": b"!\xf9\x04\x09\x0a\0\0\0",
        "control-empty": b"!\xf9\0",
    }.items():
        yield f"before-{name}.gif", head() + more + frame(1) + TRAILER
        yield f"between-{name}.gif", still + more + frame(2) + TRAILER
        yield f"behind-{name}.gif", still + more + TRAILER
    for name, size in {
        "zero": (0, 0),
        "small": (80, 60),
        "large": (300, 200),
        "zero-width": (0, HEIGHT),
    }.items():
        yield f"screen-{name}.gif", head(size) + frame(1) + frame(2) + TRAILER
    yield "frame-beyond.gif", head() + frame(1) + frame(2, (100, 60, 100, 80)) + TRAILER
    yield "frame-far.gif", head() + frame(1) + frame(2, (500, 500, 100, 80)) + TRAILER
    yield "first-frame-beyond.gif", head() + frame(1, (100, 60, 100, 80)) + TRAILER
    # A frame of no size.
    empty = struct.pack("<B4HB", 0x2C, 0, 0, 0, 0, 0) + b"\x04\x02\x10\x05\0"
    yield "frame-empty.gif", still + empty + TRAILER
    yield "first-frame-empty.gif", head() + empty + frame(1) + TRAILER
    yield "no-table.gif", head(table=b"") + frame(1) + TRAILER
    yield "no-table-second.gif", head(table=b"") + frame(1, table=GREYS) + frame(2) + TRAILER
    yield "table-short.gif", head(table=GREYS[:24]) + frame(1) + TRAILER
    yield "transparent-beyond.gif", head() + frame(1, transparent=200) + TRAILER
    data = _coded(indices(1).tobytes(), WIDTH, HEIGHT)
    for size in (0, 1, 2, 8, 12, 13, 255):
        yield f"code-size-{size}.gif", (head() + frame(1) + TRAILER).replace(data, bytes((size,)) + data[1:])
    spoilt = bytearray(content)
    for number in range(4):
        place = len(head()) + 900 + 700 * number
        spoilt[place] ^= 0x55
        yield f"spoilt-{number}.gif", bytes(spoilt)
    middle = data[: len(data) // 2 // 256 * 256 + 1]
    yield "data-ends-early.gif", head() + frame(1).replace(data, middle + b"\0") + TRAILER
    yield "data-ends-early-then.gif", head() + frame(1).replace(data, middle + b"\0") + frame(2) + TRAILER
    yield "data-empty.gif", head() + frame(1).replace(data, b"\x04\0") + frame(2) + TRAILER
    yield "data-empty-alone.gif", head() + frame(1).replace(data, b"\x04\0") + TRAILER
    yield "data-longer.gif", head() + frame(1).replace(data, data[:-1] + data[1:]) + TRAILER
