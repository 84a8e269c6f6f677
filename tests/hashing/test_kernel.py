"""Tests of hashing.kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hashscan.hashing.kernel import (
    SIMILARITY_LIMITS,
    Kernel,
    NumpyKernel,
    digest_of,
    similarity_doubt,
    taps,
)
from hashscan.hashing.media.borders import find_inner_boxes
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pdq_reduction import PLAIN_WAY, SIDE, Floats, ReductionMode, dct_matrix, places_of
from hashscan.hashing.pdq_restored import (
    BOXES,
    _between,
    box_means,
    box_weights,
    restoration_maps,
    restored_frequencies,
    section_maps,
)
from hashscan.hashing.variants import (
    DIHEDRAL,
    ENLARGED,
    FEW_GREYS,
    PLAIN,
    RESTORATIONS,
    ROWS_AND_COLUMNS,
    SECTIONS,
    SIMILARITY_DOUBTS,
    SQUARED,
    VARIANTS,
)
from tests.examples import examples
from tests.hashing.drawings import DRAWINGS, clouds, noise, rings, scene, tiles
from tests.hashing.kernels import KERNELS
from tests.hashing.reduction import reduced, tables
from tests.hashing.runs import digests

_pdq: Any = pytest.importorskip("hashscan.hashing._pdq")
NUMPY, C = KERNELS if len(KERNELS) == 2 else (NumpyKernel(), NumpyKernel())

SHAPES = [(5, 5), (7, 300), (64, 64), (63, 65), (129, 70), (300, 417), (700, 90)]


def pictures(height: int, width: int, seed: int, levels: int) -> np.ndarray:
    """By chance, with soft edges, so that few bits lie on the median."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, levels, (height // 4 + 1, width // 4 + 1)) * (230 // (levels - 1))
    fine = rng.integers(0, 20, (height, width))
    return (np.kron(coarse, np.ones((4, 4), int))[:height, :width] + fine).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("drawing", DRAWINGS)
def test_all_drawings(drawing: str, shape: tuple[int, int]) -> None:
    luma = DRAWINGS[drawing](*shape)
    assert PDQ(C).digest(luma) == PDQ(NUMPY).digest(luma)
    for one, other in zip(C.rounded(luma), NUMPY.rounded(luma), strict=True):
        np.testing.assert_array_equal(one, other)
    for plane in (luma, luma.T, luma[1:, 1:-1], luma[::-1, ::2]):
        for one, other in zip(C.lines(plane), NUMPY.lines(plane), strict=True):
            np.testing.assert_array_equal(one, other)
        assert C.least_edge(plane) == NUMPY.least_edge(plane)
    groups = tuple(
        (ReductionMode(rendering), ReductionMode(rendering, True)) for rendering in (PLAIN, SQUARED, ENLARGED)
    )
    for found, expected in zip(
        C.reductions(luma, None, groups), NUMPY.reductions(luma, None, groups), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=2e-3)
        # What follows is compared for the same input: there bits can hang on rounding alone.
        ours, theirs = C.judged(expected, range(8), 0.01), NUMPY.judged(expected, range(8), 0.01)
        assert (ours.lowest, ours.quality, ours.highest) == (theirs.lowest, theirs.quality, theirs.highest)
        assert ours.gap == pytest.approx(theirs.gap, abs=5e-3)
        assert ours.even == theirs.even


@given(
    st.integers(5, 600), st.integers(5, 600), st.integers(0, 2**32), st.sampled_from([2, 3, 9]), st.booleans()
)
@settings(max_examples=examples(60), deadline=None)
def test_all_digests_of_any_picture(height: int, width: int, seed: int, levels: int, apart: bool) -> None:
    luma = pictures(height, width, seed, levels)
    if apart:
        luma = np.pad(luma, 3)[3:-3, 3:-3]
    found = list(digests(PDQ(C), luma, None, range(DIHEDRAL + 1), VARIANTS))
    expected = list(digests(PDQ(NUMPY), luma, None, range(DIHEDRAL + 1), VARIANTS))
    for one, other in zip(found, expected, strict=True):
        assert one._replace(value=b"", quality=0) == other._replace(value=b"", quality=0)
        # The renderings that no reference has may round otherwise. In tiny pictures whole rows of frequencies
        # are zero but for rounding, and all their bits hang on it.
        if min(height, width) > 32 or not (one.rendering or one.turn):
            allowed = 2 if one.rendering or one.turn else 0
            assert (int.from_bytes(one.value) ^ int.from_bytes(other.value)).bit_count() <= allowed
        assert abs(one.quality - other.quality) <= (one.rendering > 0)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reduced_pictures(factor: int) -> None:
    luma = scene(301, 211)
    stored = 301 * factor - 1, 211 * factor - factor + 1
    np.testing.assert_allclose(
        C.reductions(luma, stored, ((PLAIN_WAY,),))[0][0, :, 0], reduced(luma, stored), atol=2e-3
    )
    assert PDQ(C).digest(luma, stored) == PDQ(NUMPY).digest(luma, stored)


@pytest.mark.parametrize("shape", [(6, 140_000), (140_000, 6)])
def test_enormous_sides(shape: tuple[int, int]) -> None:
    luma = np.ascontiguousarray(np.resize(noise(40, 41), shape))
    for one, other in zip(C.rounded(luma), NUMPY.rounded(luma), strict=True):
        np.testing.assert_array_equal(one, other)
    assert PDQ(C).digest(luma) == PDQ(NUMPY).digest(luma)


@given(st.integers(64, 400), st.integers(64, 400), st.integers(0, 2**32), st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=examples(40), deadline=None)
def test_one_call_answers_as_its_steps(height: int, width: int, seed: int, factor: int) -> None:
    luma = pictures(height, width, seed, 9)
    stored = (height * factor, width * factor) if factor > 1 else None
    groups = tuple(
        (ReductionMode(rendering), ReductionMode(rendering, True)) for rendering in (PLAIN, SQUARED, ENLARGED)
    )
    turns = tuple(range(DIHEDRAL))
    steps = [C.judged(small, turns, 0.01) for small in C.reductions(luma, stored, groups)]
    assert list(C.hashed(luma, stored, groups, turns, 0.01)) == steps


@given(st.integers(0, 2**32), st.floats(0, 0.3))
@settings(max_examples=examples(60), deadline=None)
def test_even_tiles(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    small = np.full((64, 64), rng.choice([3.9, 4, 8, 100, 247.5, 248, 255]), np.float32)
    small += rng.choice([0, 11.9, 12, 12.1], (64, 64), p=[1 - share, *3 * [share / 3]]).astype(np.float32)
    small[rng.integers(0, 64) :, : rng.integers(0, 64)] = rng.uniform(0, 255)
    one = small[None, :, None]
    assert C.judged(one, [0], 0.01).even == NUMPY.judged(one, [0], 0.01).even


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("value", "more", "even"), [(100, 11.9, 256), (100, 12.0, 0), (8, 0, 0), (9, 0, 256), (248, 0, 0)]
)
def test_what_is_even(kernel: Kernel, value: float, more: float, even: int) -> None:
    small = np.full((64, 64), value, np.float32)
    small[::4, 1::4] += more
    assert kernel.judged(small[None, :, None], [0], 0.01).even == even


def test_medians_that_many_frequencies_share() -> None:
    for small in (np.zeros((64, 64), np.float32), np.eye(64, dtype=np.float32)):
        one = C.judged(small[None, :, None], [0], 0.01)
        assert one.gap >= 0
        assert len(one.digests) == 32
    assert C.judged(np.zeros((1, 64, 1, 64), np.float32), [0], 0.01).digests == bytes(32)


def inner_boxes_by_numpy(luma: np.ndarray) -> list[tuple[int, int, int, int]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hashscan.hashing.media.borders.best_kernel", lambda: NUMPY)
        return find_inner_boxes(luma)


def bordered(luma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames, bars and bands of one brightness or nearly so, hard or soft where they end."""
    for _ in range(rng.integers(0, 4)):
        grey, roughness = int(rng.integers(0, 256)), rng.choice([0, 0, 1, 3, 6])
        widths = rng.integers(0, 60, (2, 2)) * rng.integers(0, 2, (2, 2))
        luma = np.pad(luma, widths, constant_values=grey)
        if rng.integers(0, 2):
            row, height = rng.integers(0, luma.shape[0]), rng.integers(1, 30)
            luma = np.insert(luma, [row] * height, grey, axis=0)
        luma = (luma + rng.normal(0, roughness, luma.shape)).clip(0, 255).astype(np.uint8)
        if rng.integers(0, 2):
            soft = luma.astype(int)
            luma[1:-1, 1:-1] = (soft[:-2, 1:-1] + 2 * soft[1:-1, 1:-1] + soft[2:, 1:-1]) // 4
    return luma


def test_borders_are_the_same() -> None:
    picture = np.pad(scene(300, 400), ((20, 30), (0, 41)), constant_values=9)
    assert find_inner_boxes(picture) == inner_boxes_by_numpy(picture) != []
    found, seeds = 0, examples(400)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        height, width = (int(side) for side in rng.integers(20, 420, 2))
        picture = bordered(pictures(height, width, seed, int(rng.choice([2, 9]))), rng)
        for luma in (picture, picture.T, picture[1:, 1:-1], picture[::-1, ::2]):
            boxes = find_inner_boxes(luma)
            assert boxes == inner_boxes_by_numpy(luma), (seed, luma.shape)
            found += len(boxes)
    assert found > seeds


@pytest.mark.parametrize("speck", [0, 6, 11, 12, 13, 40])
def test_lines_that_are_still_but_for_a_pixel(speck: int) -> None:
    picture = pictures(200, 320, 1, 9)
    picture[120:140] = picture[180:] = 100
    # Among the few that are looked at first. The line's deviation is 1 from 13 greys on.
    picture[120:140, 0] += speck
    found = find_inner_boxes(picture)
    assert found == inner_boxes_by_numpy(picture)
    assert ((0, 120, 0, 320) in found) is (speck < 13)


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_borders_of_drawings_are_the_same(drawing: str) -> None:
    for shape in SHAPES:
        luma = np.pad(DRAWINGS[drawing](*shape), ((11, 0), (40, 7)), constant_values=130)
        assert find_inner_boxes(luma) == inner_boxes_by_numpy(luma)


WAYS = [
    ReductionMode(rendering, mirrored)
    for rendering in (PLAIN, SQUARED, ENLARGED)
    for mirrored in (False, True)
]


@given(
    st.one_of(st.integers(1, 1200), st.integers(1200, 70_000)),
    st.sampled_from([1, 2, 4, 8]),
    st.lists(st.sampled_from(WAYS), min_size=1, max_size=4),
)
@settings(deadline=None)
def test_weights_are_the_same_to_the_last_bit(length: int, factor: int, ways: list[ReductionMode]) -> None:
    kept = -(-length // factor)
    # A side that may have been reduced in several ways is taken to be reduced least.
    if factor > 1 and any(-(-length // less) == kept for less in (1, 2, 4) if less < factor):
        return
    sizes = length, kept, tuple(ways)
    for found, expected in zip(taps(*sizes), tables(*sizes), strict=True):
        np.testing.assert_array_equal(np.frombuffer(found, expected.dtype).reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("length", "kept", "factor", "ways"),
    [
        (0, 0, 1, b"\0\0"),
        (80, 40, 1, b"\0\0"),
        (80, 80, 0, b"\0\0"),
        (80, 80, -1, b"\0\0"),
        (1 << 40, 1 << 40, 1, b"\0\0"),
        (80, 80, 1, b""),
        (80, 80, 1, b"\0"),
        (80, 80, 1, bytes(10)),
        (80, 80, 1, b"\3\0"),
        (80, 80, 1, b"\0\2"),
    ],
)
def test_weights_for_no_such_side(length: int, kept: int, factor: int, ways: bytes) -> None:
    with pytest.raises(ValueError, match=r"fit|way"):
        _pdq.weights(length, kept, factor, ways)


def test_what_does_not_fit_is_refused() -> None:
    luma = np.zeros((80, 90), np.uint8)
    down, across = tables(80, 80, (PLAIN_WAY,)), tables(90, 90, (PLAIN_WAY,))
    spans_down, weights_down = down
    out = np.empty(4096, np.float32)
    _pdq.reduce(luma, *down, *across, out)
    beyond = spans_down.copy()
    beyond[0, 63] = (79, 2)
    before = spans_down.copy()
    before[0, 0] = (-1, 1)
    more = spans_down.copy()
    more[0, 0] = (0, weights_down.shape[2] + 1)
    for spans in (beyond, before, more, spans_down[:, :63], spans_down[:, :0]):
        with pytest.raises(ValueError, match="fit"):
            _pdq.reduce(luma, np.ascontiguousarray(spans), weights_down, *across, out)
    with pytest.raises(ValueError, match="fit"):
        _pdq.reduce(luma[:79], *down, *across, out)
    with pytest.raises(ValueError, match="fit"):
        _pdq.reduce(luma, *down, *across, out[:4095])
    for plane in (luma[:, ::2], luma[0], luma.astype(np.float32), luma[:0]):
        with pytest.raises(ValueError, match="rows"):
            _pdq.reduce(plane, *down, *across, out)
        with pytest.raises(ValueError, match="rows"):
            _pdq.least_edge(plane)
    small, limits, places = np.zeros(4096, np.float32), np.array(SIMILARITY_LIMITS), places_of((0,))
    _pdq.judge(small, dct_matrix(), limits, places, 0.1)
    for wrong in (
        (small[1:], dct_matrix(), limits, places),
        (small, dct_matrix()[1:], limits, places),
        (small, dct_matrix(), limits[1:], places),
        (small, dct_matrix(), limits, places[:, 1:].copy()),
        (small, dct_matrix(), limits, places + 1),
        (small, dct_matrix(), limits, places - 1),
    ):
        with pytest.raises(ValueError, match=r"size|fit|outside"):
            _pdq.judge(*wrong, 0.1)
    rest = dct_matrix(), limits, places
    _pdq.hashed(luma, *down, *across, *rest, 0.1)
    both_ways = tables(90, 90, (PLAIN_WAY, ReductionMode(mirrored=True)))
    for wrong in (
        (luma[:79], *down, *across, *rest),
        (luma, *down, *both_ways, *rest),
        (luma, beyond, weights_down, *across, *rest),
        (luma, *down, *across, dct_matrix()[1:], limits, places),
        (luma, *down, *across, dct_matrix(), limits[1:], places),
        (luma, *down, *across, dct_matrix(), limits, places + 1),
        (luma, *down, *across, dct_matrix(), limits, places[:, 1:].copy()),
    ):
        with pytest.raises(ValueError, match=r"size|fit|outside"):
            _pdq.hashed(*wrong, 0.1)
    with pytest.raises(ValueError, match="size"):
        _pdq.lines(luma, True, np.empty(2 * 80, np.float32))
    with pytest.raises(ValueError, match="size"):
        _pdq.rounded(luma, dct_matrix(), small[1:], np.empty(256, np.float32))
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        _pdq.reduce(luma, *down, *across, out)


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


def grid() -> np.ndarray:
    """Wide lines that cross, in two greys; the sum of rows and columns explains too little of it."""
    y, x = np.mgrid[0:400, 0:500]
    return np.where((y % 133 < 45) | (x % 166 < 60), 40, 220).astype(np.uint8)


@given(st.integers(5, 600), st.integers(5, 600), st.integers(0, 2**32))
@settings(max_examples=examples(20), deadline=None)
def test_restored_pictures_are_the_same(height: int, width: int, seed: int) -> None:
    luma = pictures(height, width, seed, 9)
    maps = restoration_maps(height, width)
    for plane in (luma, luma[::-1, ::-1], luma.T):
        expected = list(restored_frequencies(box_means(plane), maps))
        found = np.frombuffer(C.restored(plane, maps), np.uint8).reshape(-1, 32)
        assert NUMPY.restored(plane, maps) == b"".join(map(digest_of, expected))
        for digest, frequencies in zip(found, expected, strict=True):
            flat = frequencies.ravel()
            middle = np.sort(flat)[len(flat) // 2 - 1]
            sure = np.abs(flat - middle) > 0.01
            above = np.unpackbits(digest)[::-1].astype(bool)
            assert (above == (flat > middle))[sure].all()


def in_order(lines: Floats, weights: Floats) -> Floats:
    """Return `weights @ lines`, of which each sum is rounded line by line, as in the C loops."""
    sums = np.zeros((len(weights), lines.shape[1]), np.float32)
    for weight, line in zip(weights.T, lines, strict=True):
        sums += weight[:, None] * line
    return sums


def moved(scale: np.float32, offset: np.float32) -> Floats:
    """Return the weights of 128 boxes for 16 frequencies of a side that is sampled at other places."""
    weights, dct = np.zeros((16, BOXES), np.float32), dct_matrix()
    before, share = _between(scale * np.arange(SIDE, dtype=np.float32) + offset)
    for place in range(SIDE):
        weights[:, before[place]] += dct[:, place] * (1 - share[place])
        weights[:, before[place] + 1] += dct[:, place] * share[place]
    return weights


def restored_alone(small: Floats, one: NDArray[np.float32]) -> bytes:
    """Return the digest of one restoration, computed from rows and columns of its own."""
    a, b, c, d, e, f = one
    if not b and not d:
        plane, down, across = small, moved(e, f), moved(a, c)
    else:
        row, column = np.arange(SIDE, dtype=np.float32)[:, None], np.arange(SIDE, dtype=np.float32)
        left, beside = _between(a * column + b * row + c)
        top, below = _between(d * column + e * row + f)
        upper, lower = (
            small[at, left] + (small[at, left + 1] - small[at, left]) * beside for at in (top, top + 1)
        )
        plane, down, across = upper + (lower - upper) * below, dct_matrix(), dct_matrix()
    return digest_of(in_order(in_order(plane, down).T, across).T)


HOSTILE: dict[str, Callable[[tuple[int, int], np.random.Generator], NDArray[np.uint8]]] = {
    "soft": lambda shape, rng: pictures(shape[0], shape[1], int(rng.integers(2**32)), 9),
    "chance": lambda shape, rng: rng.integers(0, 256, shape).astype(np.uint8),
    "extremes": lambda shape, rng: rng.integers(0, 2, shape).astype(np.uint8) * 255,
    "black": lambda shape, rng: np.zeros(shape, np.uint8),
    "white": lambda shape, rng: np.full(shape, 255, np.uint8),
    "a pixel": lambda shape, rng: (np.arange(shape[0] * shape[1]) == 7).reshape(shape).astype(np.uint8),
    "columns": lambda shape, rng: np.tile((np.arange(shape[1]) % 2 * 255).astype(np.uint8), (shape[0], 1)),
}


@pytest.mark.parametrize(("height", "width"), [(5, 7), (300, 417), (127, 64)])
@pytest.mark.parametrize("kind", HOSTILE)
def test_restorations_that_share_rows_have_the_bits_they_have_alone(
    kind: str, height: int, width: int
) -> None:
    luma = HOSTILE[kind]((height, width), np.random.default_rng(height))
    maps = np.concatenate([restoration_maps(height, width), section_maps(height, width)[1]])
    boxes = np.empty((BOXES, BOXES), np.float32)
    _pdq.reduce(luma, *box_weights(height), *box_weights(width), boxes)
    assert C.restored(luma, maps) == b"".join(restored_alone(boxes.T, one) for one in maps)


SCALES = st.sampled_from([0.0, -0.0, 1.0, 2.0, 2.2, -1.5, 40.0])
OFFSETS = st.sampled_from([-0.5, 0.5, -0.0, 0.0, 63.5, 200.0, -1e4])
SKEWS = st.sampled_from([0.0, 0.0, 0.0, -0.0, 0.1])
MAPS = st.tuples(SCALES, SKEWS, OFFSETS, SKEWS, SCALES, OFFSETS)


@given(st.lists(MAPS, min_size=1, max_size=9), st.sampled_from([0.0, 1e-42, 1e-3, 255.0]), st.integers(0, 99))
@settings(max_examples=examples(60), deadline=None)
def test_any_maps_together_have_the_bits_they_have_alone(
    drawn: list[tuple[float, ...]], most: float, seed: int
) -> None:
    boxes = np.random.default_rng(seed).random((BOXES, BOXES), np.float32) * np.float32(most)
    maps = np.array(drawn, np.float32)
    expected = b"".join(restored_alone(boxes.T, one) for one in maps)
    assert _pdq.restored(boxes, maps, dct_matrix()) == expected


@pytest.mark.parametrize(("height", "width"), [(5, 3000), (64, 64), (130, 127), (1001, 40)])
def test_boxes_are_means(height: int, width: int) -> None:
    assert np.allclose(box_means(np.full((height, width), 77, np.uint8)), 77, atol=1e-3)
    steps = np.repeat(np.arange(128, dtype=np.uint8), 3)
    assert np.allclose(box_means(np.tile(steps, (height, 1))), np.arange(128), atol=1e-3)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("place", range(len(RESTORATIONS)))
def test_what_was_lost_is_restored(kernel: Kernel, place: int) -> None:
    """The digest of a picture that was cut in just this way is near that of the original."""
    image = Image.fromarray(scene(480, 640))
    lost = RESTORATIONS[place]
    original = PDQ(kernel).digest(np.asarray(image))[0]
    if lost.degrees:
        turned = image.rotate(-lost.degrees, Image.Resampling.BICUBIC)
        angle = math.radians(abs(lost.degrees))
        shrunk = math.cos(2 * angle)
        across = 640 - (640 * math.cos(angle) - 480 * math.sin(angle)) / shrunk
        down = 480 - (480 * math.cos(angle) - 640 * math.sin(angle)) / shrunk
        cut = turned.crop(
            (round(across / 2), round(down / 2), round(640 - across / 2), round(480 - down / 2))
        )
    else:
        cut = image.crop(
            (
                round(640 * lost.left),
                round(480 * lost.top),
                640 - round(640 * lost.right),
                480 - round(480 * lost.bottom),
            )
        )
    luma = np.asarray(cut)
    digests = np.frombuffer(kernel.restored(luma, restoration_maps(*luma.shape)), np.uint8).reshape(-1, 32)
    apart = np.bitwise_count(digests ^ np.frombuffer(original, np.uint8)).sum(axis=1)
    assert apart.argmin() == place, apart
    assert apart.min() <= 40, apart


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 360), (301, 907)])
def test_sections_are_hashed_as_if_they_were_alone(kernel: Kernel, height: int, width: int) -> None:
    luma = scene(height, width)
    indices, maps = section_maps(height, width)
    digests = np.frombuffer(kernel.restored(luma, maps), np.uint8).reshape(-1, 32)
    assert set(range(8)) < set(indices)
    for index in indices:
        left, top, right, bottom = SECTIONS[index].box
        if (shape := SECTIONS[index].shape) is not None:
            across = min(1, height * shape[0] / (width * shape[1]))
            down = min(1, width * shape[1] / (height * shape[0]))
            assert 0.25 <= across * down <= 0.94
            left, top, right, bottom = (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(left * width), round(right * width))
        alone, _ = PDQ(kernel).digest(np.ascontiguousarray(luma[rows, columns]))
        apart = np.bitwise_count(digests ^ np.frombuffer(alone, np.uint8)).sum(axis=1)
        assert indices[apart.argmin()] == index
        # Less exact than of photographs: what is drawn here has little detail.
        assert apart.min() <= 30, apart


def test_a_map_reads_nothing_outside_of_the_picture() -> None:
    maps = np.array(
        [[1e30, 0, 0, 0, -1e30, 0], [np.nan] * 6, [0, np.inf, 0, -np.inf, 0, 0], [1, 0, 500, 0, 1, -500]],
        np.float32,
    )
    maps = np.concatenate([maps, maps[::-1], [[1, 0, np.nan, 0, np.nan, 0]] * 2]).astype(np.float32)
    boxes = np.random.default_rng(1).random((128, 128), np.float32)
    alone = [_pdq.restored(boxes, maps[place : place + 1], dct_matrix()) for place in range(len(maps))]
    assert [len(digest) for digest in alone] == [32] * 10
    assert _pdq.restored(boxes, maps, dct_matrix()) == b"".join(alone)
    assert _pdq.restored(np.ones((128, 128), np.float32), maps[:0], dct_matrix()) == b""
    for small, wrong in (((127, 128), (1, 6)), ((128, 128), (1, 5))):
        with pytest.raises(ValueError, match=r"right size|fit together"):
            _pdq.restored(np.ones(small, np.float32), np.ones(wrong, np.float32), dct_matrix())


@pytest.mark.parametrize(
    ("picture", "doubt"),
    [
        (page(), FEW_GREYS),
        (logo(), FEW_GREYS),
        (plaid(), ROWS_AND_COLUMNS),
        (grid(), ROWS_AND_COLUMNS),
        (255 - grid().T, ROWS_AND_COLUMNS),
    ],
    ids=["page", "logo", "plaid", "grid", "grid, inverted"],
)
def test_structured_pictures_are_doubted(picture: np.ndarray, doubt: int) -> None:
    assert similarity_doubt(reduced(picture)) == doubt
    first, *others = digests(PDQ(), picture, None, range(8))
    assert first.quality >= 50
    assert {found.doubt for found in (first, *others)} == {doubt}


@pytest.mark.parametrize("draw", [scene, clouds, rings, tiles, noise])
def test_others_are_not(draw: object) -> None:
    assert callable(draw)
    assert similarity_doubt(reduced(draw(300, 400))) == 0


@given(arrays.arrays(np.float32, (64, 64), elements=st.floats(-1, 256, width=32)))
def test_any_buffer_has_an_answer(small: np.ndarray) -> None:
    assert similarity_doubt(small) < len(SIMILARITY_DOUBTS)


@given(st.integers(0, 2**32), st.floats(0, 0.3), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=examples(60), deadline=None)
def test_rows_and_columns_are_the_same(seed: int, noise: float, sums: float, product: float) -> None:
    rng = np.random.default_rng(seed)
    down, across = rng.uniform(0, 1, (2, 64))
    drawn = sums * (down[:, None] + across) + product * np.outer(down, across)
    small = (200 * (drawn + rng.normal(0, noise, (64, 64)))).astype(np.float32)[None, :, None]
    assert C.judged(small, [0], 0.01).doubt == NUMPY.judged(small, [0], 0.01).doubt


def test_no_pattern_hides_a_photo_earlier_than_stripes_do() -> None:
    """The patterns are finer than PDQ resolves, so that the photo would match but for the doubt."""
    photo = reduced(scene(300, 400)).astype(np.float64)
    photo /= photo.std()
    stripes, cross = np.arange(64) % 2, np.outer(np.arange(64) % 2, np.arange(64) % 2)
    patterns = {
        "stripes": np.repeat(stripes[:, None], 64, 1),
        "mesh": np.maximum(stripes[:, None], stripes),
        "dots": cross,
        "squares": (stripes[:, None] + stripes) % 2,
    }

    def hidden_from(name: str) -> int:
        pattern = patterns[name] - patterns[name].mean()
        pattern /= pattern.std()
        for strength in range(1, 100):
            small = (photo + strength * pattern) * 4
            if similarity_doubt((small + 128).astype(np.float32)) == ROWS_AND_COLUMNS:
                return strength
        return 100

    earliest = {name: hidden_from(name) for name in patterns}
    assert 4 <= earliest["stripes"] == min(earliest.values()) < 100, earliest
