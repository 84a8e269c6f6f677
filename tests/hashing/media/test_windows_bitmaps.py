"""Windows bitmaps that Pillow doesn't read, and the same brightness as Pillow's where it does."""

from __future__ import annotations

import os
import struct
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashscan.hashing.formats import sniff
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import Frame, Limits, UndecodedError
from hashscan.hashing.media.windows_bitmaps import bitmap_luma, bitmap_size
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.variants import LOOKS
from hashscan.model import Reason
from tests.hashing.browser.files.drawing import grey
from tests.hashing.browser.files.icons import Entry, dib, icon
from tests.hashing.drawings import clouds, scene, tiles

COLOURS = np.dstack([draw(50, 70) for draw in (clouds, scene, tiles)])
LUMA = np.asarray(Image.fromarray(COLOURS).convert("L"))


def held(content: bytes) -> PreadFile:
    descriptor = os.memfd_create("bitmap")
    os.pwrite(descriptor, content, 0)
    return PreadFile(descriptor)


def bitmap(
    rows: list[bytes],
    bits: int,
    *,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
    colours: int = 0,
    downwards: bool = False,
) -> bytes:
    """A file from rows from top to bottom."""
    behind = b"".join(struct.pack("<I", mask) for mask in masks) + palette
    padded = [row + bytes(-len(row) % 4) for row in rows]
    pixels = b"".join(padded if downwards else padded[::-1])
    height = -len(rows) if downwards else len(rows)
    start = 54 + len(behind)
    head = struct.pack("<2sI4xI", b"BM", start + len(pixels), start)
    info = struct.pack("<IiiHHIIiiII", 40, 70, height, 1, bits, compression, 0, 0, 0, colours, 0)
    return head + info + behind + pixels


def packed(masks: tuple[int, ...], kind: str) -> list[bytes]:
    """The colours as values with these masks."""
    values = np.zeros(COLOURS.shape[:2], np.uint64)
    for channel, mask in enumerate(masks[:3]):
        largest = mask // (mask & -mask)
        values |= np.rint(COLOURS[:, :, channel] * (largest / 255)).astype(np.uint64) * np.uint64(
            mask & -mask
        )
    return [row.tobytes() for row in values.astype(kind)]


def decoded(content: bytes, **limits: int) -> tuple[list[Frame], Reason | None]:
    known = sniff(content)
    assert known is not None
    frames: list[Frame] = []
    try:
        for frame in decode_frames(held(content), known, Limits(**limits)):
            frames.append(frame)  # noqa: PERF402 - those before an error count
    except UndecodedError as error:
        return frames, error.reason
    return frames, None


MASKED = [
    ((0xC000, 0x3800, 0x7800 >> 4), 16, 3, 40),
    ((0x3FF00000, 0xFFC00, 0x3FF), 32, 3, 1),
    ((0xFF0000, 0xFF00, 0xFF, 0xFF000000), 32, 6, 1),
    ((0xFF, 0xFF00, 0xFF0000), 32, 3, 1),
]


@pytest.mark.parametrize(("masks", "bits", "compression", "tolerance"), MASKED)
@pytest.mark.parametrize("downwards", [False, True])
def test_any_colour_masks(
    masks: tuple[int, ...], bits: int, compression: int, tolerance: int, downwards: bool
) -> None:
    rows = packed(masks, "<u2" if bits == 16 else "<u4")
    content = bitmap(rows, bits, compression=compression, masks=masks, downwards=downwards)
    (frame,), reason = decoded(content)
    assert (frame.width, frame.height, reason) == (70, 50, None)
    assert np.abs(frame.luma.astype(int) - LUMA).max() <= tolerance


def test_two_bits_a_pixel() -> None:
    indices = LUMA // 64
    quads = np.pad(indices, ((0, 0), (0, 2))).reshape(50, -1, 4)
    rows = [bytes(row @ np.array([64, 16, 4, 1], np.uint8)) for row in quads]
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in (32, 96, 160, 224))
    (frame,), reason = decoded(bitmap(rows, 2, palette=palette))
    assert reason is None
    assert (frame.luma == indices * 64 + 32).all()


def test_a_palette_of_more_colours_than_there_are_indices() -> None:
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256)) + bytes(4 * 44)
    content = bitmap([row.tobytes() for row in LUMA], 8, palette=palette, colours=300)
    (frame,), reason = decoded(content)
    assert reason is None
    assert (frame.luma == LUMA).all()


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_the_same_as_pillow(mode: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    file = BytesIO()
    image.save(file, "BMP")
    expected = np.asarray(Image.open(BytesIO(file.getvalue())).convert("RGB").convert("L"))
    assert bitmap_size(held(file.getvalue())) == (70, 50)
    assert np.abs(bitmap_luma(held(file.getvalue())).astype(int) - expected).max() <= 1


def test_rows_that_are_missing_are_reported() -> None:
    masks = MASKED[1][0]
    content = bitmap(packed(masks, "<u4"), 32, compression=3, masks=masks)
    (frame, *views), reason = decoded(content[: -20 * 70 * 4])
    assert reason is None
    over_white = next(view.luma for view in views if LOOKS[view.look] == "over white")
    assert over_white[:20].min() == 255
    assert np.abs(frame.luma[20:].astype(int) - LUMA[20:]).max() <= 1
    assert not frame.luma[:20].any()


def test_limits_hold_here_too() -> None:
    masks = MASKED[1][0]
    content = bitmap(packed(masks, "<u4"), 32, compression=3, masks=masks)
    assert decoded(content, max_pixels=70 * 50 // 5)[1] is None
    assert decoded(content, max_pixels=70 * 50 // 5 - 1)[0] == []
    # A header that claims more than the file could hold, even at one bit a pixel.
    large = content[:18] + struct.pack("<ii", 10_000, 10_000) + content[26:]
    assert decoded(large) == ([], Reason.UNSUPPORTED)


@given(st.integers(0, 60), st.binary(min_size=1, max_size=8))
@settings(deadline=None)
def test_spoilt_headers_give_a_picture_or_a_reason(place: int, data: bytes) -> None:
    masks = MASKED[1][0]
    content = bitmap(packed(masks, "<u4"), 32, compression=3, masks=masks)
    content = content[:place] + data + content[place + len(data) :]
    if sniff(content) is None:
        return
    frames, reason = decoded(content, max_pixels=100_000)
    assert frames or reason is not None
    assert all(frame.luma.shape == (frame.height, frame.width) for frame in frames)


def test_the_mask_of_an_icon_counts_where_its_opacity_is_zero_everywhere() -> None:
    frames, reason = decoded(icon([Entry(dib(32, alpha="none", mask="ellipse"))]))
    assert reason is None
    (over_black,) = [frame.luma for frame in frames if LOOKS[frame.look] == "over black"]
    plane = grey(1, 64, 64)
    assert np.abs(over_black[20:44, 20:44].astype(int) - plane[20:44, 20:44]).max() <= 1
    assert over_black[:4, :4].max() == 0
