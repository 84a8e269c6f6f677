from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import ListFormatError
from hashscan.lists import column_writer
from hashscan.lists.column_writer import ColumnWriter
from hashscan.lists.columns import ColumnFiles, open_columns
from hashscan.model import CATEGORIES, Entry

from .builders import some_entries


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
@settings(deadline=None, max_examples=40)
def test_entries_come_back_in_order_and_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, block: int, repeats: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    entries = some_entries(count)
    again = [entries[number] for number in repeats if number < count]
    with pytest.MonkeyPatch.context() as patch:
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
