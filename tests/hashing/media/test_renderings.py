"""Tests of hashing.media.renderings."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.hash_algorithms import PictureHash
from hashscan.hashing.media.borders import trim_borders
from hashscan.hashing.media.picture_opening import Frame
from hashscan.hashing.media.renderings import (
    CROPS,
    SHAPES,
    hash_frame,
    is_drawn,
    make_crops,
    make_shapes,
    runs_of_parts,
)
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.perceptual import DHash
from hashscan.hashing.variants import (
    MADE_FOR_LISTS,
    RESTORATIONS,
    SECTIONS,
    VARIANTS,
    Kind,
    Part,
    PictureDigest,
)
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


@pytest.mark.parametrize(
    ("height", "width", "made"),
    [
        (480, 640, [(1, 1), (4, 5), (3, 4), (16, 9)]),
        (640, 480, [(1, 1), (4, 5), (4, 3)]),
        (640, 360, [(1, 1), (4, 5), (3, 4)]),
        (400, 400, [(4, 5), (3, 4), (4, 3), (16, 9)]),
        (400, 410, [(4, 5), (3, 4), (4, 3), (16, 9)]),
        (63, 400, []),
        (300, 3000, []),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_shapes_that_keep_most_of_a_picture(
    height: int, width: int, made: list[tuple[int, int]], turned: bool
) -> None:
    luma = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    parts = [part for part, _ in make_shapes(luma.T if turned else luma, None, turned=turned)]
    parts = [part.T if turned else part for part in parts]
    assert made == [shape for shape in SHAPES if shape in made]
    assert len(parts) == len(made)
    for part, (across, down) in zip(parts, made, strict=True):
        assert part.shape[1] / part.shape[0] == pytest.approx(across / down, rel=0.01)
        # Around the middle, and as large as possible.
        assert part.shape[0] == height or part.shape[1] == width
        assert int(part[0, 0]) == (height - part.shape[0] + width - part.shape[1]) // 2 % 256


def test_shapes_of_a_picture_decoded_at_a_smaller_scale() -> None:
    large = scene(1003, 1337)
    small = np.asarray(Image.fromarray(large).reduce(4))
    whole = [digest(part) for part, _ in make_shapes(large, None)]
    reduced = [digest(part, stored) for part, stored in make_shapes(small, large.shape)]
    assert len(reduced) == 4
    assert max(nearest(one, [other]) for one, other in zip(reduced, whole, strict=True)) <= 16


def test_parts_for_a_list() -> None:
    luma = np.pad(scene(400, 600), 50, constant_values=255)
    picture = Frame(luma, luma.shape[1], luma.shape[0])

    def made(picture: Frame, kinds: frozenset[Kind], doubted: bool) -> list[Part]:
        found = list(runs_of_parts(picture, [DHash(), PDQ()], kinds, doubted=doubted))
        assert {run.algorithm for run in found} <= {"pdq"}
        return [run.part for run in found]

    numbers = {Kind.CROP: 17, Kind.SHAPE: 5, Kind.TRIMMED: 1}
    every = [Part(kind, n) for kind, count in numbers.items() for n in range(1, count + 1)]
    assert made(picture, MADE_FOR_LISTS, False) == every
    assert made(picture, frozenset({Kind.SHAPE}), False) == every[17:22]
    assert made(picture, MADE_FOR_LISTS, True) == every[:17]
    (trimmed,) = runs_of_parts(picture, [PDQ()], {Kind.TRIMMED}, doubted=False)
    assert nearest(digest(scene(400, 600)), [int.from_bytes(trimmed.values)]) <= 4
    # A panel that is less than a quarter of the picture may show something harmless.
    small = np.pad(scene(200, 200), 200, constant_values=255)
    assert made(Frame(small, 600, 600), frozenset({Kind.TRIMMED}), False) == []
    # A chart cut out of a photograph's frame resembles other charts.
    chart = np.full((400, 400), 230, np.uint8)
    chart[::20] = chart[:, ::20] = 20
    framed = Frame(np.pad(chart, 60, constant_values=0), 520, 520)
    assert [next(PDQ().runs(part)).doubt for part, _, _ in trim_borders(framed.luma, None)] == [2]
    assert made(framed, frozenset({Kind.TRIMMED}), False) == []
    # Nor has a drawn picture any part, whatever its border is.
    assert made(Frame(chart, 400, 400), MADE_FOR_LISTS, False) == []


@pytest.mark.parametrize("border", [0, 300])
def test_drawn_pictures_have_large_areas_of_one_brightness(border: int) -> None:
    photo = scene(400, 600)
    noise = np.random.default_rng(1).integers(-2, 3, photo.shape)
    photo = np.clip(photo + noise, 0, 255).astype(np.uint8)
    table = np.full((400, 600), 250, np.uint8)
    table[::40] = table[:, ::50] = 30
    table[40:80, 50:100] = photo[40:80, 50:100]
    for picture, drawn in ((photo, False), (table, True)):
        assert is_drawn(picture) == drawn
        framed = np.pad(picture, border, constant_values=0)
        frame = Frame(framed, framed.shape[1], framed.shape[0])
        parts = list(runs_of_parts(frame, [PDQ()], frozenset({Kind.CROP}), doubted=False))
        assert bool(parts) != drawn


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (127, 129)])
def test_no_picture_is_too_small_to_be_judged(shape: tuple[int, int]) -> None:
    assert is_drawn(np.zeros(shape, np.uint8))


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
        (("restored",), ["as stored", *(f"restored, {one.name}" for one in RESTORATIONS)]),
        (("sections",), ["as stored", *(f"section, {one.name}" for one in SECTIONS)]),
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
    assert len(found) == len(set(found)) == 36 + len(RESTORATIONS) + len(SECTIONS)
    assert "as shown" in found
    assert "turned 180" not in found
    assert len(variants(digests(VARIANTS))) == 18 + len(RESTORATIONS) + len(SECTIONS)


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
    assert found == [f"frame 2{suffix}" for suffix in ("", ", mirrored", ", 512x512", ", 512x512, mirrored")]
    assert len(digests_of(picture, [PDQ()], VARIANTS)) == 36
