from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists.index.base import DamagedIndexError
from hashscan.lists.index.kernel import Kernel, words_of
from hashscan.lists.index.multi_index import NEIGHBOUR_TABLE_MAX, NeighbourTable
from hashscan.lists.index.strategies import Hamming
from tests.examples import examples
from tests.lists.index.build import CLUSTERS, KERNELS, brute_force, tuples, values_of

each = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


@each
@given(
    kind=st.sampled_from(CLUSTERS),
    count=st.one_of(st.integers(1, 40), st.integers(1, 3000)),
    size=st.sampled_from([8, 32]),
    thresholds=st.lists(
        st.sampled_from((0, 1, 7, 8, 11, 12, 20, 21, 31, 32, 34, 47, 48, 64)), min_size=1, max_size=6
    ),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=examples(30))
def test_finds_what_brute_force_finds(
    kernel: Kernel, kind: str, count: int, size: int, thresholds: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = values_of(rng, kind, count, size)
    limits = np.minimum(np.array(thresholds, dtype=np.int64), size * 8)
    asked = values[rng.integers(0, count, len(thresholds))]
    share = rng.choice([0.0, 0.02, 0.1, 0.5], (len(thresholds), 1))
    asked = asked ^ np.packbits(rng.random((len(thresholds), size * 8)) < share, axis=1)
    segment = Hamming(kernel).eager(values)
    assert tuples(segment.query(asked, limits)) == brute_force(values, asked, limits)


@each
@pytest.mark.parametrize("threshold", [21, 31, 34])
def test_a_table_of_neighbours_alone_misses_nothing(kernel: Kernel, threshold: int) -> None:
    rng = np.random.default_rng(threshold)
    values = values_of(rng, "uniform", 1000, 32)
    asked = np.unpackbits(values, axis=1)
    for row in asked:
        # Spread over all chunks, or in few of them.
        among = (
            rng.choice(256, 256, replace=False) if rng.random() < 0.5 else rng.integers(256) + np.arange(256)
        )
        row[among[: rng.integers(threshold - 1, threshold + 3)] % 256] ^= 1
    queries = words_of(np.packbits(asked, axis=1)).view(np.uint64)
    table = NeighbourTable.of(words_of(values).view(np.uint64))
    hits, given_up = kernel.probe_neighbours(table, queries, threshold, 2**40)
    limits = np.full(len(values), threshold)
    assert not given_up.size
    assert sorted(set(tuples(hits))) == brute_force(values, np.packbits(asked, axis=1), limits)


@each
def test_a_crowded_bucket_is_given_up_and_scanned(kernel: Kernel) -> None:
    values = values_of(np.random.default_rng(2), "uniform", 9000, 32)
    values[:6000] = values[0]
    asked, limits = values[[0, 8999]], np.array([31, 31])
    table = NeighbourTable.of(words_of(values).view(np.uint64))
    _, given_up = kernel.probe_neighbours(table, words_of(asked).view(np.uint64), 31, 5000)
    assert given_up.tolist() == [0]
    assert tuples(Hamming(kernel).eager(values).query(asked, limits)) == brute_force(values, asked, limits)


@each
@pytest.mark.parametrize("column", ["starts", "pairs"])
def test_a_table_of_neighbours_that_contradicts_itself_is_refused(kernel: Kernel, column: str) -> None:
    values = values_of(np.random.default_rng(3), "uniform", 500, 32)
    words = words_of(values).view(np.uint64)
    for wrong in (2**32 - 1, 500 * 17 + 1):
        table = NeighbourTable.of(words)
        if column == "starts":
            table.starts[:, ::2] = wrong
        else:
            table.pairs[:, :, 1] = wrong
        with pytest.raises(DamagedIndexError):
            kernel.probe_neighbours(table, words[:50], 31, 2**40)


def test_of_many_entries_none_is_made() -> None:
    values = np.zeros((NEIGHBOUR_TABLE_MAX + 1, 8), np.uint8)
    values[:, :4] = np.arange(NEIGHBOUR_TABLE_MAX + 1, dtype="<u4").view(np.uint8).reshape(-1, 4)
    assert Hamming().eager(values).neighbours is None  # type: ignore[attr-defined]
    assert Hamming().eager(values[1:]).neighbours is not None  # type: ignore[attr-defined]


def test_the_c_loop_checks_what_it_is_given() -> None:
    probe = pytest.importorskip("hashscan.lists.index._probe")
    values = values_of(np.random.default_rng(5), "uniform", 40, 32)
    table = NeighbourTable.of(words_of(values).view(np.uint64))
    good = [
        *(getattr(table, field.name) for field in dataclasses.fields(table)),
        table.limits(31),
        table.words[:2],
    ]
    assert len(probe.halo(*good, 31, 10**6)[1]) == 16
    for place, wrong in (
        *((number, array.reshape(-1)[1:]) for number, array in enumerate(good)),
        (5, table.limits(31)[:8]),
        (5, table.limits(31)[:0]),
    ):
        arguments = [*good]
        arguments[place] = wrong
        with pytest.raises(ValueError, match=r"fit|aligned"):
            probe.halo(*arguments, 31, 10**6)
    for threshold, budget in ((-1, 5), (31, -1)):
        with pytest.raises(ValueError, match="fit"):
            probe.halo(*good, threshold, budget)
