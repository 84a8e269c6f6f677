"""The weights of a side, against the box filter done step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.hashing import pdq_rounding
from hashscan.hashing.pdq_weights import ENLARGEMENT, PLAIN_WAY, SIDE, SQUARE, Way, bands, reduction
from hashscan.hashing.variants import ENLARGED, SQUARED


def matrix(length: int, kept: int, ways: tuple[Way, ...]) -> np.ndarray:
    """Shape (ways, 64, kept)."""
    whole = np.zeros((len(ways), SIDE, kept))
    first = 0
    for band in bands(length, kept, ways):
        last = first + band.weights.shape[1]
        whole[:, first:last, band.start : band.stop] = band.weights
        first = last
    assert first == SIDE
    return whole


def blurred_twice(side: int) -> np.ndarray:
    """The kept rows of two passes of the filter, as a matrix of shape (64, side)."""
    before, after = pdq_rounding.window_reach(pdq_rounding.window_size(side))
    once = np.zeros((side, side))
    for position in range(side):
        start, stop = max(position - before, 0), min(position + after, side - 1) + 1
        once[position, start:stop] = 1 / (stop - start)
    return (once @ once)[pdq_rounding.kept_positions(side)]


def blocks(length: int, factor: int) -> np.ndarray:
    """From the means of blocks to the pixels, shape (length, blocks)."""
    return (np.arange(length)[:, None] // factor == np.arange(-(-length // factor))).astype(float)


@settings(deadline=None, max_examples=60)
@given(length=st.integers(5, 1500), factor=st.sampled_from((1, 2, 4, 8)))
def test_weights_are_those_of_the_filter(length: int, factor: int) -> None:
    kept = -(-length // factor)
    if reduction(length, kept) != factor:
        return
    found = matrix(length, kept, (PLAIN_WAY, Way(mirrored=True)))
    pixels = blocks(length, factor)
    np.testing.assert_allclose(found[0], blurred_twice(length) @ pixels, atol=1e-6)
    np.testing.assert_allclose(found[1], blurred_twice(length)[::-1, ::-1] @ pixels, atol=1e-6)


@pytest.mark.parametrize(("length", "factor"), [(513, 1), (700, 2), (4001, 8)])
def test_squared_takes_the_nearest_pixels(length: int, factor: int) -> None:
    nearest = np.zeros((SQUARE, length))
    nearest[np.arange(SQUARE), np.arange(SQUARE) * length // SQUARE] = 1
    found = matrix(length, -(-length // factor), (Way(SQUARED), Way(SQUARED, mirrored=True)))
    expected = blurred_twice(SQUARE) @ nearest
    np.testing.assert_allclose(found[0], expected @ blocks(length, factor), atol=1e-6)
    mirrored = (blurred_twice(SQUARE) @ nearest)[::-1, ::-1]
    np.testing.assert_allclose(found[1], mirrored @ blocks(length, factor), atol=1e-6)


@pytest.mark.parametrize("length", [5, 64, 129, 480])
def test_enlarged_takes_from_both_neighbours(length: int) -> None:
    side = length * ENLARGEMENT
    places = ((np.arange(side) + 0.5) / ENLARGEMENT - 0.5).clip(0, length - 1)
    between = np.maximum(1 - np.abs(places[:, None] - np.arange(length)), 0)
    (found,) = matrix(length, length, (Way(ENLARGED),))
    np.testing.assert_allclose(found, blurred_twice(side) @ between, atol=1e-6)


def test_sides_of_millions_of_pixels_take_little_memory() -> None:
    import tracemalloc

    tracemalloc.start()
    found = bands(3_000_000, 3_000_000, (PLAIN_WAY,))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * sum(band.weights.nbytes for band in found)
    assert peak < held + (64 << 20)
    np.testing.assert_allclose([band.weights.sum() for band in found], 1, atol=1e-4)
