"""Pictures of a file that need no match of their own."""

from __future__ import annotations

import pytest

from hashscan.hashing.media.decoder import RepeatDetector
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
    repeats = RepeatDetector()
    assert not repeats.judge([digest(0)]).repeated
    assert repeats.judge([digest(bits, part)]).repeated is repeated


def test_repeats_of_any_earlier_picture_count() -> None:
    repeats = RepeatDetector()
    for bits in (0, 40, 80):
        assert not repeats.judge([digest(bits)]).repeated
    assert repeats.judge([digest(42)]).repeated
    # That one was not remembered, so what counts is the distance from those that are matched.
    assert not repeats.judge([digest(49)]).repeated


def test_every_algorithm_must_agree() -> None:
    repeats = RepeatDetector()
    assert not repeats.judge([digest(0), digest(0, algorithm="phash")]).repeated
    assert repeats.judge([digest(3), digest(1, algorithm="phash")]).repeated
    assert not repeats.judge([digest(3), digest(9, algorithm="phash")]).repeated


def test_what_is_too_poor_to_be_matched_adds_nothing_and_hides_nothing() -> None:
    repeats = RepeatDetector()
    assert repeats.judge([digest(0, quality=49)]).repeated
    assert not repeats.judge([digest(1, quality=50)]).repeated


def repeated_and_full(repeats: RepeatDetector, bits: int, seconds: float) -> tuple[bool, bool]:
    return tuple(repeats.judge([digest(bits, FRAME)], seconds))


def test_a_picture_that_is_shown_for_long_is_hashed_in_full_once() -> None:
    repeats = RepeatDetector()
    assert repeated_and_full(repeats, 0, 0.1) == (False, False)
    # That a short one was the same before hides nothing.
    assert repeated_and_full(repeats, 3, 60) == (False, True)
    assert repeated_and_full(repeats, 3, 60) == (True, True)
    assert repeated_and_full(repeats, 3, 0.1) == (True, False)


def test_the_time_of_pictures_that_hardly_differ_counts_together() -> None:
    repeats = RepeatDetector()
    # None repeats another, and the last counts anew.
    found = [repeated_and_full(repeats, bits, 0.25) for bits in (0, 8, 16, 24, 31)]
    assert found == [*[(False, False)] * 3, (False, True), (True, False)]


def test_other_pictures_between_them_change_nothing() -> None:
    repeats = RepeatDetector()
    found = [repeated_and_full(repeats, bits, 0.25) for bits in (0, 200, 0, 100, 0, 200, 0, 0)]
    assert [full for _, full in found] == [False] * 6 + [True, False]


def test_beyond_the_threshold_time_counts_apart() -> None:
    repeats = RepeatDetector()
    assert not any(repeated_and_full(repeats, bits, 0.5)[1] for bits in (0, 32, 64, 96))


def test_a_preview_is_hashed_in_full_if_it_shows_something_else() -> None:
    for bits, full in ((40, False), (93, False), (94, True)):
        repeats = RepeatDetector()
        repeats.judge([digest(0)])
        assert tuple(repeats.judge([digest(bits, Part(Kind.PREVIEW))], 0.0)) == (False, full)
