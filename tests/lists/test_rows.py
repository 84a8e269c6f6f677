from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashscan.lists.columns import ColumnError
from hashscan.lists.rows import check_ids, count_categories
from hashscan.model import CATEGORIES

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
        with pytest.raises(ColumnError, match="category number 8"):
            count_categories([numbers(0, 8)], CATEGORIES, withdrawn)


@pytest.mark.parametrize("bad", [b"", b"\x1fa", b"a\x7f", b"\xc3\xa9", b"a\0b", b"a\nb"])
@pytest.mark.parametrize("size", [4, 64])
def test_an_id_that_is_not_printable_is_refused(bad: bytes, size: int) -> None:
    good = np.array([b"a" * size, b"b"], dtype=f"S{size}")
    check_ids([good, good], "pdq")
    with pytest.raises(ColumnError, match="between rows 2 and 4 of pdq is not printable"):
        check_ids([good, np.array([b"a" * size, bad], dtype=f"S{size}")], "pdq")
