"""PDQ against the hashes and qualities that the C++ reference gave for the same pictures."""

from __future__ import annotations

import csv
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashscan.hashing import pdq, pdq_reduction
from hashscan.hashing.kernel import Kernel, NumpyKernel
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pdq_reduction import ENLARGEMENT, PLAIN_WAY, SQUARED_SIDE, ReductionMode
from hashscan.hashing.pdq_restored import SIDE_MAX
from hashscan.hashing.variants import ENLARGED, INVERTED, PLAIN, RESTORED, SECTION, SQUARED, VARIANTS
from hashscan.model import ALGORITHMS
from tests.examples import examples
from tests.hashing.drawings import DRAWINGS, noise, rings, scene, slanted
from tests.hashing.kernels import KERNELS
from tests.hashing.reduction import reduced
from tests.hashing.runs import digests

with Path(__file__).with_name("pdq_cases.csv").open(newline="", encoding="ascii") as _file:
    CASES = [
        (row["drawing"], int(row["height"]), int(row["width"]), row["pdq"], int(row["quality"]))
        for row in csv.DictReader(_file)
    ]


def by_rounding(luma: np.ndarray) -> tuple[bytes, int]:
    """The hash with the reference's operations alone."""
    small = pdq_reduction.blur_and_reduce(luma)
    frequencies = pdq_reduction.lowest_frequencies(small).ravel()
    bits = frequencies > np.sort(frequencies)[127]
    down = (small[:-1] - small[1:]) * np.float32(100) / np.float32(255)
    across = (small[:, :-1] - small[:, 1:]) * np.float32(100) / np.float32(255)
    total = sum(int(np.abs(gradients.astype(int)).sum()) for gradients in (down, across))
    return np.packbits(bits[::-1]).tobytes(), min(100, total // 90)


@pytest.mark.parametrize(
    ("drawing", "height", "width", "value", "quality"),
    CASES,
    ids=[f"{drawing}-{height}x{width}" for drawing, height, width, *_ in CASES],
)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_bit_for_bit_the_reference(
    kernel: Kernel, drawing: str, height: int, width: int, value: str, quality: int
) -> None:
    digest, found = PDQ(kernel).digest(DRAWINGS[drawing](height, width))
    assert (digest.hex(), found) == (value, quality)


def test_the_cases_need_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    used: Counter[str] = Counter()
    kernel = NumpyKernel()
    rounded = kernel.rounded

    def counted(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        used["rounding"] += 1
        return rounded(luma)

    monkeypatch.setattr(kernel, "rounded", counted)
    small = [case for case in CASES if case[1] * case[2] < 100_000]
    for drawing, height, width, *_ in small:
        PDQ(kernel).digest(DRAWINGS[drawing](height, width))
    assert 20 < used["rounding"] < len(small) - 20


def test_cases_reach_over_all_qualities() -> None:
    qualities = {quality for *_, quality in CASES}
    assert {0, 100} < qualities
    assert any(45 <= quality < 50 for quality in qualities)
    assert any(50 <= quality <= 55 for quality in qualities)


@given(
    height=st.integers(5, 200),
    width=st.integers(5, 200),
    seed=st.integers(0, 2**32),
    levels=st.sampled_from((2, 3, 16, 256)),
    mirror=st.booleans(),
)
@settings(max_examples=examples(150), deadline=None)
def test_fast_way_is_taken_only_where_it_agrees(
    height: int, width: int, seed: int, levels: int, mirror: bool
) -> None:
    luma = np.random.default_rng(seed).integers(0, levels, (height, width)) * (255 // (levels - 1))
    luma = (luma // 2 + luma[:, ::-1] // 2 if mirror else luma).astype(np.uint8)
    expected = by_rounding(luma)
    for kernel in KERNELS:
        assert PDQ(kernel).digest(luma) == expected


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("shape", [(5, 5), (64, 65), (127, 400), (129, 1023), (700, 1025), (1300, 90)])
def test_both_ways_differ_by_less_than_the_noise_allowed_for(shape: tuple[int, int], kernel: Kernel) -> None:
    for drawing in (noise, slanted, scene):
        luma = drawing(*shape)
        (found,) = kernel.reductions(luma, None, ((PLAIN_WAY,),))
        difference = np.abs(found[0, :, 0] - pdq_reduction.blur_and_reduce(luma)).max()
        assert difference < pdq.rounding_noise(shape)


def test_weights_of_every_row_add_up_to_one() -> None:
    for length in (5, 64, 127, 128, 129, 512, 1024, 1025, 4001, 65000):
        weights = np.concatenate(
            [band.weights[0].sum(axis=1) for band in pdq_reduction._bands(length, length, (PLAIN_WAY,))]
        )
        assert len(weights) == 64
        np.testing.assert_allclose(weights, 1, atol=1e-4)


def test_layout_of_memory_does_not_matter() -> None:
    luma = scene(300, 200)
    expected = PDQ().digest(luma)
    spread = np.zeros((300, 400), np.uint8)
    spread[:, ::2] = luma
    turned = np.asfortranarray(luma)
    turned.flags.writeable = False
    assert PDQ().digest(spread[:, ::2]) == expected
    assert PDQ().digest(turned) == expected


def test_length_is_as_in_the_model() -> None:
    assert len(PDQ().digest(scene(70, 70))[0]) == ALGORITHMS[PDQ.name].size
    assert PDQ().digest(scene(3, 70)) == (bytes(32), 0)


@pytest.mark.parametrize(("way", "allowed"), [(reduced, 8 << 20), (pdq_reduction.blur_and_reduce, 64 << 20)])
def test_a_large_picture_is_never_copied_as_floats(
    way: Callable[[np.ndarray], np.ndarray], allowed: int
) -> None:
    luma = noise(1, 1 << 20).reshape(512, 2048).repeat(17, axis=0)
    way(luma[:600])
    tracemalloc.start()
    way(luma)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < allowed < 4 * luma.nbytes


def test_enormous_sides() -> None:
    luma = np.repeat(scene(40, 40), 1500, axis=1)
    digest, quality = PDQ().digest(luma)
    assert (digest, quality) == by_rounding(luma)
    assert PDQ().digest(np.ascontiguousarray(luma.T))[1] > 0


def block_means(luma: np.ndarray, factor: int) -> np.ndarray:
    """Return the picture as a JPEG decoded at a smaller scale; blocks at the far edges may be cut."""
    height, width = luma.shape
    rows, columns = -(-height // factor), -(-width // factor)
    padded = np.pad(luma, ((0, rows * factor - height), (0, columns * factor - width)), mode="edge")
    means = padded.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return means.round().astype(np.uint8)


def bits_apart(first: bytes, second: bytes) -> int:
    return (int.from_bytes(first, "big") ^ int.from_bytes(second, "big")).bit_count()


@pytest.mark.parametrize("shape", [(2048, 2048), (1537, 2051), (3000, 600)])
def test_a_reduced_picture_has_the_hash_of_the_stored_one(shape: tuple[int, int]) -> None:
    luma = scene(*shape)
    whole, quality = PDQ().digest(luma)
    for factor in (2, 4, 8):
        reduced, reduced_quality = PDQ().digest(block_means(luma, factor), shape)
        assert bits_apart(whole, reduced) <= 8, factor
        assert abs(quality - reduced_quality) <= 2, factor


def test_windows_stay_where_they_were() -> None:
    """A picture of blocks has the same 64x64 buffer, hashed whole or by its blocks' means."""
    blocks = noise(300, 200)
    whole = np.repeat(np.repeat(blocks, 8, axis=0), 8, axis=1)
    assert np.abs(reduced(whole) - reduced(blocks, whole.shape)).max() < 0.01
    assert np.abs(reduced(whole) - reduced(blocks)).max() > 1


def test_a_size_that_no_reduction_gives_is_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        PDQ().digest(scene(300, 300), (1000, 1000))


def in_square(luma: np.ndarray) -> np.ndarray:
    """The nearest pixels, as the reference's program for files picks them."""
    rows, columns = (np.arange(SQUARED_SIDE) * length // SQUARED_SIDE for length in luma.shape)
    return np.ascontiguousarray(luma[rows][:, columns])


@pytest.mark.parametrize("shape", [(513, 300), (700, 1025), (2000, 1500)])
def test_the_other_convention_is_the_hash_of_the_nearest_512_by_512(shape: tuple[int, int]) -> None:
    luma = scene(*shape)
    found = [h for h in digests(PDQ(), luma, wanted=VARIANTS) if h.rendering == SQUARED]
    value, quality = PDQ().digest(in_square(luma))
    assert bits_apart(found[0].value, value) <= 2
    assert abs(found[0].quality - quality) <= 1


def enlarged(luma: np.ndarray) -> np.ndarray:
    """Four times as high and wide, with what is between pixels taken from their neighbours."""
    size = luma.shape[1] * ENLARGEMENT, luma.shape[0] * ENLARGEMENT
    return np.asarray(Image.fromarray(luma).resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize("shape", [(512, 400), (80, 121)])
def test_small_pictures_are_enlarged_instead(shape: tuple[int, int]) -> None:
    luma = scene(*shape)
    first, second, *_ = digests(PDQ(), luma, wanted=VARIANTS)
    assert (first.rendering, second.rendering) == (PLAIN, ENLARGED)
    assert bits_apart(second.value, PDQ().digest(enlarged(luma))[0]) <= 4


def test_a_small_copy_is_nearer_where_it_is_enlarged() -> None:
    luma = rings(1200, 1600)
    original, _ = PDQ().digest(luma)
    copy = np.asarray(Image.fromarray(luma).resize((130, 98), Image.Resampling.BICUBIC))
    first, second, *_ = digests(PDQ(), copy, wanted=VARIANTS)
    assert bits_apart(second.value, original) < bits_apart(first.value, original) / 2


def test_an_inverted_picture_has_the_complement() -> None:
    luma = scene(600, 500)
    original, _ = PDQ().digest(luma)
    found = [h for h in digests(PDQ(), 255 - luma, None, (0, INVERTED), VARIANTS) if h.rendering == PLAIN]
    assert [h.turn for h in found] == [0, INVERTED]
    assert bits_apart(found[1].value, original) <= 2


@pytest.mark.parametrize("width", [900, 20_000])
def test_mirrored_pictures_are_reduced_as_if_they_had_been_mirrored_first(width: int) -> None:
    luma = scene(210, width)
    ways = tuple(
        ReductionMode(rendering, mirrored) for rendering in (PLAIN, SQUARED) for mirrored in (False, True)
    )
    (found,) = pdq_reduction.reductions(luma, None, (ways,))
    mirrored = np.ascontiguousarray(luma[::-1, ::-1])
    (expected,) = pdq_reduction.reductions(mirrored, None, (ways,))
    np.testing.assert_allclose(found[1, :, 1], expected[0, ::-1, 0, ::-1], atol=0.02)
    np.testing.assert_allclose(found[3, :, 3], expected[2, ::-1, 2, ::-1], atol=0.02)
    np.testing.assert_allclose(found[0, :, 3], expected[1, ::-1, 2, ::-1], atol=0.02)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reduced_pictures_are_turned_too(factor: int) -> None:
    shape = (factor * 150 - 1, factor * 170 - factor + 1)
    luma = scene(*shape)
    small = block_means(luma, factor)
    original, _ = PDQ().digest(np.ascontiguousarray(luma[:, ::-1]))
    found = {h.turn: h.value for h in digests(PDQ(), small, shape, range(8)) if h.rendering == 0}
    assert bits_apart(found[4], original) <= 8


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_only_pictures_with_detail_are_restored(kernel: Kernel) -> None:
    """A near-empty picture resembles others once its margins are repeated outwards."""
    hasher, detailed = PDQ(kernel), scene(300, 400)
    corner = np.full((300, 400), 30, np.uint8)
    corner[:90, :120] = detailed[:90, :120]
    restored = [
        [run.rendering for run in hasher.runs(luma, wanted=("restored", "sections"))]
        for luma in (detailed, corner, np.full((300, 400), 90, np.uint8), noise(8, SIDE_MAX + 1))
    ]
    assert restored == [[PLAIN, RESTORED, SECTION], [PLAIN], [PLAIN], [PLAIN]]
