"""The brightness of frames in all layouts of pixels."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.video.luma import luma_of
from tests.hashing.video.drawn import nearest, read, scenes, video
from tests.pictures import scene

FORMATS = [
    *("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv410p", "yuv411p", "yuva420p", "nv12", "nv21", "nv24"),
    *("yuv420p9le", "yuv420p10le", "yuv444p12le", "yuv422p16le", "yuv420p10be", "p010le", "p016le", "p210le"),
    *(
        "gray",
        "gray10le",
        "gray16be",
        "ya8",
        "yuyv422",
        "uyvy422",
        "rgb24",
        "bgr0",
        "gbrp",
        "gbrp10le",
    ),
    *("rgb48le", "monow", "y210le", "rgb565le"),
]


@pytest.mark.parametrize("name", FORMATS)
def test_brightness_is_that_of_the_picture(name: str) -> None:
    picture = scene(3, 70, 50)
    frame = av.VideoFrame.from_image(picture).reformat(format=name)
    luma = luma_of(frame)
    expected = np.asarray(picture.convert("L")).astype(int)
    assert luma.shape == expected.shape
    assert luma.dtype == np.uint8
    if name != "monow":
        assert abs(luma - expected).mean() < 5


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
def test_levels_are_those_that_the_stream_names(full_range: bool, pixels: str) -> None:
    bars = Image.fromarray(np.repeat(np.linspace(0, 255, 64).astype(np.uint8), 64).reshape(64, 64))
    frame = av.VideoFrame.from_image(bars.convert("RGB"))
    frame = frame.reformat(format=pixels, dst_color_range=2 if full_range else 1)
    luma = luma_of(frame)
    assert luma.min() <= 2
    assert luma.max() >= 253


def test_a_stream_of_full_range() -> None:
    content = video(scenes([2]), codec="ffv1", full_range=True)
    (frame,), _ = read(content)
    assert nearest(frame, scene(2, 160, 120), plain=True) <= 8


@pytest.mark.parametrize("pixels", ["bgr24", "gray"])
def test_lines_from_the_last_to_the_first(pixels: str) -> None:
    content = video(scenes([2]), form="avi", codec="rawvideo", pixels=pixels)
    found, end = read(content)
    assert end.fault is None
    assert nearest(found[0], scene(2, 160, 120), plain=True) <= 8
