"""Pictures within pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from hashscan.hashing.media.borders import find_inner_boxes, trim_borders
from hashscan.hashing.pdq import PDQ
from tests.hashing.drawings import clouds, scene


def padded(luma: np.ndarray, *sides: tuple[int, int], value: int) -> np.ndarray:
    return np.pad(luma, sides, constant_values=value)


def saved(luma: np.ndarray, quality: int = 85) -> np.ndarray:
    """As JPEG leaves it."""
    stream = io.BytesIO()
    Image.fromarray(luma).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def bits_apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


@pytest.mark.parametrize("value", [0, 90, 147, 255])
@pytest.mark.parametrize("sides", [((20, 20), (30, 30)), ((0, 50), (0, 0)), ((90, 10), (0, 7))])
def test_a_border_of_any_brightness_is_found(value: int, sides: tuple[tuple[int, int], ...]) -> None:
    inside = scene(300, 400)
    picture = saved(padded(inside, *sides, value=value))
    (top, bottom, left, right), *_ = find_inner_boxes(picture)
    (above, _), (before, _) = sides
    assert abs(top - above) <= 2
    assert abs(bottom - above - 300) <= 2
    assert abs(left - before) <= 2
    assert abs(right - before - 400) <= 2


def test_the_picture_in_a_border_has_its_hash() -> None:
    inside = scene(300, 400)
    original, _ = PDQ().digest(inside)
    for luma, size, _ in trim_borders(saved(padded(inside, (33, 33), (41, 41), value=255)), None):
        assert size is None
        value, _ = PDQ().digest(luma)
        assert bits_apart(value, original) <= 12


def test_frames_within_frames() -> None:
    picture = padded(padded(scene(300, 400), (9, 9), (9, 9), value=255), (6, 6), (6, 6), value=0)
    assert find_inner_boxes(picture)[0] == (15, 315, 15, 415)


def test_words_below_a_picture_are_another_panel() -> None:
    image = Image.new("L", (400, 360), 255)
    image.paste(Image.fromarray(scene(300, 400)))
    ImageDraw.Draw(image).text((40, 320), "such words as people write", 0, font_size=20)
    boxes = find_inner_boxes(np.asarray(image))
    assert boxes[-1] == (0, 300, 0, 400)
    assert 335 <= boxes[0][1] <= 345


def test_most_pictures_have_no_border() -> None:
    assert find_inner_boxes(scene(300, 400)) == []
    assert find_inner_boxes(clouds(200, 100)) == []


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((200, 300), np.uint8),
        np.full((1, 1), 9, np.uint8),
        np.zeros((31, 5000), np.uint8),
        padded(scene(40, 40), (300, 300), (300, 300), value=0),
        padded(scene(20, 300), (300, 300), (0, 0), value=0),
    ],
    ids=["black", "dot", "flat", "far away", "strip"],
)
def test_what_is_too_little_is_left(picture: np.ndarray) -> None:
    assert find_inner_boxes(picture) == []


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_the_stored_size_of_what_is_inside(factor: int) -> None:
    picture = padded(scene(300, 400), (30, 0), (0, 21), value=0)
    stored = 330 * factor - (factor > 1), 421 * factor - (factor > 1)
    ((luma, size, _), *_) = trim_borders(picture, stored)
    assert luma.shape == (300, 400)
    assert size == (300 * factor - (factor > 1), 400 * factor)
    PDQ().digest(luma, size)


@settings(deadline=None)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 90), st.integers(1, 90)), elements=st.sampled_from([0, 1, 255])
    ),
    st.integers(0, 60),
    st.sampled_from([0, 128]),
)
def test_boxes_lie_within_the_picture(inside: np.ndarray, border: int, value: int) -> None:
    picture = padded(inside, (border, border), (0, border), value=value)
    for top, bottom, left, right in find_inner_boxes(picture):
        assert 0 <= top < bottom <= picture.shape[0]
        assert 0 <= left < right <= picture.shape[1]
        assert (bottom - top, right - left) != picture.shape
