"""TIFFs of floating-point samples, and of strips or tiles of WebP or JPEG 2000."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.formats import sniff
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import Frame, Limits, UndecodedError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.hashing.drawings import scene

PICTURE = Image.fromarray(scene(240, 320)).convert("RGB")
COLOURS = np.asarray(PICTURE)
LUMA = np.asarray(PICTURE.convert("L")).astype(int)


def decoded(content: bytes, **limits: Any) -> tuple[list[Frame], Reason | None]:
    known = sniff(content)
    assert known is not None
    frames: list[Frame] = []
    try:
        frames.extend(decode_frames(PreadFile(content), known, Limits(**limits)))
    except UndecodedError as error:
        # Those before the error count; `extend` has kept them.
        return frames, error.reason
    return frames, None


def tiff(pieces: list[bytes], tags: dict[int, tuple[int, ...]], *, tiled: bool = False) -> bytes:
    """Return a TIFF of these strips or tiles, whose tags have values of 32 bits."""
    places, lengths = (324, 325) if tiled else (273, 279)
    size = {256: (320,), 257: (240,), 277: (3,), 262: (2,), 258: (8, 8, 8)}
    values = {**size, **tags, places: (0,) * len(pieces), lengths: tuple(map(len, pieces))}
    start = 8 + 2 + 12 * len(values) + 4
    further = sum(4 * len(value) for value in values.values() if len(value) > 1)
    offsets, at = [], start + further
    for piece in pieces:
        offsets.append(at)
        at += len(piece)
    values[places] = tuple(offsets)
    directory, more = struct.pack("<H", len(values)), b""
    for tag, value in sorted(values.items()):
        data = struct.pack(f"<{len(value)}I", *value)
        directory += struct.pack("<HHI", tag, 4, len(value))
        directory += data if len(data) == 4 else struct.pack("<I", start + len(more))
        more += b"" if len(data) == 4 else data
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + more + b"".join(pieces)


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    held = BytesIO()
    image.save(held, name, **options)
    return held.getvalue()


def distance(frame: Frame) -> float:
    return float(np.abs(frame.luma.astype(int) - LUMA).mean())


@pytest.mark.parametrize(
    ("name", "compression", "options"),
    [
        ("WEBP", 50001, {"lossless": True}),
        ("JPEG2000", 34712, {"no_jp2": True}),
        ("JPEG2000", 33005, {"no_jp2": True}),
    ],
)
def test_strips_and_tiles(name: str, compression: int, options: dict[str, Any]) -> None:
    strips = [saved(PICTURE.crop((0, top, 320, top + 80)), name, **options) for top in (0, 80, 160)]
    frames, reason = decoded(tiff(strips, {259: (compression,), 278: (80,)}))
    assert (len(frames), reason) == (1, None)
    assert distance(frames[0]) < 1
    tiles = [
        saved(PICTURE.crop((left, top, left + 128, top + 128)), name, **options)
        for top in (0, 128)
        for left in (0, 128, 256)
    ]
    frames, reason = decoded(tiff(tiles, {259: (compression,), 322: (128,), 323: (128,)}, tiled=True))
    assert (len(frames), reason) == (1, None)
    assert distance(frames[0]) < 1


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize(("bits", "scale"), [(16, 1.0), (32, 1.0), (32, 255.0), (64, 65535.0)])
def test_floating_point_colours(bits: int, scale: float, compression: int) -> None:
    """They are hashed in two ways, and undecoded, since programs map them to the screen in others, too."""
    samples = (COLOURS / 255.0 * scale).astype(f"<f{bits // 8}").tobytes()
    tags = {259: (compression,), 339: (3, 3, 3), 258: (bits,) * 3, 278: (240,)}
    frames, reason = decoded(tiff([samples if compression == 1 else zlib.compress(samples)], tags))
    assert (len(frames), reason) == (2, Reason.UNSUPPORTED)
    assert distance(frames[0]) < 2
    assert frames[1].luma.mean() > frames[0].luma.mean() + 10


def test_what_is_hidden_in_one_is_undecoded() -> None:
    strip = saved(PICTURE, "WEBP", lossless=True)
    plain = {259: (50001,), 278: (240,)}
    assert decoded(tiff([strip], plain))[1] is None
    for content in (
        # A further picture, a colour profile, a part that is missing, one that is too large.
        tiff([strip], {**plain, 330: (8,)}),
        tiff([strip], {**plain, 34675: (0,)}),
        tiff([strip], {**plain, 278: (120,)}),
        tiff([strip], {**plain, 257: (120,)}),
        tiff([strip], plain)[:-50],
        tiff([saved(PICTURE.convert("RGBA").crop((0, 0, 300, 240)), "WEBP")], plain),
    ):
        assert decoded(content)[1] is not None


def test_limits() -> None:
    strip = saved(PICTURE, "WEBP", lossless=True)
    content = tiff([strip], {259: (50001,), 256: (60_000,), 257: (60_000,), 278: (60_000,)})
    assert decoded(content, max_pixels=10**6) == ([], Reason.TOO_LARGE)
    bomb = zlib.compress(bytes(10**8))
    tags = {259: (8,), 339: (3, 3, 3), 258: (32, 32, 32), 278: (240,)}
    assert decoded(tiff([bomb], tags))[1] is Reason.UNSUPPORTED
