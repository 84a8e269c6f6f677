"""Tests of state.store.columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.state.store import columns
from hashscan.state.store.columns import AppendedColumn, DamagedColumnError, ReadColumn

ROW = np.dtype("<u4")


def test_rows_that_were_not_committed_are_cut_off(tmp_path: Path) -> None:
    column = AppendedColumn(tmp_path / "c", ROW, 0, 0)
    column.append(np.arange(10, dtype=ROW).tobytes())
    assert column.read(2, 3).tolist() == [2, 3, 4]
    column.close()
    again = AppendedColumn(tmp_path / "c", ROW, 4, 4)
    assert (again.rows, again.read(0, 99).tolist()) == (4, [0, 1, 2, 3])
    again.append(np.array([9], ROW).tobytes())
    assert again.read(4, 1).tolist() == [9]
    again.close()


def test_what_a_power_cut_took_is_zero_and_what_it_can_not_have_taken_is_damage(tmp_path: Path) -> None:
    column = AppendedColumn(tmp_path / "c", ROW, 0, 0)
    column.append(np.array([1, 2], ROW).tobytes())
    column.sync()
    column.close()
    again = AppendedColumn(tmp_path / "c", ROW, 3, 2)
    assert again.read(0, 3).tolist() == [1, 2, 0]
    again.close()
    with pytest.raises(DamagedColumnError, match="3 rows of 5"):
        AppendedColumn(tmp_path / "c", ROW, 5, 4)


def test_it_is_for_its_user_alone(tmp_path: Path) -> None:
    AppendedColumn(tmp_path / "c", ROW, 0, 0).close()
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o600


def column(folder: Path, values: np.ndarray) -> ReadColumn:
    (folder / "column").write_bytes(values.tobytes())
    return ReadColumn(folder / "column", np.dtype((np.void, values.shape[1])), len(values))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_BLOCK_BYTES", 700)


@given(
    size=st.sampled_from([16, 20, 32]),
    rows=st.integers(1, 90),
    few=st.integers(1, 4),
    wanted=st.lists(st.integers(0, 3), min_size=1, max_size=5),
)
def test_equal_rows_are_those_of_a_plain_comparison(
    tmp_path_factory: pytest.TempPathFactory, size: int, rows: int, few: int, wanted: list[int]
) -> None:
    """Digests that share their first bytes, and others that share all."""
    kinds = np.zeros((4, size), np.uint8)
    kinds[1, -1], kinds[2, 0], kinds[3] = 1, 1, 255
    drawn = np.random.default_rng(rows).integers(0, few, rows)
    values = kinds[drawn]
    opened = column(tmp_path_factory.mktemp("c"), values)
    numbers, found, _ = opened.equal(kinds[wanted])
    expected = [(n, row) for n, kind in enumerate(wanted) for row in range(rows) if drawn[row] == kind]
    assert sorted(zip(numbers.tolist(), found.tolist(), strict=True)) == expected
    opened.close()


@pytest.mark.parametrize("many", [3, 100])
def test_near_rows_are_those_of_a_plain_comparison(tmp_path: Path, many: int) -> None:
    random = np.random.default_rng(7)
    values = random.integers(0, 256, (500, 32), np.uint8)
    asked = values[random.integers(0, 500, many)].copy()
    asked[:, 3] ^= random.integers(0, 256, many, np.uint8)
    limits = random.integers(0, 8, many)
    opened = column(tmp_path, values)
    apart = np.bitwise_count(asked[:, None] ^ values).sum(axis=2)
    expected = [(*pair, int(apart[*pair])) for pair in np.argwhere(apart <= limits[:, None]).tolist()]
    found = zip(*(part.tolist() for part in opened.near(asked, limits)), strict=True)
    assert expected
    assert sorted(found) == [tuple(one) for one in expected]
    opened.close()


def test_what_is_appended_later_is_not_seen_and_what_is_cut_off_is_damage(tmp_path: Path) -> None:
    values = np.repeat(np.arange(10, dtype=np.uint8), 32).reshape(10, 32)
    opened = column(tmp_path, values)
    with (tmp_path / "column").open("ab") as file:
        file.write(values[0].tobytes())
    assert opened.equal(values[:1])[1].tolist() == [0]
    with (tmp_path / "column").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DamagedColumnError, match="shorter"):
        opened.equal(values[:1])
    with pytest.raises(DamagedColumnError, match="3 rows of 10"):
        ReadColumn(tmp_path / "column", np.dtype((np.void, 32)), 10)
    opened.close()


def test_an_empty_column_needs_no_file(tmp_path: Path) -> None:
    opened = ReadColumn(tmp_path / "none", np.dtype((np.void, 32)), 0)
    asked = np.zeros((1, 32), np.uint8)
    assert opened.equal(asked)[1].size == opened.near(asked, np.array([31]))[1].size == 0
    assert not len(opened.read(0, 5))
