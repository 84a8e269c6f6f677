from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashscan.lists.index.kernel import Kernel
from hashscan.lists.index.quadrants import SLACK, Quadrants, distances, has_enough
from hashscan.lists.index.strategies import Hamming
from hashscan.lists.storage.degenerate import without_uniform
from tests.examples import examples
from tests.lists.index.build import CLUSTERS, KERNELS, tuples, values_of

PART = 32


def brute_force(
    values: NDArray[np.uint8], asked: NDArray[np.uint8], limits: list[int]
) -> list[tuple[int, int, int]]:
    """Compare all quadrants in plain Python."""
    found = []
    values = without_uniform(values)
    for query, one in enumerate(asked.tolist()):
        for row, other in enumerate(values.tolist()):
            apart = sorted(
                (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()
                for at in range(0, 4 * PART, PART)
                if any(a := one[at : at + PART]) and any(b := other[at : at + PART])
            )
            if len(apart) > 1 and (distance := max(apart[0], apart[1] - SLACK)) <= limits[query]:
                found.append((query, row, distance))
    return found


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@given(
    kind=st.sampled_from(CLUSTERS),
    count=st.integers(1, 300),
    limits=st.lists(st.sampled_from((0, 1, 12, 31, 40, 256)), min_size=1, max_size=4),
    way=st.sampled_from(("plain", "eager", "compiled")),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=examples(30))
def test_finds_what_brute_force_finds(
    kernel: Kernel, kind: str, count: int, limits: list[int], way: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = values_of(rng, kind, 4 * count, PART)
    # Some quadrants of entries and of queries are left out.
    values[rng.random(len(values)) < 0.2] = 0
    values = values.reshape(count, -1)
    asked = values[rng.integers(0, count, len(limits))].reshape(-1, PART)
    share = rng.choice([0.0, 0.02, 0.1, 0.17, 0.5], (len(asked), 1))
    asked = asked ^ np.packbits(rng.random((len(asked), 8 * PART)) < share, axis=1)
    asked[rng.random(len(asked)) < 0.2] = 0
    asked = asked.reshape(len(limits), -1)
    strategy = Quadrants(Hamming(kernel))
    if way == "compiled":
        columns: dict[str, list[NDArray[np.uint32]]] = {}
        for name, block in strategy.blocks(values):
            columns.setdefault(name, []).append(block)
        made = {name: np.concatenate(blocks) for name, blocks in columns.items()}
        expected = {name: (column.dtype, len(column)) for name, column in made.items()}
        assert expected == dict(strategy.expected(*values.shape))
        segment = strategy.open(values, made)
    else:
        segment = strategy.eager(values) if way == "eager" else strategy.plain(values)
    found = tuples(segment.query(asked, np.array(limits, np.int64)))
    assert found == brute_force(values, asked, limits)
    for query, row, distance in found:
        assert distances(without_uniform(values[row][None]), asked[query][None]) == distance


def test_the_same_quadrant_elsewhere_is_not_near() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(1, 256, (3, 4 * PART), dtype=np.uint8)
    turned = np.roll(values, PART, axis=1)
    assert not tuples(Quadrants(Hamming()).plain(values).query(turned, np.full(3, 31)))


def test_one_quadrant_is_not_enough() -> None:
    assert not has_enough(bytes(range(PART)) + bytes(3 * PART))
    assert has_enough(bytes(PART) + bytes(range(PART)) * 2 + bytes(PART))
