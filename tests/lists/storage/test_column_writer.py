"""Tests of lists.storage.column_writer."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import ListFormatError
from hashscan.lists.storage import column_writer
from hashscan.lists.storage.column_writer import ColumnWriter, GrowingColumn
from hashscan.lists.storage.columns import ColumnFiles, EntryBlock, open_columns
from hashscan.model import CATEGORIES, Entry
from tests.examples import examples
from tests.lists.builders import some_entries


def written(folder: Path, entries: list[Entry]) -> tuple[ColumnFiles, ...]:
    with ColumnWriter(folder) as writer:
        writer.add(entries)
        return writer.finish()


def read_back(folder: Path, files: tuple[ColumnFiles, ...]) -> list[Entry]:
    entries = []
    for of_algorithm in files:
        found = open_columns(folder, of_algorithm)
        entries += [
            Entry(bytes(entry_id).decode(), of_algorithm.algorithm, value.tobytes(), CATEGORIES[category])
            for entry_id, category, value in zip(found.ids, found.category, found.value, strict=True)
        ]
    return entries


def by_algorithm(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.algorithm)


@given(count=st.integers(0, 40), block=st.integers(1, 9), repeats=st.lists(st.integers(0, 39), max_size=10))
@settings(deadline=None, max_examples=examples(40))
def test_entries_come_back_in_order_and_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, block: int, repeats: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    entries = some_entries(count)
    again = [entries[number] for number in repeats if number < count]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_writer, "BLOCK", block)
        patch.setattr(column_writer, "BLOCK", block)
        files = written(folder, entries + again)
    assert read_back(folder, files) == by_algorithm(entries)
    assert {path.name for path in folder.iterdir()} == {name for row in files for name in row.names}


def test_files_open_with_plain_numpy_and_without_pickle(tmp_path: Path) -> None:
    files = written(tmp_path, some_entries(7, algorithms=["pdq"]))
    assert np.load(tmp_path / "pdq.value.npy", allow_pickle=False).shape == (7, 32)
    assert np.load(tmp_path / "pdq.ids.npy", allow_pickle=False).dtype == "S64"
    assert files == (ColumnFiles("pdq", 7, 64, "pdq.ids.npy", "pdq.category.npy", "pdq.value.npy"),)
    assert (tmp_path / "pdq.ids.npy").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "other",
    [
        Entry("e0", "md5", b"x" * 16, "A1"),
        Entry("e0", "md5", some_entries(1)[0].value, "known-good"),
        Entry("e0", "pdq", b"x" * 32, "A1"),
    ],
)
def test_an_id_means_one_entry(tmp_path: Path, other: Entry) -> None:
    with pytest.raises(ListFormatError, match="'e0' is given to two different entries"):
        written(tmp_path, [*some_entries(9), other])


def test_blocks_and_single_entries_are_counted_by_category(tmp_path: Path) -> None:
    first, second, *others = some_entries(30, algorithms=["md5", "sha1"])
    block = EntryBlock(
        "md5",
        np.array([b"e0", b"of-a-block"]),
        np.array([CATEGORIES.index(first.category), CATEGORIES.index("test")], dtype=np.uint8),
        np.array([list(first.value), list(range(16))], dtype=np.uint8),
    )
    with ColumnWriter(tmp_path) as writer:
        writer.add([first, second, block, first, *others])
        files = writer.finish()
    entries = read_back(tmp_path, files)
    made = Entry("of-a-block", "md5", bytes(range(16)), "test")
    expected = by_algorithm([first, made, second, *others])
    assert sorted(entries, key=str) == sorted(expected, key=str)
    assert writer.counts == Counter((entry.algorithm, entry.category) for entry in expected)


def test_a_folder_that_holds_columns_is_not_written_over(tmp_path: Path) -> None:
    before = written(tmp_path, some_entries(1))
    with pytest.raises(FileExistsError):
        written(tmp_path, some_entries(2))
    assert read_back(tmp_path, before) == some_entries(1)


def test_a_writer_that_is_given_up_leaves_no_file_open(tmp_path: Path) -> None:
    held = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), ColumnWriter(tmp_path) as writer:
        writer.add([*some_entries(3), Entry("x", "no such algorithm", b"", "A1")])
    assert len(os.listdir("/proc/self/fd")) == held


@given(
    lengths=st.lists(st.integers(0, 9), max_size=5),
    width=st.sampled_from([(), (3,)]),
    block=st.integers(1, 8),
    data=st.data(),
)
@settings(deadline=None, max_examples=examples(60))
def test_rows_are_added_read_and_taken_out(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    width: tuple[int, ...],
    block: int,
    data: st.DataObject,
) -> None:
    total = sum(lengths)
    rows = np.arange(total * 3, dtype=np.uint16).reshape(total, 3)
    rows = rows if width else rows[:, 0]
    leave = np.array(data.draw(st.lists(st.booleans(), min_size=total, max_size=total)), dtype=bool)
    path = tmp_path_factory.mktemp("growing") / "column.npy"
    with closing(GrowingColumn(path, np.dtype("<u2"), width, 0o600)) as column:
        at = 0
        for length in lengths:
            column.append(rows[at : at + length])
            at += length
            start = data.draw(st.integers(0, at))
            assert np.array_equal(column.read(start, 4), rows[start : min(start + 4, at)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(column_writer, "BLOCK", block)
            column.leave_out(leave)
        column.append(rows[:1])
        column.finish()
    assert np.array_equal(np.load(path), np.concatenate([rows[~leave], rows[:1]]))
