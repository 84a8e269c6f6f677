from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hashscan.lists.storage.entry_ids import IdSet

IDS = st.text("abc", min_size=1, max_size=5).map(str.encode)


@given(ours=st.lists(IDS), more=st.lists(IDS), block=st.lists(IDS, min_size=1))
def test_blocks_are_compared_whatever_their_width(
    ours: list[bytes], more: list[bytes], block: list[bytes]
) -> None:
    known = IdSet(ours) | IdSet(more)
    assert len(known) == len({*ours, *more})
    for width in ("S5", "S64"):
        rows, places = known.find(np.array(block, dtype=width))
        expected = [row for row, entry_id in enumerate(block) if entry_id in {*ours, *more}]
        assert rows.tolist() == expected
        assert known.ids[places].tolist() == [block[row] for row in expected]
        absent = known.absent(np.array(block, dtype=width))
        assert np.flatnonzero(~absent).tolist() == expected


def test_nothing_is_in_an_empty_set() -> None:
    assert len(IdSet()) == 0
    assert IdSet().absent(np.array([b"a", b"b"])).all()
    assert not IdSet([b"a"]).find(np.zeros(0, dtype="S3"))[0].size
