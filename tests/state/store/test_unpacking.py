"""Tests of state.store.unpacking."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.pdq_reduction import likely_turned
from hashscan.hashing.records import pack_picture
from hashscan.hashing.variants import DigestRun, Kind, Part
from hashscan.model import ALGORITHMS, StoredContentData
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.packing import Guess, pack
from hashscan.state.store.unpacking import Beyond, CLoops, Loops, NumpyLoops, Unpacked, best_loops, blocks_of
from hashscan.state_dir import StateDir
from tests.state import profiles

NAMES = ("pdq", "phash")
PROFILE = replace(profiles.PROFILE, pictures=("pdq/1", "phash/1"))


@pytest.fixture
def contents(tmp_path: Path) -> Iterator[Contents]:
    database, folder, _ = open_database(StateDir(tmp_path))
    opened = Contents(database, folder, PROFILE)
    yield opened
    opened.close()
    database.close()


def run_of(
    part: Part, rendering: int, turns: tuple[int, ...], first: bytes, flips: int, quality: int
) -> DigestRun:
    """Return a run like that of a picture's turns: guessed right but for some bits."""
    rng = np.random.default_rng(first[0])
    rows = np.unpackbits(likely_turned(first, turns), axis=1)
    for row in rows[1:]:
        row[rng.choice(256, flips, replace=False)] ^= 1
    return DigestRun(part, rendering, turns, 0, "pdq", np.packbits(rows, axis=1).tobytes(), quality, 0)


def unpacked(contents: Contents, rows: NDArray[np.int64]) -> Iterator[Unpacked | Beyond]:
    for block in blocks_of(contents, rows):
        yield from block.digests()


def add(contents: Contents, *runs: DigestRun) -> int:
    said = pack_picture(FORMATS[0], 300, 200, NAMES, runs)
    exact = tuple(hashlib.new(name, os.urandom(8)).digest() for name in ("md5", "sha1", "sha256"))
    RUNS[exact[2]] = runs
    return contents.add(StoredContentData(exact, 0, pack(said, NAMES), False), 0, 5)


Found = set[tuple[int, str, bytes, int, int, int]]


RUNS: dict[bytes, tuple[DigestRun, ...]] = {}
"""The packed digests, by SHA-256."""


def one_by_one(contents: Contents, rows: list[int]) -> Found:
    found: Found = set()
    for row in rows:
        content = contents.load(row)
        for run in RUNS.get(content.exact["sha256"], ()):
            size = ALGORITHMS[run.algorithm].size
            if run.quality < ALGORITHMS[run.algorithm].min_quality:
                continue
            for place, turn in enumerate(run.turns):
                value = run.values[place * size : (place + 1) * size]
                assert value in content.reply
                found.add((row, run.algorithm, value, run.rendering, turn, run.shown))
    return found


def at_once(contents: Contents) -> Found:
    found: Found = set()
    for part in unpacked(contents, np.arange(contents.rows)):
        if isinstance(part, Beyond):
            found |= one_by_one(contents, part.rows.tolist())
            continue
        for row, value in zip(part.rows.tolist(), part.values, strict=True):
            found.add((row, part.algorithm, value.tobytes(), part.rendering, part.turn, part.shown))
    return found


def test_all_digests_come_out(contents: Contents) -> None:
    turns = tuple(range(9))
    for number in range(40):
        first = os.urandom(32)
        add(
            contents,
            run_of(Part(), 0, turns, first, number % 40, 40 + number),
            DigestRun(Part(), 0, (0,), 0, "phash", os.urandom(8), 100, 0),
            *([run_of(Part(), 1, turns[: number % 9 + 1], os.urandom(32), 3, 90)] if number % 3 else []),
        )
        contents.add(
            StoredContentData((os.urandom(16), os.urandom(20), os.urandom(32)), -1, None, False), 0, 5
        )
        frame = Part(Kind.FRAME, number + 1)
        add(
            contents,
            run_of(frame, 0, turns, first, 5, 100),
            run_of(Part(Kind.FRAME, 0), 0, (0,), first, 0, 99),
        )
    expected = one_by_one(contents, list(range(contents.rows)))
    assert at_once(contents) == expected
    assert len(expected) > 700


@given(data=st.data())
@settings(deadline=None)
def test_any_runs_come_out(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    turns = st.sets(st.integers(0, 8), min_size=1).map(lambda some: tuple(sorted(some)))
    drawn = st.builds(
        run_of,
        st.sampled_from([Part(), Part(Kind.FRAME, 3), Part(Kind.PREVIEW, 0)]),
        st.integers(0, 5),
        turns,
        st.binary(min_size=32, max_size=32),
        st.integers(0, 60),
        st.integers(0, 100),
    )
    pictures = data.draw(st.lists(st.lists(drawn, min_size=1, max_size=4), min_size=1, max_size=4))
    database, folder, _ = open_database(StateDir(tmp_path_factory.mktemp("state")))
    with closing(database), closing(Contents(database, folder, PROFILE)) as contents:
        for runs in pictures:
            add(contents, *runs)
        assert at_once(contents) == one_by_one(contents, list(range(contents.rows)))


def test_heads_without_a_number_are_unpacked_one_by_one(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashscan.state.store.contents._HEADS_MAX", 0)
    row = add(contents, run_of(Part(), 0, (0, 1), os.urandom(32), 3, 100))
    (found,) = unpacked(contents, np.arange(1))
    assert isinstance(found, Beyond)
    assert found.rows.tolist() == [row]


def test_what_was_spoilt_is_not_believed(contents: Contents) -> None:
    for _ in range(3):
        add(contents, run_of(Part(), 0, (0, 1, 2), os.urandom(32), 3, 100))
    column = contents.columns["further"]
    column.flush()
    path, whole = column.path, column.path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 + place % 250
        path.write_bytes(spoilt)
        try:
            list(unpacked(contents, np.arange(3)))
        except (ValueError, MemoryError):
            refused += 1
    path.write_bytes(whole)
    assert refused >= len(whole) - 3 * 20


def test_order_is_looked_at(contents: Contents) -> None:
    add(contents, run_of(Part(), 0, (0,), os.urandom(32), 0, 100))
    with pytest.raises(ValueError, match="order"):
        list(unpacked(contents, np.array([0, 0])))


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
