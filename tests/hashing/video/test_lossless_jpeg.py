"""Lossless JPEG and JPEG-LS are hashed as the PNG with the same pixels is, by FFmpeg."""

from __future__ import annotations

import importlib
from fractions import Fraction

import numpy as np
import pytest

from hashscan.hashing.container_kinds import LOSSLESS_DECODER
from hashscan.hashing.formats import sniff
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import Frame, Limits, UndecodedError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.pictures import counts_faults, encoded, scene

av = pytest.importorskip("av")
importlib.import_module(LOSSLESS_DECODER)

PICTURE = scene(1, 161, 120)
COLOURS = np.asarray(PICTURE)
GREY = np.asarray(PICTURE.convert("L"))
DEEP = GREY.astype(np.uint16) * 257 ^ 0x55


def by_ffmpeg(codec: str, samples: np.ndarray, pixels: str) -> bytes:
    context, frame = av.CodecContext.create(codec, "w"), av.VideoFrame.from_ndarray(samples, format=pixels)
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixels
    context.time_base, context.thread_count = Fraction(1, 25), 1
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def lossless(samples: np.ndarray, bits: int) -> bytes:
    """Return a grey JPEG of any depth, each sample predicted by the one to its left (ITU-T T.81, H)."""
    height, width = samples.shape
    table = bytes([0, *(0 for _ in range(4)), 17, *(0 for _ in range(11)), *range(17)])
    frame = bytes([bits, *height.to_bytes(2), *width.to_bytes(2), 1, 1, 0x11, 0])
    data, values = [], samples.astype(int)
    for row in range(height):
        before = 1 << (bits - 1) if row == 0 else values[row - 1, 0]
        for value in values[row]:
            difference, before = int(value - before), value
            size = abs(difference).bit_length()
            low = difference if difference >= 0 else difference + (1 << size) - 1
            data.append(f"{size:05b}" + (f"{low:0{size}b}" if size else ""))
    text = "".join(data)
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\0")
    parts = ((0xC4, table), (0xC3, frame), (0xDA, bytes([1, 1, 0, 1, 0, 0])))
    segments = b"".join(bytes([0xFF, m]) + (len(p) + 2).to_bytes(2) + p for m, p in parts)
    return b"\xff\xd8" + segments + coded + b"\xff\xd9"


def as_png(samples: np.ndarray) -> bytes:
    from PIL import Image

    return encoded(Image.fromarray(samples), "PNG")


def decode(content: bytes, **limits: int) -> tuple[list[Frame], Reason | None]:
    found = sniff(content)
    assert found is not None
    frames: list[Frame] = []
    try:
        with PreadFile(content) as file:
            frames.extend(frame for frame in decode_frames(file, found, Limits(**limits)))
    except UndecodedError as error:
        return frames, error.reason
    return frames, None


SAMPLES = {
    "JPEG-LS": (by_ffmpeg("jpegls", COLOURS, "rgb24"), COLOURS),
    "JPEG-LS, grey": (by_ffmpeg("jpegls", GREY, "gray"), GREY),
    "JPEG-LS, 16 bits": (by_ffmpeg("jpegls", DEEP, "gray16le"), DEEP),
    "lossless": (by_ffmpeg("ljpeg", COLOURS[..., ::-1].copy(), "bgr24"), COLOURS),
    "lossless, grey": (lossless(GREY, 8), GREY),
    "lossless, 6 bits": (lossless(GREY >> 2, 6), GREY >> 2 << 2),
    "lossless, 10 bits": (lossless(DEEP >> 6, 10), DEEP >> 6 << 6),
    "lossless, 12 bits": (lossless(DEEP >> 4, 12), DEEP >> 4 << 4),
    "lossless, 16 bits": (lossless(DEEP, 16), DEEP),
}


@counts_faults
@pytest.mark.parametrize("name", SAMPLES)
def test_it_is_hashed_as_a_png_is(name: str) -> None:
    content, samples = SAMPLES[name]
    frames, reason = decode(content)
    expected, _ = decode(as_png(samples))
    assert reason is None
    assert len(frames) == len(expected)
    assert all(np.array_equal(one.luma, other.luma) for one, other in zip(frames, expected, strict=True))


@counts_faults
@pytest.mark.parametrize("name", ["JPEG-LS", "lossless"])
def test_faults_leave_it_undecoded(name: str) -> None:
    content, _ = SAMPLES[name]
    for faulty in (content[: len(content) // 2], content[: len(content) // 2] + b"\xff\xd9"):
        assert decode(faulty)[1] is not None
    assert decode(content, max_pixels=1000) == ([], Reason.TOO_LARGE)


def test_orientation_and_previews_are_read() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    content = SAMPLES["JPEG-LS"][0]
    frames, reason = decode(content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + content[2:])
    assert (frames[0].orientation, reason) == (6, None)
