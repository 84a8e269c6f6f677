"""Tests of lists.storage.columns."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashscan.lists.storage import columns
from hashscan.lists.storage.columns import (
    ActiveRows,
    ColumnError,
    ColumnFiles,
    check_ids,
    count_categories,
    open_columns,
    withdrawn_rows,
    without,
)
from hashscan.model import CATEGORIES
from tests.examples import examples
from tests.lists.builders import some_entries
from tests.lists.storage.test_column_writer import written

FILES = ColumnFiles("md5", 3, 64, "ids", "category", "value")


def save(folder: Path, name: str, array: np.ndarray, *, pickle: bool = False) -> None:
    with (folder / name).open("wb") as file:
        np.save(file, array, allow_pickle=pickle)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, "ids", np.array([b"a", b"b", b"c"], dtype="S64"))
    save(tmp_path, "category", np.zeros(3, dtype=np.uint8))
    save(tmp_path, "value", np.zeros((3, 16), dtype=np.uint8))
    return tmp_path


def test_good_columns_open(folder: Path) -> None:
    assert open_columns(folder, FILES).entries == 3


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("ids", np.array([b"a", b"b"], dtype="S64")),
        ("ids", np.array([b"a", b"b", b"c"], dtype="S63")),
        ("ids", np.array(["a", "b", "c"])),
        ("category", np.zeros(3, dtype=np.int8)),
        ("category", np.zeros((3, 1), dtype=np.uint8)),
        ("value", np.zeros((3, 15), dtype=np.uint8)),
        ("value", np.zeros((4, 16), dtype=np.uint8)),
        ("value", np.zeros((3, 16), dtype=np.float64)),
        ("value", np.asfortranarray(np.zeros((3, 16), dtype=np.uint8))),
    ],
)
def test_another_type_or_shape_is_refused(folder: Path, name: str, array: np.ndarray) -> None:
    save(folder, name, array)
    with pytest.raises(ColumnError, match=name):
        open_columns(folder, FILES)


def test_a_longer_file_is_refused(folder: Path) -> None:
    with (folder / "value").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ColumnError, match="value"):
        open_columns(folder, FILES)


def test_pickles_are_never_loaded(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("a pickle was loaded",))

    save(folder, "value", np.array([Bomb()] * 3, dtype=object), pickle=True)
    with pytest.raises(ColumnError):
        open_columns(folder, FILES)


@given(data=st.data())
@settings(deadline=None)
def test_a_spoilt_file_gives_the_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spoilt")
    good = io.BytesIO()
    np.save(good, np.zeros((3, 16), dtype=np.uint8))
    raw = bytearray(good.getvalue())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 5))):
            raw[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
    (folder / "value").write_bytes(raw)
    save(folder, "ids", np.array([b"a", b"b", b"c"], dtype="S64"))
    save(folder, "category", np.zeros(3, dtype=np.uint8))
    if bytes(raw) == good.getvalue():
        open_columns(folder, FILES)
    else:
        with pytest.raises(ColumnError, match="value"):
            open_columns(folder, FILES)


@given(count=st.integers(1, 40), block=st.integers(1, 9), gone=st.sets(st.integers(0, 39)))
@settings(deadline=None, max_examples=examples(40))
def test_active_rows_are_those_not_withdrawn(
    tmp_path_factory: pytest.TempPathFactory, count: int, block: int, gone: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    entries = some_entries(count, algorithms=["md5"])
    (files,) = written(folder, entries)
    withdrawn = sorted(row for row in gone if row < count)
    if withdrawn:
        save(folder, "gone.npy", np.array(withdrawn, dtype=np.int64))
        files = replace(files, withdrawn="gone.npy", withdrawn_rows=len(withdrawn))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "BLOCK", block)
        rows = ActiveRows(folder, files)
        found = [entry_id for ids, _, _ in rows for entry_id in ids.tolist()]
        again = [row.tobytes() for _, _, value in rows for row in value]
    left = [entry for number, entry in enumerate(entries) if number not in gone]
    assert found == [entry.id.encode() for entry in left]
    assert again == [entry.value for entry in left]
    assert files.active == len(left)


@pytest.mark.parametrize("rows", [[1, 0], [1, 1], [-1, 0], [0, 3]])
def test_withdrawn_rows_that_make_no_sense_are_refused(folder: Path, rows: list[int]) -> None:
    save(folder, "gone", np.array(rows, dtype=np.int64))
    with pytest.raises(ColumnError, match="ascending order"):
        withdrawn_rows(folder, replace(FILES, withdrawn="gone", withdrawn_rows=2))
    with pytest.raises(ColumnError, match="gone"):
        withdrawn_rows(folder, replace(FILES, withdrawn="gone", withdrawn_rows=1))


def test_blocks_without_withdrawn_rows_are_left_alone(folder: Path) -> None:
    (block,) = ActiveRows(folder, FILES)
    (same,) = without([block], np.zeros(0, dtype=np.int64))
    assert same is block


NONE = np.zeros(0, dtype=np.int64)


def numbers(*category: int) -> NDArray[np.uint8]:
    return np.array(category, dtype=np.uint8)


@given(
    rows=st.lists(st.integers(0, len(CATEGORIES) - 1), max_size=40),
    cut=st.integers(1, 9),
    gone=st.sets(st.integers(0, 39)),
)
def test_active_entries_are_counted(rows: list[int], cut: int, gone: set[int]) -> None:
    blocks = [numbers(*rows[start : start + cut]) for start in range(0, len(rows), cut)]
    withdrawn = np.array(sorted(row for row in gone if row < len(rows)), dtype=np.int64)
    left = [CATEGORIES[category] for row, category in enumerate(rows) if row not in gone]
    expected = {category: left.count(category) for category in CATEGORIES if category in left}
    assert count_categories(blocks, CATEGORIES, withdrawn) == expected


def test_a_category_without_meaning_is_refused() -> None:
    for withdrawn in (NONE, np.array([1])):
        with pytest.raises(ColumnError, match="category number 200"):
            count_categories([numbers(0, 200)], CATEGORIES, withdrawn)


@pytest.mark.parametrize("bad", [b"", b"\x1fa", b"a\x7f", b"\xc3\xa9", b"a\0b", b"a\nb"])
@pytest.mark.parametrize("size", [4, 64])
def test_an_id_that_is_not_printable_is_refused(bad: bytes, size: int) -> None:
    good = np.array([b"a" * size, b"b"], dtype=f"S{size}")
    check_ids([good, good], "pdq")
    with pytest.raises(ColumnError, match="between rows 2 and 4 of pdq is not printable"):
        check_ids([good, np.array([b"a" * size, bad], dtype=f"S{size}")], "pdq")
