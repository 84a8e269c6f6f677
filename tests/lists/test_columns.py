from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists.columns import (
    ColumnError,
    ColumnFiles,
    Columns,
    categories_used,
    open_columns,
)
from hashscan.model import CATEGORIES

FILES = ColumnFiles("md5", 3, "ids", "category", "value")


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


def columns_of(ids: list[bytes], category: list[int]) -> Columns:
    return Columns(
        np.array(ids, dtype="S64"),
        np.array(category, dtype=np.uint8),
        np.zeros((len(ids), 16), dtype=np.uint8),
    )


def test_categories_that_occur_are_named() -> None:
    assert categories_used(columns_of([b"a", b"b", b"c"], [1, 1, 7]), CATEGORIES) == {"A1", "test"}


@pytest.mark.parametrize("bad", [b"", b"\x1fa", b"a\x7f", b"\xc3\xa9", b"a\0b", b"a\nb"])
def test_an_id_that_is_not_printable_is_refused(bad: bytes) -> None:
    with pytest.raises(ColumnError, match="printable"):
        categories_used(columns_of([b"a" * 64, bad], [0, 0]), CATEGORIES)


def test_a_category_without_meaning_is_refused() -> None:
    with pytest.raises(ColumnError, match="category number 8"):
        categories_used(columns_of([b"a", b"b"], [0, 8]), CATEGORIES)
