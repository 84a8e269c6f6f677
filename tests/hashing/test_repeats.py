"""Which pictures of a file need no match of their own."""

from __future__ import annotations

import pytest

from hashscan.hashing.repeats import Repeats
from hashscan.hashing.variants import WHOLE, Kind, Part, PictureDigest


def digest(bits: int, part: Part = WHOLE, quality: int = 100, algorithm: str = "pdq") -> PictureDigest:
    """A digest with this many bits set."""
    size = 32 if algorithm == "pdq" else 8
    return PictureDigest(part, 0, 0, False, algorithm, ((1 << bits) - 1).to_bytes(size), quality, 0)


FRAME = Part(Kind.FRAME, 2)


@pytest.mark.parametrize(
    ("part", "bits", "repeated"),
    [
        (FRAME, 0, True),
        (FRAME, 7, True),
        (FRAME, 8, False),
        (Part(Kind.PREVIEW), 15, True),
        (Part(Kind.PREVIEW), 16, False),
    ],
)
def test_how_near_is_the_same(part: Part, bits: int, repeated: bool) -> None:
    repeats = Repeats()
    assert not repeats.adds_nothing([digest(0)])
    assert repeats.adds_nothing([digest(bits, part)]) is repeated


def test_repeats_of_any_earlier_picture_count() -> None:
    repeats = Repeats()
    for bits in (0, 40, 80):
        assert not repeats.adds_nothing([digest(bits)])
    assert repeats.adds_nothing([digest(42)])
    # That one was not remembered, so what counts is the distance from those that are matched.
    assert not repeats.adds_nothing([digest(49)])


def test_every_algorithm_must_agree() -> None:
    repeats = Repeats()
    assert not repeats.adds_nothing([digest(0), digest(0, algorithm="phash")])
    assert repeats.adds_nothing([digest(3), digest(1, algorithm="phash")])
    assert not repeats.adds_nothing([digest(3), digest(9, algorithm="phash")])


def test_what_is_too_poor_to_be_matched_adds_nothing_and_hides_nothing() -> None:
    repeats = Repeats()
    assert repeats.adds_nothing([digest(0, quality=49)])
    assert not repeats.adds_nothing([digest(1, quality=50)])
