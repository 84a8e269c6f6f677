from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashscan.lists.index import CompiledIndex, kernel
from hashscan.lists.storage.columns import ColumnError, ListHandle
from hashscan.model import ALGORITHMS, CATEGORIES, Entry
from tests.examples import examples
from tests.lists.builders import some_entries
from tests.lists.storage.test_column_writer import written

HAMMING = ("pdq", "phash")
EXACT = ("md5", "sha1", "sha256", "sha512", "xxh3_128")


def handle(folder: Path, name: str, entries: list[Entry]) -> ListHandle:
    return ListHandle(name, 1, folder, CATEGORIES, written(folder, entries))


def values_near(
    rng: np.random.Generator, count: int, size: int, centres: int, max_flips: int
) -> NDArray[np.uint8]:
    """Digests: uniform ones, or ones within some flipped bits of a few centres."""
    values = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if centres and count:
        middle = rng.integers(0, 256, (centres, size), dtype=np.uint8)
        bits = np.zeros((count, size * 8), dtype=np.uint8)
        for row in bits:
            row[rng.choice(size * 8, rng.integers(0, max_flips + 1), replace=False)] = 1
        values = middle[rng.integers(0, centres, count)] ^ np.packbits(bits, axis=1)
    return values


def brute_force(
    values: NDArray[np.uint8], queries: NDArray[np.uint8], thresholds: Sequence[int], exact: bool
) -> list[tuple[int, int, int]]:
    """By counting bits in Python's own integers."""
    found = []
    for query_row, (query, threshold) in enumerate(zip(queries, thresholds, strict=True)):
        number = int.from_bytes(query.tobytes())
        for entry_row, value in enumerate(values):
            distance = (number ^ int.from_bytes(value.tobytes())).bit_count()
            if distance <= (0 if exact else threshold):
                found.append((query_row, entry_row, distance))
    return found


@given(
    algorithm=st.sampled_from(HAMMING + EXACT),
    sizes=st.lists(st.sampled_from([0, 1, 2, 7, 63, 300]), min_size=1, max_size=3),
    centres=st.sampled_from([0, 1, 4]),
    max_flips=st.sampled_from([0, 3, 40]),
    queries=st.integers(0, 5),
    thresholds=st.lists(st.sampled_from([0, 1, 31, 64, 128, 256]), min_size=5, max_size=5),
    block=st.sampled_from([1, 50, 1 << 14]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=examples(80))
def test_finds_what_brute_force_finds(
    tmp_path_factory: pytest.TempPathFactory,
    algorithm: str,
    sizes: list[int],
    centres: int,
    max_flips: int,
    queries: int,
    thresholds: list[int],
    block: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    size = ALGORITHMS[algorithm].size
    every = values_near(rng, sum(sizes) + queries, size, centres, max_flips)
    values, asked = every[: sum(sizes)], every[sum(sizes) :].copy()
    if len(values) and len(asked):
        asked[0] = values[-1]
    names = iter(range(len(values)))
    handles = []
    for number, count in enumerate(sizes):
        start = sum(sizes[:number])
        entries = [
            Entry(f"id{next(names)}", algorithm, value.tobytes(), "A1")
            for value in values[start : start + count]
        ]
        handles.append(handle(tmp_path_factory.mktemp("list"), f"list{number}", entries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_SCAN_BLOCK", block)
        index = CompiledIndex.open(handles)
        hits = index.query(algorithm, asked, np.array(thresholds[:queries], dtype=np.int_))
    found = [tuple(map(int, hit)) for hit in zip(*hits, strict=True)]
    exact = ALGORITHMS[algorithm].metric == "exact"
    assert found == brute_force(values, asked, thresholds[:queries], exact)
    assert len(index) == len(values)
    assert index.algorithms == ({algorithm} if len(values) else set())
    for _, entry_row, _ in found[:20]:
        list_name, entry_id, category = index.entry(algorithm, entry_row)
        assert entry_id == f"id{entry_row}"
        assert category == "A1"
        assert list_name == f"list{int(np.searchsorted(np.cumsum(sizes), entry_row, 'right'))}"


@pytest.mark.parametrize("threshold", [0, 1, 31, 64, 128, 256])
@pytest.mark.parametrize("centres", [0, 5])
def test_two_thousand_entries_at_every_threshold(tmp_path: Path, threshold: int, centres: int) -> None:
    rng = np.random.default_rng(threshold + centres)
    values = values_near(rng, 2000, 32, centres, 60)
    entries = [Entry(f"e{row}", "pdq", value.tobytes(), "B1") for row, value in enumerate(values)]
    index = CompiledIndex.open([handle(tmp_path, "one", entries)])
    asked = values[[0, 1999]] ^ np.array([0b101] + [0] * 31, dtype=np.uint8)
    hits = index.query("pdq", asked, np.array([threshold, threshold]))
    found = [tuple(map(int, hit)) for hit in zip(*hits, strict=True)]
    assert found == brute_force(values, asked, [threshold] * 2, exact=False)
    assert (len(found) == 4000) == (threshold == 256)


def test_equal_beginnings_are_no_match(tmp_path: Path) -> None:
    entries = [
        Entry("same", "sha256", b"12345678" + b"a" * 24, "A1"),
        Entry("like", "sha256", b"12345678" + b"b" * 24, "A1"),
        Entry("twin", "sha256", b"12345678" + b"a" * 24, "A2"),
    ]
    index = CompiledIndex.open([handle(tmp_path, "one", entries)])
    asked = np.frombuffer(entries[0].value, dtype=np.uint8).reshape(1, 32)
    _, rows, distances = index.query("sha256", asked, np.array([0]))
    assert {index.entry("sha256", int(row)) for row in rows} == {
        ("one", "same", "A1"),
        ("one", "twin", "A2"),
    }
    assert distances.tolist() == [0, 0]


def test_an_algorithm_without_entries_has_no_hits(tmp_path: Path) -> None:
    index = CompiledIndex.open([handle(tmp_path, "one", some_entries(3, algorithms=["md5"]))])
    for algorithm, size in (("pdq", 32), ("sha1", 20)):
        hits = index.query(algorithm, np.zeros((2, size), dtype=np.uint8), np.array([256, 256]))
        assert [column.size for column in hits] == [0, 0, 0]
    assert len(CompiledIndex.open([])) == 0


@pytest.mark.parametrize(
    ("values", "thresholds"),
    [
        (np.zeros((1, 31), dtype=np.uint8), np.array([0])),
        (np.zeros(32, dtype=np.uint8), np.array([0])),
        (np.zeros((1, 32), dtype=np.int8), np.array([0])),
        (np.zeros((2, 32), dtype=np.uint8), np.array([0])),
        (np.zeros((1, 32), dtype=np.uint8), np.array([-1])),
    ],
)
def test_a_wrong_question_is_refused(values: NDArray[np.uint8], thresholds: NDArray[np.int_]) -> None:
    with pytest.raises(ValueError, match=r"asked with|threshold"):
        CompiledIndex.open([]).query("pdq", values, thresholds)


def test_a_handle_travels_and_opens_elsewhere(tmp_path: Path) -> None:
    made = handle(tmp_path, "one", some_entries(9))
    assert len(CompiledIndex.open([pickle.loads(pickle.dumps(made))])) == 9


def test_a_changed_file_is_noticed_on_opening(tmp_path: Path) -> None:
    made = handle(tmp_path, "one", some_entries(9))
    (tmp_path / "pdq.value.npy").write_bytes(b"short")
    with pytest.raises(ColumnError):
        CompiledIndex.open([made])


def test_the_value_of_what_was_found(tmp_path: Path) -> None:
    first, second = some_entries(20), some_entries(20, start=20)
    (tmp_path / "second").mkdir()
    index = CompiledIndex.open(
        [handle(tmp_path, "first", first), handle(tmp_path / "second", "second", second)]
    )
    for entry in (*first, *second):
        asked = np.frombuffer(entry.value, dtype=np.uint8).reshape(1, -1)
        _, rows, _ = index.query(entry.algorithm, asked, np.array([0]))
        assert [index.value(entry.algorithm, int(row)) for row in rows] == [entry.value]
    with pytest.raises(IndexError):
        index.value("md5", index.entries("md5"))
