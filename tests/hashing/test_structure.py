"""Which pictures likeness says little of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from hashscan.hashing.pdq import PDQ
from hashscan.hashing.structure import similarity_doubt
from hashscan.hashing.variants import FEW_GREYS, ROWS_AND_COLUMNS, SIMILARITY_DOUBTS
from tests.hashing.drawings import clouds, noise, rings, scene, tiles
from tests.hashing.reduction import reduced


def page() -> np.ndarray:
    """A screen of text."""
    image = Image.new("L", (600, 500), 255)
    draw = ImageDraw.Draw(image)
    for line in range(20):
        draw.text((30, 20 + line * 22), "words that fill a line " * (1 + line % 2), 0, font_size=15)
    return np.asarray(image)


def logo() -> np.ndarray:
    image = Image.new("L", (500, 400), 250)
    ImageDraw.Draw(image).regular_polygon((250, 200, 150), 5, 20, 40)
    return np.asarray(image)


def plaid() -> np.ndarray:
    """Stripes both ways in many greys."""
    y, x = np.mgrid[0:400, 0:500]
    return (60 + 4 * (y // 23 * 7 % 17) + 6 * (x // 31 * 5 % 19)).astype(np.uint8)


@pytest.mark.parametrize(
    ("picture", "doubt"),
    [(page(), FEW_GREYS), (logo(), FEW_GREYS), (plaid(), ROWS_AND_COLUMNS)],
    ids=["page", "logo", "plaid"],
)
def test_structured_pictures_are_doubted(picture: np.ndarray, doubt: int) -> None:
    assert similarity_doubt(reduced(picture)) == doubt
    first, *others = PDQ().digests(picture, None, range(8))
    assert first.quality >= 50
    assert {found.doubt for found in (first, *others)} == {doubt}


@pytest.mark.parametrize("draw", [scene, clouds, rings, tiles, noise])
def test_others_are_not(draw: object) -> None:
    assert callable(draw)
    assert similarity_doubt(reduced(draw(300, 400))) == 0


@given(arrays.arrays(np.float32, (64, 64), elements=st.floats(-1, 256, width=32)))
def test_any_buffer_has_an_answer(small: np.ndarray) -> None:
    assert similarity_doubt(small) < len(SIMILARITY_DOUBTS)
