"""Parts of a picture that are even in brightness, and what their colours show."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.kernel import largest_rectangle
from hashscan.hashing.media.low_contrast import coloured_frames, even_boxes
from hashscan.hashing.media.luma_alpha import luma_of
from hashscan.hashing.media.picture_opening import Frame
from hashscan.hashing.variants import CB
from tests.pictures import scene
from tests.viewer_attacks import SHOWN, SIZE, checks, chroma_alone, chroma_of, grey, within_checks


def squares(height: int, width: int) -> np.ndarray:
    return checks(height, width)[:, :, 0].copy()


@pytest.mark.parametrize("noise", [0, 6])
@pytest.mark.parametrize(
    "box", [(0, 240, 0, 200), (51, 200, 37, 303), (110, 240, 0, 320), (3, 237, 121, 317), (0, 240, 0, 320)]
)
def test_an_even_part_is_found_to_the_pixel(box: tuple[int, int, int, int], noise: int) -> None:
    luma = squares(240, 320)
    top, bottom, left, right = box
    part = np.random.default_rng(1).normal(120, noise, (bottom - top, right - left))
    luma[top:bottom, left:right] = part.clip(0, 255).astype(np.uint8)
    assert even_boxes(luma) == [box]


def test_a_part_may_grow_brighter_slowly() -> None:
    luma = squares(240, 320)
    luma[40:200, 40:280] = np.linspace(60, 140, 240).astype(np.uint8)
    assert even_boxes(luma) == [(40, 200, 40, 280)]


def test_several_parts_are_found() -> None:
    luma = squares(240, 640)
    luma[:, :200], luma[:, 240:420], luma[20:220, 470:630] = 100, 130, 160
    assert set(even_boxes(luma)) == {(0, 240, 0, 200), (0, 240, 240, 420), (20, 220, 470, 630)}


def test_what_is_black_or_white_or_small_is_no_part() -> None:
    luma = squares(240, 320)
    luma[:, :150], luma[:, 170:], luma[20:80, 20:80] = 0, 255, 100
    assert even_boxes(luma) == []
    assert even_boxes(np.full((20, 20), 100, np.uint8)) == []


def test_a_photo_has_none() -> None:
    assert even_boxes(luma_of(scene(1))) == []


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "YCbCr"])
def test_colours_of_a_part(mode: str) -> None:
    image = within_checks(chroma_alone()).convert("RGB")
    image = image.quantize(256) if mode == "P" else image.convert(mode)
    frame = Frame(luma_of(image), *image.size)
    planes = [found for found in coloured_frames(frame, image, whole=False, even=True) if found.look == CB]
    assert len(planes) == 1
    shape = tuple(planes[0].luma.shape)
    assert all(abs(side - length) <= 1 for side, length in zip(shape, SIZE[::-1], strict=True))
    shown = np.asarray(Image.fromarray(grey(SHOWN)).resize(shape[::-1]))
    assert np.corrcoef(planes[0].luma.ravel(), shown.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "YCbCr", "CMYK"])
def test_large_parts_are_reduced(mode: str) -> None:
    image = within_checks(chroma_of(SHOWN).resize((1300, 1100)), side=97).convert("RGB")
    image = image.quantize(256) if mode == "P" else image.convert(mode)
    (plane,) = coloured_frames(Frame(luma_of(image), *image.size), image, whole=False, even=True)
    assert plane.blocks_of is not None
    assert plane.luma.shape == tuple(-(-side // 4) for side in plane.blocks_of)
    shown = np.asarray(Image.fromarray(grey(SHOWN)).resize(plane.luma.shape[::-1]))
    assert np.corrcoef(plane.luma.ravel(), shown.ravel())[0, 1] > 0.95


def test_parts_without_colours_give_nothing() -> None:
    image = Image.fromarray(np.full((240, 320, 3), 100, np.uint8))
    frame = Frame(luma_of(image), *image.size)
    assert coloured_frames(frame, image, whole=False, even=True) == []
    assert coloured_frames(frame, image.convert("L"), whole=True, even=True) == []


def test_largest_rectangle() -> None:
    assert largest_rectangle([0] * 16) == (0, 0, 0, 0)
    assert largest_rectangle([0b0110, 0b1111, 0b0111, 0b1000]) == (0, 3, 1, 3)
    assert largest_rectangle([(1 << 16) - 1] * 16) == (0, 16, 0, 16)
