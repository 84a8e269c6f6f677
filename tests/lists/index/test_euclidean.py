from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashscan.lists.index.base import DamagedIndexError, Segment
from hashscan.lists.index.euclidean import (
    AXES,
    GROUP,
    LEAF,
    CEuclidean,
    Euclidean,
    EuclideanKernel,
    Frame,
    NumpyEuclidean,
    best_euclidean,
    by_pairs,
)
from tests.examples import examples
from tests.lists.index.build import tuples

KERNELS: tuple[EuclideanKernel, ...] = (
    (NumpyEuclidean(), CEuclidean()) if isinstance(best_euclidean(), CEuclidean) else (NumpyEuclidean(),)
)
KINDS = ("uniform", "near", "extreme", "equal", "plane", "copies")


def vectors_of(rng: np.random.Generator, kind: str, count: int, size: int) -> NDArray[np.uint8]:
    """Vectors: uniform; some steps from 3 centres; of 0 and 255 alone; equal; in a plane; half equal."""
    values = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == "near":
        moved = values[rng.integers(0, min(3, count), count)] + np.rint(rng.normal(size=(count, size)) * 8)
        return np.clip(moved, 0, 255).astype(np.uint8)
    if kind == "extreme":
        return (rng.random((count, size)) < rng.random((count, 1))).astype(np.uint8) * 255
    if kind == "equal":
        values[:] = values[0]
    if kind == "plane":
        return np.clip(rng.normal(size=(count, 2)) @ rng.normal(size=(2, size)) * 40 + 128, 0, 255).astype(
            np.uint8
        )
    if kind == "copies":
        values[rng.random(count) < 0.5] = values[0]
    return values


def brute_force(
    values: NDArray[np.uint8], queries: NDArray[np.uint8], thresholds: NDArray[np.int64]
) -> list[tuple[int, int, int]]:
    found = []
    for query_row, (query, threshold) in enumerate(zip(queries, thresholds, strict=True)):
        distances = ((values.astype(np.int64) - query) ** 2).sum(axis=1)
        rows = np.flatnonzero(distances <= threshold).tolist()
        found += [(query_row, row, int(distances[row])) for row in rows]
    return found


def columns_of(values: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    made: dict[str, list[NDArray[Any]]] = {}
    for name, block in Euclidean().blocks(values):
        made.setdefault(name, []).append(block)
    return {name: np.concatenate(blocks) for name, blocks in made.items()}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@given(
    kind=st.sampled_from(KINDS),
    count=st.one_of(st.integers(1, 40), st.integers(1, 1000)),
    size=st.sampled_from([4, 16, 50, 144]),
    share=st.lists(st.sampled_from([0.0, 1e-4, 2e-3, 0.02, 0.2, 1.0]), min_size=1, max_size=5),
    searched=st.sampled_from(["plain", "eager", "open"]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=examples(40))
def test_finds_what_brute_force_finds(
    kernel: EuclideanKernel, kind: str, count: int, size: int, share: list[float], searched: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = vectors_of(rng, kind, count, size)
    limits = (np.array(share) * size * 255**2).astype(np.int64)
    moved = values[rng.integers(0, count, len(limits))].astype(np.int64)
    moved += np.rint(rng.normal(size=moved.shape) * rng.choice([0, 3, 30])).astype(np.int64)
    asked = np.clip(moved, 0, 255).astype(np.uint8)
    strategy = Euclidean(kernel)
    segment: Segment
    if searched == "open":
        segment = strategy.open(values, columns_of(values))
    else:
        segment = strategy.plain(values) if searched == "plain" else strategy.eager(values)
    assert tuples(segment.query(asked, limits)) == brute_force(values, asked, limits)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 1000), spread=st.sampled_from([0, 1, 6, 60]))
@settings(deadline=None, max_examples=examples(24))
def test_an_entry_at_the_very_limit_is_found(
    kernel: EuclideanKernel, seed: int, count: int, spread: int
) -> None:
    """The coordinates are rounded and clipped, and the limit allows for exactly that."""
    rng = np.random.default_rng(seed)
    values = vectors_of(rng, "near", count, 144)
    segment = Euclidean(kernel).open(values, columns_of(values))
    moved = values[:3] + np.rint(rng.normal(size=(min(3, count), 144)) * spread)
    asked = np.clip(moved, 0, 255).astype(np.uint8)
    limits = np.array([((values[row].astype(int) - asked[row]) ** 2).sum() for row in range(len(asked))])
    assert tuples(segment.query(asked, limits)) == brute_force(values, asked, limits)
    found = {(query, row) for query, row, _ in tuples(segment.query(asked, limits))}
    assert {(row, row) for row in range(len(asked))} <= found
    assert (limits == 0).all() or (0, 0) not in {
        (query, row)
        for query, row, _ in tuples(segment.query(asked, np.maximum(limits - 1, 0)))
        if limits[0] > 0
    }


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_poor_axes_cost_time_and_no_match(kernel: EuclideanKernel) -> None:
    """The axes follow from a sample, which may resemble no other entry."""
    rng = np.random.default_rng(5)
    values = vectors_of(rng, "uniform", 3000, 144)
    columns = columns_of(values)
    frame = columns["frame"].copy()
    rotated = np.linalg.qr(rng.normal(size=(144, AXES - 1)))[0].T
    frame[1 + AXES :] = rotated.ravel()
    segment = Euclidean(kernel).open(values, columns_of_frame(values, frame))
    asked, limits = values[:5], np.full(5, 1_200_000)
    assert tuples(segment.query(asked, limits)) == brute_force(values, asked, limits)


def columns_of_frame(values: NDArray[np.uint8], frame: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Return columns of entries in the sequence of their rows, along the axes of a frame."""
    codes = Frame.read(frame, values.shape[1]).codes(values)
    starts = np.arange(0, len(values), LEAF)
    return {
        "frame": frame,
        "rows": np.arange(len(values), dtype=np.uint32),
        "low": by_pairs(np.minimum.reduceat(codes, starts, axis=0), GROUP),
        "high": by_pairs(np.maximum.reduceat(codes, starts, axis=0), GROUP),
        "codes": np.concatenate([by_pairs(codes[begin : begin + LEAF], LEAF) for begin in starts]),
    }


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_a_row_that_is_not_there_is_damage(kernel: EuclideanKernel) -> None:
    values = vectors_of(np.random.default_rng(1), "near", 500, 144)
    columns = columns_of(values)
    columns["rows"][:] = 500
    segment = Euclidean(kernel).open(values, columns)
    with pytest.raises(DamagedIndexError):
        segment.query(values[:1], np.array([1000]))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["frame", "rows", "low", "high", "codes"]))
@settings(deadline=None, max_examples=examples(24))
def test_damaged_columns_are_never_followed_out_of_bounds(
    kernel: EuclideanKernel, seed: int, name: str
) -> None:
    rng = np.random.default_rng(seed)
    values = vectors_of(rng, "near", 300, 144)
    columns = columns_of(values)
    damaged = columns[name].view(np.uint8).copy()
    damaged[rng.integers(0, len(damaged), 20)] = rng.integers(0, 256, 20)
    segment = Euclidean(kernel).open(values, {**columns, name: damaged.view(columns[name].dtype)})
    try:
        with np.errstate(all="ignore"):
            found = tuples(segment.query(values[:5], np.full(5, 4000)))
    except DamagedIndexError:
        return
    assert set(found) <= set(brute_force(values, values[:5], np.full(5, 4000)))


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    _euclid = pytest.importorskip("hashscan.lists.index._euclid")
    values = vectors_of(np.random.default_rng(1), "uniform", 300, 144)
    made = columns_of(values)
    good = [
        *(values, made["codes"], made["low"], made["high"], made["rows"]),
        *(np.zeros((2, AXES), np.uint8), np.zeros(2, np.int64), values[:2].copy(), np.zeros(2, np.int64)),
    ]
    assert _euclid.probe(*good, 144) is not None
    for place in range(len(good)):
        short = [*good]
        short[place] = good[place].ravel()[:-1]
        with pytest.raises(ValueError, match=r"fit together|aligned"):
            _euclid.probe(*short, 144)
    for size in (0, -1, 143, 2**40):
        with pytest.raises(ValueError, match=r"fit together|aligned"):
            _euclid.probe(*good, size)
        with pytest.raises(ValueError, match=r"fit together|aligned"):
            _euclid.scan(values, values[:2].copy(), np.zeros(2, np.int64), size)
    for limit in (-1, 2**31):
        with pytest.raises(ValueError, match=r"fit together|aligned"):
            _euclid.probe(*good[:6], np.array([0, limit]), *good[7:], 144)
        with pytest.raises(ValueError, match=r"fit together|aligned"):
            _euclid.scan(values, values[:2].copy(), np.array([0, limit]), 144)
