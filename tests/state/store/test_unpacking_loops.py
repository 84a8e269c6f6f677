from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.state.store.pdq_prediction import Guess
from hashscan.state.store.unpacking_loops import CLoops, Loops, NumpyLoops, best_loops

LOOPS: tuple[Loops, ...] = (NumpyLoops(), CLoops()) if isinstance(best_loops(), CLoops) else (NumpyLoops(),)
each = pytest.mark.parametrize("loops", LOOPS, ids=lambda loops: loops.name)


@each
@given(st.binary(min_size=1, max_size=100), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99))))
@settings(deadline=None)
def test_sums_are_those_of_zlib(loops: Loops, data: bytes, drawn: list[tuple[int, int]]) -> None:
    places = [(begin, length) for begin, length in drawn if begin + length <= len(data)]
    values = np.random.default_rng(len(places)).integers(0, 256, (len(places), 32), np.uint8)
    apart = np.arange(len(places)) % 2 == 0
    found = loops.sums(
        np.frombuffer(data, np.uint8),
        np.array([begin for begin, _ in places], np.int64),
        np.array([length for _, length in places], np.int64),
        values,
        apart,
    )
    wanted = [
        zlib.crc32(values[number].tobytes() if apart[number] else b"", zlib.crc32(data[at : at + length]))
        for number, (at, length) in enumerate(places)
    ]
    assert found.view("<u4").tolist() == wanted


@each
@pytest.mark.parametrize(("at", "length"), [(-1, 2), (0, -1), (8, 3), (11, 0), (2**62, 2**62)])
def test_sums_stay_within_the_data(loops: Loops, at: int, length: int) -> None:
    with pytest.raises(IndexError):
        loops.sums(
            np.zeros(10, np.uint8),
            np.array([at]),
            np.array([length]),
            np.zeros((1, 32), np.uint8),
            np.zeros(1, bool),
        )


@given(
    st.binary(min_size=1, max_size=120),
    st.lists(st.integers(-2, 125), max_size=5),
    st.sampled_from([8, 32]),
    st.booleans(),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_all_make_the_same_of_anything(data: bytes, at: list[int], size: int, swaps: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    known = random.integers(0, 256, (len(at), 32), np.uint8)
    guess = Guess(known, swaps, random.integers(0, 256, 32, np.uint8)) if size == 32 and seed % 5 else None
    said = []
    for loops in LOOPS:
        places = np.array(at, np.int64)
        try:
            values = loops.step(np.frombuffer(data, np.uint8), places, guess, size)
            said.append((values.tolist(), places.tolist()))
        except (IndexError, ValueError):
            said.append(([], [-1]))
    assert all(one == said[0] for one in said)


@each
def test_a_step_gives_digests_and_goes_on_behind_them(loops: Loops) -> None:
    data = np.array([9, 2, 0, 255, 255, *range(32)], np.uint8)
    guess = Guess(np.zeros((2, 32), np.uint8), False, np.zeros(32, np.uint8))
    at = np.array([1, 4])
    values = loops.step(data, at, guess, 32)
    assert values[0].tolist() == [0x80, *[0] * 30, 1]
    assert values[1].tolist() == list(range(32))
    assert at.tolist() == [4, 37]
    with pytest.raises(ValueError, match="hasn't"):
        loops.step(data, np.array([1]), None, 32)
    with pytest.raises(ValueError, match="another length"):
        loops.step(np.array([254, *range(40)], np.uint8), np.array([0]), None, 32)


def test_the_c_loops_check_what_they_are_given() -> None:
    unpack = pytest.importorskip("hashscan.state.store._unpack")
    data, at, values = np.zeros(40, np.uint8), np.zeros(2, np.int64), np.zeros((2, 32), np.uint8)
    mask = np.zeros(32, np.uint8)
    unpack.step(data, at, values, 32, True, values, True, mask)
    for wrong in (
        (data, at, values, 16, True, values, True, mask),
        (data, at, values[:1], 32, True, values[:1], True, mask),
        (data, at, values, 32, True, values[:1], True, mask),
        (data, at, values, 32, True, values, True, mask[:31]),
        (data, at, values.reshape(-1)[:16], 8, True, values, True, mask),
        (data, np.zeros(9, np.uint8)[1:], values, 32, True, values, True, mask),
    ):
        with pytest.raises(TypeError):
            unpack.step(*wrong)
    apart = np.zeros(2, bool)
    for wrong in ((data, at, at[:1], values, apart), (data, at, at, values[:1], apart)):
        with pytest.raises(TypeError):
            unpack.sums(*wrong)
    with pytest.raises(TypeError):
        unpack.sums(data, at, at, values, apart[:1])
