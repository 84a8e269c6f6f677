from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashscan.lists.index.base import DamagedIndexError
from hashscan.lists.index.kernel import ChunkTables, Kernel, words_of
from hashscan.lists.index.multi_index import Chunks, flips
from hashscan.lists.index.strategies import Hamming
from tests.examples import examples
from tests.lists.index.build import CLUSTERS, KERNELS, brute_force, tuples, values_of

THRESHOLDS = (0, 1, 7, 12, 21, 31, 34, 47, 48, 52, 64, 128, 256)


@pytest.fixture(params=[8, 16], autouse=True)
def length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of both lengths, with few entries."""
    monkeypatch.setattr("hashscan.lists.index.multi_index.SHORT_MAX", {8: 10**6, 16: 0}[request.param])
    return int(request.param)


def columns_of(values: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    made: dict[str, list[NDArray[Any]]] = {}
    for name, block in Hamming().blocks(values):
        made.setdefault(name, []).append(block)
    return {name: np.concatenate(blocks) for name, blocks in made.items()}


def tables_of(values: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]] | None = None) -> ChunkTables:
    made = columns or columns_of(values)
    chunks = Chunks.of(values.shape[1] * 8, len(values))
    return ChunkTables(chunks, words_of(values).view(np.uint64), **made)


def unique(hits: Any) -> list[tuple[int, int, int]]:
    return sorted(set(tuples(hits)))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@given(
    kind=st.sampled_from(CLUSTERS),
    count=st.one_of(st.integers(1, 40), st.integers(1, 5000)),
    size=st.sampled_from([8, 32]),
    thresholds=st.lists(st.sampled_from(THRESHOLDS), min_size=1, max_size=6),
    small=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=examples(60))
def test_finds_what_brute_force_finds(
    kernel: Kernel, kind: str, count: int, size: int, thresholds: list[int], small: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = values_of(rng, kind, count, size)
    limits = np.minimum(np.array(thresholds, dtype=np.int64), size * 8)
    asked = values[rng.integers(0, count, len(thresholds))]
    share = rng.choice([0.0, 0.02, 0.1, 0.5], (len(thresholds), 1))
    asked = asked ^ np.packbits(rng.random((len(thresholds), size * 8)) < share, axis=1)
    strategy = Hamming(kernel)
    segment = strategy.plain(values) if small else strategy.open(values, columns_of(values))
    assert tuples(segment.query(asked, limits)) == brute_force(values, asked, limits)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@given(
    kind=st.sampled_from(CLUSTERS),
    count=st.integers(1, 3000),
    size=st.sampled_from([8, 32]),
    thresholds=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=examples(60))
def test_chunks_alone_miss_nothing(
    kernel: Kernel, kind: str, count: int, size: int, thresholds: list[int], seed: int
) -> None:
    """Without the fall-back to a scan, which would hide what the chunks miss."""
    rng = np.random.default_rng(seed)
    values = values_of(rng, kind, count, size)
    # 64 bits in four chunks of 16: more flips are too many buckets for a test.
    limits = np.minimum(np.array(thresholds, dtype=np.int64), 40 if size == 32 else 12)
    asked = values[rng.integers(0, count, len(limits))]
    flips = np.zeros((len(limits), size * 8), dtype=np.uint8)
    for row, limit in zip(flips, limits, strict=True):
        row[rng.choice(size * 8, rng.integers(0, limit + 1), replace=False)] = 1
    asked ^= np.packbits(flips, axis=1)
    queries = words_of(asked).view(np.uint64)
    hits, given_up = kernel.probe(tables_of(values), queries, limits, 2**40)
    assert not given_up.size
    assert unique(hits) == brute_force(values, asked, limits)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_all_ways_to_spread_the_flips_are_found(kernel: Kernel) -> None:
    """As many flips as the threshold allows, in runs, evenly, at the chunks' borders."""
    rng = np.random.default_rng(1)
    values = values_of(rng, "uniform", 40_000, 32)
    tables = tables_of(values)
    for threshold in (7, 21, 31, 33):
        asked = values[:200].copy()
        for number, query in enumerate(asked):
            bits = np.zeros(256, dtype=np.uint8)
            start, step = int(rng.integers(256)), int(rng.integers(1, 256 // threshold + 1))
            bits[(start + step * np.arange(threshold)) % 256] = 1
            query ^= np.packbits(bits, bitorder="little" if number % 2 else "big")
        queries = words_of(asked).view(np.uint64)
        hits, _ = kernel.probe(tables, queries, np.full(200, threshold), 2**40)
        assert {(q, e) for q, e, _ in tuples(hits)} >= {(number, number) for number in range(200)}
        hits, _ = kernel.probe(tables, queries, np.full(200, threshold - 1), 2**40)
        assert not {(q, e) for q, e, _ in tuples(hits)} & {(number, number) for number in range(200)}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_a_crowded_bucket_is_given_up_and_scanned(kernel: Kernel) -> None:
    rng = np.random.default_rng(2)
    values = values_of(rng, "uniform", 30_000, 32)
    values[:20_000] = values[0]
    asked = values[[0, 29_999]]
    limits = np.array([31, 31])
    _, given_up = kernel.probe(tables_of(values), words_of(asked).view(np.uint64), limits, 60_000)
    assert given_up.tolist() == [0]
    segment = Hamming(kernel).open(values, columns_of(values))
    assert tuples(segment.query(asked, limits)) == brute_force(values, asked, limits)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("column", ["starts", "rows"])
def test_tables_that_contradict_themselves_are_refused(kernel: Kernel, column: str) -> None:
    values = values_of(np.random.default_rng(3), "uniform", 3000, 32)
    for wrong in (2**32 - 1, 3001):
        columns = columns_of(values)
        columns[column][:] = wrong
        if column == "starts":
            columns[column][::2] = 0
        with pytest.raises(DamagedIndexError):
            kernel.probe(
                tables_of(values, columns), words_of(values[:50]).view(np.uint64), np.full(50, 31), 2**40
            )


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_searching_by_chunks_stops_where_it_no_longer_pays(kernel: Kernel) -> None:
    values = values_of(np.random.default_rng(4), "uniform", 100_000, 32)
    segment = Hamming(kernel).open(values, columns_of(values))
    pays = [segment.searches_by_chunks(threshold) for threshold in range(257)]  # type: ignore[attr-defined]
    assert pays[31]
    assert not pays[100]
    assert pays == sorted(pays, reverse=True)


def test_the_c_loops_check_what_they_are_given(length: int) -> None:
    probe = pytest.importorskip("hashscan.lists.index._probe")
    values = values_of(np.random.default_rng(5), "uniform", 3000, 32)
    tables = tables_of(values)
    masks, upto = flips(length)
    good = {
        "words": tables.words,
        "starts": tables.starts,
        "near": tables.near,
        "after": tables.after,
        "rows": tables.rows,
        "masks": masks,
        "upto": upto,
        "queries": tables.words[:2],
        "thresholds": np.array([3, 3]),
    }
    _, spent = probe.probe(*good.values(), length, 10**6)
    assert len(spent) == 16
    for name, wrong in (
        ("words", tables.words[:-1]),
        ("starts", tables.starts[:-1]),
        ("starts", tables.starts[:0]),
        ("near", tables.near[1:]),
        ("after", tables.after[1:]),
        ("rows", tables.rows[1:]),
        ("masks", masks[:-1]),
        ("upto", upto[:-1]),
        ("upto", upto * 1000),
        ("upto", -upto),
        ("queries", tables.words[:3]),
        ("queries", np.zeros(9, dtype=np.uint8)[1:9]),
        ("thresholds", np.array([3, 257])),
        ("thresholds", np.array([-1, 3])),
    ):
        with pytest.raises(ValueError, match=r"fit|aligned"):
            probe.probe(*(good | {name: wrong}).values(), length, 10**6)
    for wrong_length in (0, -8, 24 - length, 12, 2**40):
        with pytest.raises(ValueError, match="fit"):
            probe.probe(*good.values(), wrong_length, 10**6)
    with pytest.raises(ValueError, match="fit"):
        probe.probe(*good.values(), length, -1)
    for size in (0, -1, 3, 2**40):
        with pytest.raises(ValueError, match="fit"):
            probe.scan(tables.words[:5], tables.words[:2], np.array([3, 3]), size)
    with pytest.raises((BufferError, ValueError)):
        probe.scan(tables.words[::2], tables.words[:2], np.array([3, 3]), 4)
