"""Which digests a picture gets."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pytest

from hashscan.hashing.base import PictureHash
from hashscan.hashing.frames import Frame
from hashscan.hashing.imagehashes import DHash
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.renderings import hash_frame
from hashscan.hashing.variants import VARIANTS, Kind, Part, PictureDigest
from tests.hashing.drawings import scene


def digests(
    wanted: Collection[str], *, border: int = 0, orientation: int = 1, side: int = 400
) -> list[PictureDigest]:
    luma = np.pad(scene(side, side + 100), border, constant_values=255)
    picture = Frame(luma, luma.shape[1], luma.shape[0], orientation=orientation)
    return digests_of(picture, [DHash(), PDQ()], wanted)


def digests_of(
    picture: Frame, hashes: Sequence[PictureHash], wanted: Collection[str], *, full: bool = True
) -> list[PictureDigest]:
    return [digest for run in hash_frame(picture, hashes, wanted, full=full) for digest in run.digests()]


def variants(found: list[PictureDigest]) -> list[str]:
    return [digest.variant for digest in found if digest.algorithm == "pdq"]


def test_the_picture_as_stored_comes_first_by_each_algorithm() -> None:
    found = digests(VARIANTS, border=30, orientation=6)
    assert [digest.algorithm for digest in found if digest.plain] == ["dhash", "pdq"]
    assert all(digest.plain for digest in found[:2])
    assert [digest.variant for digest in found if digest.algorithm == "dhash"] == ["as stored"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((), ["as stored"]),
        (("512x512",), ["as stored", "512x512"]),
        (("enlarged",), ["as stored"]),
        (("as-shown",), ["as stored", "as shown"]),
        (("inverted",), ["as stored", "inverted"]),
        (("trimmed",), ["as stored", "borders trimmed"]),
        (
            ("trimmed", "512x512", "as-shown"),
            [
                *("as stored", "as shown", "512x512", "512x512, as shown"),
                *("borders trimmed", "borders trimmed, as shown"),
                *("borders trimmed, 512x512", "borders trimmed, 512x512, as shown"),
            ],
        ),
    ],
)
def test_what_is_not_wanted_is_left_out(wanted: tuple[str, ...], expected: list[str]) -> None:
    assert variants(digests(wanted, border=30, orientation=3, side=600)) == expected


def test_all_there_is() -> None:
    found = variants(digests(VARIANTS, border=30, orientation=3))
    assert len(found) == len(set(found)) == 36
    assert "as shown" in found
    assert "turned 180" not in found
    assert len(variants(digests(VARIANTS))) == 18


def test_an_upright_picture_is_shown_as_it_is_stored() -> None:
    for orientation in (0, 1, 9):
        assert variants(digests(("as-shown",), orientation=orientation)) == ["as stored"]


def test_parts_are_named() -> None:
    picture = Frame(scene(100, 100), 100, 100, part=Part(Kind.PAGE, 3))
    found = digests_of(picture, [PDQ()], ())
    assert [digest.variant for digest in found] == ["page 3"]


def test_what_is_not_hashed_in_full_is_only_mirrored() -> None:
    luma = np.pad(scene(600, 700), 30, constant_values=255)
    picture = Frame(luma, luma.shape[1], luma.shape[0], part=Part(Kind.FRAME, 2))
    found = [digest.variant for digest in digests_of(picture, [PDQ()], VARIANTS, full=False)]
    assert found == [f"frame 2{words}" for words in ("", ", mirrored", ", 512x512", ", 512x512, mirrored")]
    assert len(digests_of(picture, [PDQ()], VARIANTS)) == 36
