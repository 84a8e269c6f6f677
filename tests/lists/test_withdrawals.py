from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists.columns import ColumnError
from hashscan.lists.manifest import Manifest, Part, PartColumns, Shard, Withdrawal
from hashscan.lists.shards import write_withdrawal
from hashscan.lists.withdrawals import between, withdrawn_by_algorithm
from hashscan.model import CATEGORIES

from .builders import NOW


def part(version: int, rows: int, *withdrawn: Withdrawal) -> Part:
    columns = (PartColumns("md5", 8, (Shard(rows, f"{version}.i", f"{version}.c", f"{version}.v"),)),)
    return Part(version, columns if rows else (), withdrawn)


def gone(folder: Path, *parts: Part) -> list[int]:
    manifest = Manifest("test", 9, NOW, CATEGORIES, parts)
    found = withdrawn_by_algorithm(manifest, lambda name: folder / name)
    assert set(found) <= {"md5"}
    return found["md5"].tolist() if found else []


@given(data=st.data())
@settings(deadline=None, max_examples=40)
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
    ("first", "second", "words"),
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
    tmp_path: Path, first: list[int], second: list[int], words: str | None
) -> None:
    """Three rows, then two more."""
    parts = [part(1, 3)]
    for version, rows in ((2, first), (3, second)):
        np.save(tmp_path / f"{version}.npy", np.array(rows, dtype=np.uint32))
        withdrawn = [Withdrawal("md5", len(rows), f"{version}.npy")] if rows else []
        parts.append(part(version, 2 if version == 2 else 0, *withdrawn))
    if words is None:
        assert gone(tmp_path, *parts) == [0, 1, 2, 4]
    else:
        with pytest.raises(ColumnError, match=words):
            gone(tmp_path, *parts)


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, ">u4"])
def test_another_type_is_refused(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "2.npy", np.array([1], dtype=dtype))
    with pytest.raises(ColumnError, match=r"2\.npy is no column"):
        gone(tmp_path, part(1, 3), part(2, 0, Withdrawal("md5", 1, "2.npy")))
