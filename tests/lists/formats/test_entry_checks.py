from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists.formats.entry_checks import RawColumns
from hashscan.lists.formats.text import LineError, RawEntry
from hashscan.model import ALGORITHMS, CATEGORIES

MD5, SHA1 = "ab" * 16, "CD" * 20
GOOD = [("a", "md5", MD5, "A1"), ("b c", "sha1", SHA1, "known-good"), ("~" * 64, "md5", MD5, "other")]
GOOD += [("a@b@7/12", "vpdq", MD5 * 2, "B1")]
BAD = [
    (("", "md5", MD5, "A1"), "can't be an id"),
    ((" a", "md5", MD5, "A1"), "can't be an id"),
    (("a ", "md5", MD5, "A1"), "can't be an id"),
    (("a\0", "md5", MD5, "A1"), "can't be an id"),
    (("\u0661", "md5", MD5, "A1"), "can't be an id"),
    (("a" * 65, "md5", MD5, "A1"), "can't be an id"),
    (("a", "vpdq", MD5 * 2, "A1"), "can't be the id of a frame of a video"),
    (("@0/1", "vpdq", MD5 * 2, "A1"), "can't be the id of a frame of a video"),
    (("a@1", "vpdq", MD5 * 2, "A1"), "can't be the id of a frame of a video"),
    (("a@0/0", "vpdq", MD5 * 2, "A1"), "can't be the id of a frame of a video"),
    (("a", "md6", MD5, "A1"), "unknown algorithm 'md6'"),
    (("a", "", MD5, "A1"), "unknown algorithm ''"),
    (("a", "md5", MD5, "a1"), "unknown category 'a1'"),
    (("a", "md5", MD5[1:], "A1"), "31 characters"),
    (("a", "md5", MD5 + "00", "A1"), "34 characters"),
    (("a", "md5", "", "A1"), "0 characters"),
    (("a", "md5", MD5[:-1] + "g", "A1"), "not hexadecimal"),
    (("a", "md5", MD5[:-1] + " ", "A1"), "not hexadecimal"),
    (("a", "md5", MD5[:-1] + "\u0661", "A1"), "not hexadecimal"),
    (("a", "md5", "0" * 100_000, "A1"), "100000 characters"),
]


def numbered(rows: list[tuple[str, str, str, str]]) -> list[RawEntry]:
    return [(line, *row) for line, row in enumerate(rows, start=1)]


@given(st.lists(st.sampled_from(GOOD), max_size=20), st.integers(1, 7))
@settings(deadline=None)
def test_good_entries_come_as_blocks_in_their_order(rows: list[tuple[str, str, str, str]], most: int) -> None:
    waiting, raws = RawColumns("record"), iter(numbered(rows))
    found: dict[str, list[RawEntry]] = {}
    while waiting.take(raws, most):
        for block in waiting.checked():
            assert block.places is not None
            assert block.unit == "record"
            assert block.value.shape == (len(block), ALGORITHMS[block.algorithm].size)
            columns = zip(block.places.tolist(), block.ids, block.value, block.category, strict=True)
            found.setdefault(block.algorithm, []).extend(
                (place, entry_id.decode(), block.algorithm, value.tobytes().hex(), CATEGORIES[category])
                for place, entry_id, value, category in columns
            )
    expected = [(line, i, name, value.lower(), category) for line, i, name, value, category in numbered(rows)]
    for name in {row[1] for row in rows}:
        assert found[name] == [raw for raw in expected if raw[2] == name]


@pytest.mark.parametrize(("bad", "message"), BAD)
@pytest.mark.parametrize("before", [0, 1, 40])
def test_the_first_bad_entry_is_named_wherever_it_stands(
    bad: tuple[str, str, str, str], message: str, before: int
) -> None:
    rows = [*(GOOD * 20)[:before], bad, *GOOD, ("x", "sha1", "worse", "A1"), ("y", "odd", "", "")]
    waiting = RawColumns("line")
    waiting.take(numbered(rows), 1000)
    with pytest.raises(LineError) as caught:
        list(waiting.checked())
    assert caught.value.line == before + 1
    assert message in caught.value.problem


def test_values_too_long_to_be_one_do_not_pile_up() -> None:
    raws = iter(numbered([("a", "md5", "0" * 5000, "A1")] * 10))
    assert RawColumns("line").take(raws, 1000) == 1
