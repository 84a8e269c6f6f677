from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hashscan.state.store.columns import AppendedColumn, DamagedColumnError

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
