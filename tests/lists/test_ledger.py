from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hashscan.lists.ledger import Conflict, IdLedger


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([b"1", b"2"])), max_size=12))
def test_finds_the_first_line_that_contradicts(notes: list[tuple[str, bytes]]) -> None:
    ledger = IdLedger()
    for line, (entry_id, content) in enumerate(notes, start=1):
        ledger.note(line, entry_id, content)
    last: dict[str, tuple[int, bytes]] = {}
    expected = None
    for line, (entry_id, content) in enumerate(notes, start=1):
        if entry_id in last and last[entry_id][1] != content:
            expected = Conflict(last[entry_id][0], line)
            break
        last[entry_id] = (line, content)
    assert ledger.conflict() == expected
