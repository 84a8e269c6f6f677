"""Crops whose hashes find cropped copies."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.augmentation import CROPS, make_crops
from hashscan.hashing.pdq import PDQ
from hashscan.model import ALGORITHMS
from tests.hashing.drawings import scene


def digest(luma: np.ndarray, stored: tuple[int, int] | None = None) -> int:
    return int.from_bytes(PDQ().digest(luma, stored)[0])


def nearest(one: int, others: list[int]) -> int:
    return min((one ^ other).bit_count() for other in others)


def test_each_crop_is_another() -> None:
    assert len(set(CROPS)) == len(CROPS) == 17
    luma = scene(300, 400)
    shapes = [part.shape for part, stored in make_crops(luma, None) if stored is None]
    assert len(shapes) == len(CROPS)
    for shape, (left, top, right, bottom) in zip(shapes, CROPS, strict=True):
        assert shape[0] == pytest.approx(300 * (1 - top - bottom), abs=1.01)
        assert shape[1] == pytest.approx(400 * (1 - left - right), abs=1.01)


@pytest.mark.parametrize("share", [0.03, 0.05, 0.07, 0.1])
@pytest.mark.parametrize("sides", ["even", "left", "top", "right", "bottom"])
def test_crops_are_found(share: float, sides: str) -> None:
    luma = scene(480, 640)
    entries = [digest(part) for part, _ in make_crops(luma, None)]
    cut = {"even": (share / 2,) * 4}.get(sides) or tuple(
        share if side == sides else 0.0 for side in ("left", "top", "right", "bottom")
    )
    part = luma[
        round(480 * cut[1]) : 480 - round(480 * cut[3]), round(640 * cut[0]) : 640 - round(640 * cut[2])
    ]
    assert nearest(digest(part), entries) <= ALGORITHMS["pdq"].threshold
    assert nearest(digest(part), [digest(luma)]) > nearest(digest(part), entries)


def test_crops_of_a_picture_decoded_at_a_smaller_scale() -> None:
    large = scene(1003, 1337)
    small = np.asarray(Image.fromarray(large).reduce(4))
    whole = [digest(part) for part, _ in make_crops(large, None)]
    reduced = [digest(part, stored) for part, stored in make_crops(small, large.shape)]
    assert len(reduced) == len(CROPS)
    assert max(nearest(one, [other]) for one, other in zip(reduced, whole, strict=True)) <= 16


def test_small_pictures_are_not_cropped() -> None:
    assert list(make_crops(scene(63, 400), None)) == []
