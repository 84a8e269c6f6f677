"""Tests of lists.storage.published_columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists.storage import columns, published_columns
from hashscan.lists.storage.columns import ColumnBlock, ColumnError, without
from hashscan.lists.storage.manifest import Manifest, Part, PartColumns, Shard, Withdrawal
from hashscan.lists.storage.published_columns import (
    ChainedBlocks,
    PublishedRows,
    RenumberedBlocks,
    unsharded,
    write_part,
    write_withdrawal,
)
from hashscan.lists.storage.stored_version import between, withdrawn_by_algorithm
from hashscan.model import CATEGORIES
from tests.examples import examples
from tests.lists.builders import NOW, some_entries
from tests.lists.parts import blocks_of, entries_of_blocks


def rows_of(folder: Path, part: Part, algorithm: str) -> list[ColumnBlock]:
    manifest = Manifest("test", part.version, NOW, CATEGORIES, (part,))
    return list(PublishedRows(folder, manifest, {name: name for name in part.names}, algorithm))


@given(count=st.integers(0, 40), length=st.integers(1, 9), rows=st.integers(1, 9), block=st.integers(1, 9))
@settings(deadline=None, max_examples=examples(40))
def test_rows_come_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, length: int, rows: int, block: int
) -> None:
    folder = tmp_path_factory.mktemp("part")
    entries = some_entries(count)
    id_size = max((len(entry.id) for entry in entries if entry.algorithm == "pdq"), default=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_columns, "SHARD_SIZE", rows * (id_size + 1 + 32))
        patch.setattr(columns, "BLOCK", block)
        part = write_part(folder, 3, blocks_of(entries, length))
        found = [
            entry
            for algorithm in part.algorithms
            for entry in entries_of_blocks(algorithm, rows_of(folder, part, algorithm))
        ]
    assert found == sorted(entries, key=lambda entry: entry.algorithm)
    assert {path.name for path in folder.iterdir()} == set(part.names)
    for algorithm, of_algorithm in part.algorithms.items():
        lengths = [shard.entries for shard in of_algorithm.shards]
        assert set(lengths[:-1]) <= {lengths[0]}
        assert lengths[-1] <= lengths[0]
        if algorithm == "pdq":
            assert of_algorithm.id_size == id_size
            assert lengths[:-1] == [rows] * (len(lengths) - 1)


def test_files_open_with_plain_numpy(tmp_path: Path) -> None:
    part = write_part(tmp_path, 7, blocks_of(some_entries(11, algorithms=["pdq"])), 0o644)
    (shard,) = part.algorithms["pdq"].shards
    assert shard.names == ("7.pdq.0000.ids.npy", "7.pdq.0000.category.npy", "7.pdq.0000.value.npy")
    assert np.load(tmp_path / shard.ids, allow_pickle=False).dtype == "S3"
    assert np.load(tmp_path / shard.value, allow_pickle=False).shape == (11, 32)
    withdrawal = write_withdrawal(tmp_path, 8, "pdq", np.array([0, 2**32 - 2]))
    assert (withdrawal.rows, withdrawal.file) == (2, "8.pdq.withdrawn.npy")
    gone = np.load(tmp_path / withdrawal.file, allow_pickle=False)
    assert (gone.dtype, gone.tolist()) == (np.uint32, [0, 2**32 - 2])


def test_a_full_shard_has_four_to_sixteen_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    class Many:
        def __iter__(self) -> Iterator[ColumnBlock]:
            for _ in range(5):
                yield (
                    np.full(50_000, b"12345678", dtype="S64"),
                    np.zeros(50_000, dtype=np.uint8),
                    rng.integers(0, 256, (50_000, 32), dtype=np.uint8),
                )

    part = write_part(tmp_path, 1, {"pdq": Many()})
    first, second = part.algorithms["pdq"].shards
    assert first.entries + second.entries == 250_000
    assert 4_000_000 <= sum((tmp_path / name).stat().st_size for name in first.names) <= 16_000_000


def test_what_can_be_gone_through_only_once_is_refused(tmp_path: Path) -> None:
    blocks = blocks_of(some_entries(3, algorithms=["md5"]))
    with pytest.raises(ValueError, match="only once"):
        write_part(tmp_path, 1, {"md5": iter(blocks["md5"])})


def test_an_empty_block_after_a_full_shard_makes_no_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks are empty where all of their entries were withdrawn."""
    monkeypatch.setattr(published_columns, "SHARD_SIZE", 1)
    (block,) = blocks_of(some_entries(1, algorithms=["md5"]))["md5"]
    nothing = (block[0][:0], block[1][:0], block[2][:0])
    part = write_part(tmp_path, 1, {"md5": [nothing, block, nothing]})
    assert [shard.entries for shard in part.algorithms["md5"].shards] == [1]


@pytest.mark.parametrize("rows", [[], [1, 1], [2, 1]])
def test_rows_are_withdrawn_in_order(tmp_path: Path, rows: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending order"):
        write_withdrawal(tmp_path, 1, "md5", np.array(rows, dtype=np.int64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("column", ["ids", "category", "value"])
def test_another_shape_is_refused(tmp_path: Path, column: str) -> None:
    part = write_part(tmp_path, 1, blocks_of(some_entries(5, algorithms=["md5"])))
    path = tmp_path / f"1.md5.0000.{column}.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ColumnError, match=path.name):
        rows_of(tmp_path, part, "md5")


def test_rows_of_several_parts_are_one_sequence(tmp_path: Path) -> None:
    entries = some_entries(9, algorithms=["md5"])
    parts = tuple(
        write_part(tmp_path, version, blocks_of(entries[start : start + 3]))
        for version, start in ((1, 0), (2, 3), (5, 6))
    )
    manifest = Manifest("test", 5, NOW, CATEGORIES, parts)
    names = {name: name for name in manifest.names}
    rows = PublishedRows(tmp_path, manifest, names, "md5")
    assert entries_of_blocks("md5", list(rows)) == entries
    assert entries_of_blocks("md5", list(rows)) == entries
    active = PublishedRows(tmp_path, manifest, names, "md5", np.array([0, 4, 8]))
    assert entries_of_blocks("md5", list(active)) == [entries[row] for row in (1, 2, 3, 5, 6, 7)]
    assert list(PublishedRows(tmp_path, manifest, names, "pdq")) == []
    assert unsharded("md5", parts[0].algorithms["md5"], names.__getitem__) is not None


def test_several_shards_are_no_single_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_columns, "SHARD_SIZE", 40)
    part = write_part(tmp_path, 1, blocks_of(some_entries(5, algorithms=["md5"])))
    assert len(part.algorithms["md5"].shards) == 3
    assert unsharded("md5", part.algorithms["md5"], str) is None


def test_categories_are_renumbered() -> None:
    entries = some_entries(4, algorithms=["md5"], categories=["B1", "A1"])
    blocks = blocks_of(entries, 3)["md5"]
    backwards = tuple(reversed(CATEGORIES))
    theirs = RenumberedBlocks(blocks, CATEGORIES, backwards)
    assert [block[1].tolist() for block in theirs] != [block[1].tolist() for block in blocks]
    ours = RenumberedBlocks(theirs, backwards, CATEGORIES)
    twice = ChainedBlocks((ours, blocks))
    assert entries_of_blocks("md5", list(twice)) == entries * 2
    left = list(without(twice, np.array([0, 1, 2, 7])))
    assert entries_of_blocks("md5", left) == (entries * 2)[3:7]


def part(version: int, rows: int, *withdrawn: Withdrawal) -> Part:
    columns = PartColumns(8, (Shard(rows, f"{version}.i", f"{version}.c", f"{version}.v"),))
    return Part(version, {"md5": columns} if rows else {}, {"md5": withdrawn[0]} if withdrawn else {})


def gone(folder: Path, *parts: Part) -> list[int]:
    manifest = Manifest("test", 9, NOW, CATEGORIES, parts)
    found = withdrawn_by_algorithm(manifest, lambda name: folder / name)
    assert set(found) <= {"md5"}
    return found["md5"].tolist() if found else []


@given(data=st.data())
@settings(deadline=None, max_examples=examples(40))
def test_withdrawals_add_up(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("withdrawn")
    rows, expected, parts = 0, set[int](), []
    for version in range(1, data.draw(st.integers(2, 5))):
        left = sorted(set(range(rows)) - expected)
        some = data.draw(st.sets(st.sampled_from(left))) if left else set()
        withdrawn = (
            [write_withdrawal(folder, version, "md5", np.array(sorted(some), dtype=np.int64))] if some else []
        )
        expected |= some
        more = data.draw(st.integers(0 if rows else 1, 6))
        parts.append(part(version, more, *withdrawn))
        rows += more
    assert gone(folder, *parts) == sorted(expected)
    cut = data.draw(st.integers(0, rows))
    every = np.array(sorted(expected), dtype=np.int64)
    assert between(every, 0, cut).tolist() == [row for row in sorted(expected) if row < cut]
    assert between(every, cut, rows).tolist() == [row - cut for row in sorted(expected) if row >= cut]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0, 0], [], "ascending order"),
        ([1, 0], [], "ascending order"),
        ([0, 3], [], "earlier rows"),
        ([2**32 - 1], [], "earlier rows"),
        ([0, 1], [1, 4], "withdraws a row again"),
        ([0, 1], [2, 5], "earlier rows"),
        ([0, 1], [2, 4], None),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path, first: list[int], second: list[int], message: str | None
) -> None:
    """Three rows, then two more."""
    parts = [part(1, 3)]
    for version, rows in ((2, first), (3, second)):
        np.save(tmp_path / f"{version}.npy", np.array(rows, dtype=np.uint32))
        withdrawn = [Withdrawal(len(rows), f"{version}.npy")] if rows else []
        parts.append(part(version, 2 if version == 2 else 0, *withdrawn))
    if message is None:
        assert gone(tmp_path, *parts) == [0, 1, 2, 4]
    else:
        with pytest.raises(ColumnError, match=message):
            gone(tmp_path, *parts)


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, ">u4"])
def test_another_type_is_refused(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "2.npy", np.array([1], dtype=dtype))
    with pytest.raises(ColumnError, match=r"2\.npy is no column"):
        gone(tmp_path, part(1, 3), part(2, 0, Withdrawal(1, "2.npy")))
