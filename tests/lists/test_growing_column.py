from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists import growing_column
from hashscan.lists.growing_column import GrowingColumn


@given(
    lengths=st.lists(st.integers(0, 9), max_size=5),
    width=st.sampled_from([(), (3,)]),
    block=st.integers(1, 8),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
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
            patch.setattr(growing_column, "BLOCK", block)
            column.leave_out(leave)
        column.append(rows[:1])
        column.finish()
    assert np.array_equal(np.load(path), np.concatenate([rows[~leave], rows[:1]]))
