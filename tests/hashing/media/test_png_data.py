"""Rows of a PNG that no viewer shows don't hide those in front of them."""

from __future__ import annotations

import gc
import random
import struct
import tracemalloc
import weakref
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing import pillow_internals
from hashscan.hashing.embedded.directories import MemoryFile
from hashscan.hashing.media import png_data
from hashscan.hashing.media.png_data import end_of_data
from hashscan.model import Reason
from tests.format_cases import icon
from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, grey
from tests.hashing.browser.files.png import (
    END,
    GREY,
    PALETTE,
    RGB,
    RGBA,
    SIGNATURE,
    chunk,
    faulty,
    header,
    in_pieces,
    palette,
    samples,
    scanlines,
)
from tests.hashing.media.test_repairs import THRESHOLD, decode, distance, pdq

LISTED, OTHER = 1, 5
SIZE = WIDTH, 3 * HEIGHT
WANTED = [pdq(grey(LISTED))]
KINDS = [(RGB, 8), (RGB, 16), (RGBA, 8), (RGBA, 16), (GREY, 8), (GREY, 16), (PALETTE, 8)]


def flushed(raw: bytes) -> bytes:
    """Compressed data that do not end, though all of these bytes can be inflated."""
    compressor = zlib.compressobj()
    return compressor.compress(raw) + compressor.flush(zlib.Z_FULL_FLUSH)


def rows(kind: int, depth: int) -> list[bytes]:
    """The rows of a listed picture, and more of another one."""
    values = np.vstack([samples(kind, depth, LISTED), *[samples(kind, depth, OTHER)] * 2])
    raw = scanlines(values, depth)
    each = len(raw) // len(values)
    return [raw[start : start + each] for start in range(0, len(raw), each)]


def png(kind: int, depth: int, *chunks: bytes, interlaced: int = 0, size: tuple[int, int] = SIZE) -> bytes:
    colours = [chunk(b"PLTE", palette(8)), chunk(b"tRNS", bytes(range(256)))] if kind == PALETTE else []
    return b"".join((SIGNATURE, header(kind, depth, interlaced, size), *colours, *chunks, END))


def is_found(content: bytes) -> bool:
    return distance(decode(content)[0], WANTED) <= THRESHOLD


@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_rows_behind_a_wrong_checksum_hide_nothing(kind: int, depth: int) -> None:
    lines = rows(kind, depth)
    # libpng shows the chunk with the wrong checksum, Chromium less than that by 32 KiB.
    for shown in (HEIGHT, HEIGHT + (1 << 15) // len(lines[0]) + 1):
        compressor = zlib.compressobj()
        front = compressor.compress(b"".join(lines[:shown])) + compressor.flush(zlib.Z_FULL_FLUSH)
        rest = compressor.compress(b"".join(lines[shown:])) + compressor.flush()
        content = png(kind, depth, chunk(b"IDAT", front, crc=1), chunk(b"IDAT", rest))
        frames, reason = decode(content)
        assert reason is None
        assert distance(frames, WANTED) <= THRESHOLD
        assert distance(frames[:1], WANTED) > THRESHOLD


@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_rows_behind_a_fault_hide_nothing(kind: int, depth: int) -> None:
    lines = rows(kind, depth)
    fault = b"\7" * 99
    for shown in (HEIGHT, HEIGHT + (1 << 15) // len(lines[0]) + 1):
        data = flushed(b"".join(lines[:shown]))
        # Of the block with the fault, Chromium loses all rows.
        for chunks in ([data, fault], [data + fault]) if shown == HEIGHT else ([data, fault],):
            frames, reason = decode(png(kind, depth, *(chunk(b"IDAT", each) for each in chunks)))
            assert reason is None
            assert distance(frames, WANTED) <= THRESHOLD


def test_a_fault_that_pillow_does_not_reach_hides_nothing() -> None:
    lines = rows(RGB, 8)[: HEIGHT + (1 << 15) // (3 * WIDTH + 1) + 1]
    size = WIDTH, len(lines)
    data = flushed(b"".join(lines))
    # All rows are there, but Chromium shows those that it has not kept back.
    assert is_found(png(RGB, 8, chunk(b"IDAT", data), chunk(b"IDAT", b"\7"), size=size))
    assert is_found(png(RGB, 8, chunk(b"IDAT", data, crc=1), size=size))
    assert is_found(png(RGB, 8, chunk(b"IDAT", data), chunk(b"IDAT", b"", crc=1), size=size))
    # Pillow reads 64 KiB at a time.
    padded = data + b"\0\0\0\xff\xff" * 14000
    assert is_found(png(RGB, 8, chunk(b"IDAT", padded + b"\7" * 99), size=size))
    assert is_found(png(RGB, 8, chunk(b"IDAT", data + padded[-9000:] + b"\7" * 99), size=size))


def test_the_last_pass_hides_nothing_if_it_is_not_shown() -> None:
    listed, other = samples(RGB, 8, LISTED), samples(RGB, 8, OTHER)
    mixed = listed.copy()
    mixed[1::2] = 255 - other[1::2]
    raw = scanlines(mixed, 8, interlaced=True)
    last = HEIGHT // 2 * (3 * WIDTH + 1)
    compressor = zlib.compressobj()
    front = compressor.compress(raw[:-last]) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = compressor.compress(raw[-last:]) + compressor.flush()
    size = WIDTH, HEIGHT
    for data in (
        chunk(b"IDAT", front, crc=1) + chunk(b"IDAT", rest),
        chunk(b"IDAT", front + b"\7" * 99),
    ):
        frames, reason = decode(png(RGB, 8, data, interlaced=1, size=size))
        assert reason is None
        assert distance(frames, WANTED) <= THRESHOLD


def test_an_icon_hides_nothing_behind_a_wrong_checksum() -> None:
    lines = rows(RGB, 8)
    front = flushed(b"".join(lines[:HEIGHT]))
    picture = png(RGB, 8, chunk(b"IDAT", front, crc=1), chunk(b"IDAT", zlib.compress(b"".join(lines))[2:]))
    assert is_found(icon(1, (160, 32, picture)))


def test_an_animation_with_a_wrong_checksum_is_not_clean() -> None:
    lines = rows(RGB, 8)
    data = zlib.compress(b"".join(lines))
    control = struct.pack(">5I2H2B", 0, *SIZE, 0, 0, 10, 100, 0, 0)
    second = struct.pack(">5I2H2B", 1, *SIZE, 0, 0, 10, 100, 0, 0)
    animated = (
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        chunk(b"fcTL", control),
        in_pieces(data, 1000, 20),
        chunk(b"fcTL", second),
        chunk(b"fdAT", struct.pack(">I", 2) + data),
    )
    assert decode(png(RGB, 8, *animated))[1] is Reason.BROKEN


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_an_intact_picture_is_hashed_once(kind: int, depth: int, interlaced: bool) -> None:
    raw = scanlines(samples(kind, depth), depth, interlaced=interlaced)
    data = zlib.compress(raw)
    size = WIDTH, HEIGHT
    content = png(kind, depth, in_pieces(data, 500), interlaced=interlaced, size=size)
    assert end_of_data(MemoryFile(content)).complete
    number = len(decode(content)[0])
    # Faults behind the rows change nothing.
    for more in (data[:-4] + b"abcd", zlib.compress(raw + raw), zlib.compress(raw + b"\0")[:-6] + b"\7" * 9):
        other = png(kind, depth, chunk(b"IDAT", more), interlaced=interlaced, size=size)
        assert end_of_data(MemoryFile(other)).complete
        frames, reason = decode(other)
        assert reason is None
        assert distance(frames, WANTED) <= THRESHOLD
    assert len(decode(png(kind, depth, chunk(b"IDAT", data), interlaced=interlaced, size=size))[0]) == number


def test_faults_at_any_place_are_found_where_zlib_finds_them() -> None:
    raw = b"".join(rows(RGB, 8))
    data = zlib.compress(raw)
    for seed in range(40):
        chance = random.Random(seed)
        spoilt = bytearray(data)
        spoilt[chance.randrange(2, len(data))] ^= 1 << chance.randrange(8)
        content = png(RGB, 8, in_pieces(bytes(spoilt), chance.choice((100, 5000, 1 << 20))))
        end = end_of_data(MemoryFile(content))
        before = b"".join(
            piece for _, piece, _ in png_data._pieces(MemoryFile(content[: end.places[0]]), 1 << 20)
        )
        inflater = zlib.decompressobj()
        found = len(inflater.decompress(before))
        assert found >= len(raw) - 1 if end.complete else found <= len(raw)


def test_data_that_inflate_to_much_more_take_little_memory() -> None:
    # The rows are few, so that inflating ends with them.
    few = png(GREY, 8, chunk(b"IDAT", zlib.compress(bytes(64_000_000), 1)), size=(10, 10))
    # The rows are many.
    compressor = zlib.compressobj(1)
    many = compressor.compress(bytes(32_000_000)) + compressor.flush(zlib.Z_FULL_FLUSH) + b"\7" * 9
    files = [MemoryFile(few), MemoryFile(png(GREY, 8, chunk(b"IDAT", many), size=(20000, 20000)))]
    tracemalloc.start()
    try:
        found = [end_of_data(file) for file in files]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [end.complete for end in found] == [True, False]
    assert peak < 8 << 20


def test_a_picture_is_freed_at_once() -> None:
    content = png(RGB, 8, chunk(b"IDAT", zlib.compress(b"".join(rows(RGB, 8)))))
    for end in (len(content), len(content) // 2):
        image = Image.open(MemoryFile(content[:end]))
        gone = weakref.ref(image)
        places = pillow_internals.note_end(image)
        with suppress(OSError):
            image.load()
        assert places == ([end - len(END) - 4] if end == len(content) else [])
        gc.disable()
        try:
            del image
            assert gone() is None
        finally:
            gc.enable()


def test_a_picture_over_the_limit_is_not_inflated() -> None:
    content = png(GREY, 8, chunk(b"IDAT", faulty(bytes(1000)), crc=1), size=(60000, 60000))
    assert decode(content) == ([], Reason.TOO_LARGE)


def test_a_cut_file_ends_where_it_is_cut() -> None:
    content = png(RGB, 8, in_pieces(zlib.compress(b"".join(rows(RGB, 8))), 1000))
    for length in range(len(content) // 2, len(content) // 2 + 1100, 37):
        assert end_of_data(MemoryFile(content[:length])) == ((), False)
