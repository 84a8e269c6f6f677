from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists.index.base import DamagedIndexError
from hashscan.lists.index.strategies import Exact
from tests.examples import examples
from tests.lists.index.build import CLUSTERS, brute_force, tuples, values_of


@given(
    kind=st.sampled_from(CLUSTERS),
    count=st.one_of(st.integers(1, 10), st.integers(1, 5000)),
    size=st.sampled_from([16, 20, 32, 64]),
    queries=st.integers(0, 9),
    begin=st.sampled_from(["as it is", "zeros", "ones"]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=examples(100))
def test_finds_what_brute_force_finds(
    kind: str, count: int, size: int, queries: int, begin: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = values_of(rng, kind, count, size)
    if begin != "as it is":
        values[rng.random(count) < 0.5, :8] = 0 if begin == "zeros" else 255
    asked = np.concatenate(
        (values[rng.integers(0, count, queries)], values_of(rng, "uniform", queries, size))
    )
    asked[queries : queries + 1, :8] = 255
    limits = np.full(len(asked), 99)
    segment = Exact().plain(values)
    assert tuples(segment.query(asked, limits)) == brute_force(values, asked, limits * 0)
    keys = {value.tobytes()[:8] for value in values}
    for value in asked:
        assert segment.lacks(value.tobytes()) == (value.tobytes()[:8] not in keys)


def test_tables_that_contradict_themselves_are_refused() -> None:
    values = values_of(np.random.default_rng(3), "uniform", 3000, 32)
    columns = dict(Exact().blocks(values))
    for name in ("starts", "rows"):
        wrong = np.full_like(columns[name], 2**32 - 1)
        with pytest.raises(DamagedIndexError):
            Exact().open(values, {**columns, name: wrong}).query(values[:9], np.zeros(9, dtype=np.int64))
        # So they are found out by a single digest, too.
        assert not Exact().open(values, {**columns, name: wrong}).lacks(values[0].tobytes())
