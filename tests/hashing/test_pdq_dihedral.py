"""Digests of mirrored and turned pictures, against pictures that were really mirrored and turned."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from hashscan.hashing.pdq import PDQ
from hashscan.hashing.variants import DIHEDRAL, PLAIN, TURN_OF_ORIENTATION, TURNS, VARIANTS
from tests.hashing.drawings import scene, tiles
from tests.hashing.runs import digests


def turned(luma: np.ndarray, turn: int) -> np.ndarray:
    """Return a picture after a turn, as the turn's words describe it."""
    mirrored, quarters = divmod(turn, 4)
    return np.ascontiguousarray(np.rot90(luma[:, ::-1] if mirrored else luma, -quarters))


def bits_apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


@pytest.mark.parametrize("turn", range(DIHEDRAL), ids=TURNS[:DIHEDRAL])
@pytest.mark.parametrize("picture", [scene(300, 400), tiles(200, 200)], ids=["scene", "tiles"])
def test_the_turn_is_recognised(picture: np.ndarray, turn: int) -> None:
    original, _ = PDQ().digest(picture)
    found = {h.turn: h.value for h in digests(PDQ(), turned(picture, turn), None, range(DIHEDRAL))}
    assert min(found, key=lambda guess: bits_apart(found[guess], original)) == turn
    assert bits_apart(found[turn], original) <= 21


def test_the_first_is_the_picture_as_it_is() -> None:
    picture = scene(150, 220)
    first, *others = digests(PDQ(), picture, None, range(DIHEDRAL))
    assert (first.rendering, first.turn) == (PLAIN, 0)
    assert (first.value, first.quality) == PDQ().digest(picture)
    assert [h.turn for h in others] == list(range(1, 8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_viewers(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(scene(200, 300))
    stored.info["exif"] = exif.tobytes()
    shown = np.asarray(ImageOps.exif_transpose(stored))
    found = {h.turn: h.value for h in digests(PDQ(), np.asarray(stored), None, range(DIHEDRAL))}
    as_shown, _ = PDQ().digest(np.ascontiguousarray(shown))
    assert min(found, key=lambda turn: bits_apart(found[turn], as_shown)) == TURN_OF_ORIENTATION[orientation]


def test_a_picture_too_small_has_no_turns() -> None:
    assert len(list(digests(PDQ(), scene(4, 90), None, range(DIHEDRAL), VARIANTS))) == 1
