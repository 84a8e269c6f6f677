"""Which entries are near enough for which variant of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hashscan.hashing.variants import (
    RENDERINGS,
    RESTORED,
    SIMILARITY_DOUBTS,
    TURNS,
    WHOLE,
    DigestRun,
    Kind,
    Part,
)
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import TIGHT_REACH, TIGHT_THRESHOLD, Matcher, Query, closest_of_each
from hashscan.matching.policy import judge
from hashscan.model import Entry, Match, Verdict

ENTRY = Entry("e", "pdq", bytes(32), "A1")


def apart(bits: int) -> bytes:
    """A digest so far from the entry's."""
    return ((1 << bits) - 1).to_bytes(32)


def query(
    bits: int, *, rendering: str = "", turn: str = "", shown: bool = False, part: Part = WHOLE, doubt: int = 0
) -> Query:
    place = TURNS.index(turn)
    run = DigestRun(
        part, RENDERINGS.index(rendering), (place,), place if shown else 0, "pdq", apart(bits), 100, doubt
    )
    return Query(run.values, run)


@contextmanager
def matcher(tmp_path: Path, review_threshold: int | None = None) -> Iterator[Matcher]:
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [ENTRY], "test")
    with store.open(["ours"], datetime.now(UTC)) as opened:
        yield Matcher(opened.handles, review_threshold)


def test_each_of_several_exact_digests_of_a_picture_is_looked_up(tmp_path: Path) -> None:
    """As of an algorithm that a plug-in adds."""
    listed = bytes([7]) * 32
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [Entry("e", "sha256", listed, "A1")], "test")
    run = DigestRun(WHOLE, 0, (0, 1), 0, "sha256", bytes(32) + listed, 100, 0)
    with store.open(["ours"], datetime.now(UTC)) as opened:
        found = list(Matcher(opened.handles, None).ask("sha256", [Query(run.values, run)]))
    assert [match.entry_id for _, match in found] == ["e"]


@pytest.mark.parametrize(
    ("found", "threshold", "variant"),
    [
        ({}, 31, "as stored"),
        ({"rendering": "512x512"}, 31, "512x512"),
        ({"rendering": "enlarged"}, 31, "enlarged"),
        ({"turn": "turned 90", "shown": True}, 31, "as shown"),
        ({"part": Part(Kind.FRAME, 17)}, 31, "frame 17"),
        ({"turn": "mirrored"}, TIGHT_THRESHOLD, "mirrored"),
        ({"turn": "inverted"}, TIGHT_THRESHOLD, "inverted"),
        ({"rendering": "borders trimmed"}, TIGHT_THRESHOLD, "borders trimmed"),
        (
            {"rendering": "borders trimmed, 512x512", "turn": "turned 180"},
            TIGHT_THRESHOLD,
            "borders trimmed, 512x512, turned 180",
        ),
    ],
)
def test_the_variant_decides_how_near_is_near(
    tmp_path: Path, found: dict, threshold: int, variant: str
) -> None:
    with matcher(tmp_path) as asked:
        reach = TIGHT_REACH if threshold == TIGHT_THRESHOLD else threshold
        queries = [query(threshold, **found), query(reach + 1, **found)]
        assert list(asked.ask("pdq", queries)) == [
            (0, Match("ours", "e", "pdq", "A1", threshold, threshold, variant))
        ]


def test_near_misses_are_of_pictures_that_were_not_turned_or_trimmed(tmp_path: Path) -> None:
    with matcher(tmp_path, 50) as asked:
        queries = [query(50), query(51), query(31), query(30, turn="mirrored"), Query(apart(40))]
        queries += [
            query(40, doubt=1),
            query(40, rendering="borders trimmed"),
            query(40, rendering="restored"),
        ]
        found = {row: (m.distance, m.threshold, m.near_miss) for row, m in asked.ask("pdq", queries)}
    assert found == {0: (50, 31, True), 2: (31, 31, False), 4: (40, 31, True)}


@pytest.mark.parametrize("review", [None, 50])
def test_a_variant_beyond_its_threshold_is_for_review(tmp_path: Path, review: int | None) -> None:
    with matcher(tmp_path, review) as asked:
        beyond, farthest = TIGHT_THRESHOLD + 1, TIGHT_REACH
        queries = [query(beyond, turn="mirrored"), query(farthest, rendering="borders trimmed")]
        # Not where likeness says little anyway.
        queries.append(query(beyond, turn="mirrored", doubt=1))
        found = [
            (row, match.distance, judge([match], None).verdict) for row, match in asked.ask("pdq", queries)
        ]
    assert found == [(0, beyond, Verdict.REVIEW), (1, farthest, Verdict.REVIEW)]


def test_a_restored_picture_never_accuses(tmp_path: Path) -> None:
    values = apart(31) + apart(0) + apart(32)
    run = DigestRun(WHOLE, RESTORED, (0, 3, 13), 0, "pdq", values, 100, 0)
    with matcher(tmp_path, 50) as asked:
        found = [match for _, match in asked.ask("pdq", [Query(values, run)])]
    assert [(match.distance, match.near_miss) for match in found] == [(31, False), (0, False)]
    assert found[1].variant == "restored, 4.5 % lost at the top"
    assert {judge([match], None).verdict for match in found} == {Verdict.REVIEW}
    assert closest_of_each([*found, match(20, "as stored")]) == [match(20, "as stored")]


def test_each_digest_of_a_run_is_asked_about(tmp_path: Path) -> None:
    turns = (0, 1, 2, 6, 8)
    distances = (32, 21, 28, 31, 21)
    values = b"".join(map(apart, distances))
    runs = [DigestRun(WHOLE, 0, turns, shown, "pdq", values, 100, 0) for shown in (0, 6, 2)]
    with matcher(tmp_path) as asked:
        found = asked.ask("pdq", [query(32), *(Query(values, run) for run in runs), query(3)])
        assert [(place, match.distance, match.variant) for place, match in found] == [
            *((1, 21, "turned 90"), (1, 28, "turned 180"), (1, 21, "inverted")),
            *((2, 21, "turned 90"), (2, 28, "turned 180"), (2, 31, "as shown"), (2, 21, "inverted")),
            *((3, 21, "turned 90"), (3, 28, "as shown"), (3, 21, "inverted")),
            (4, 3, "as stored"),
        ]


def test_a_doubt_is_said(tmp_path: Path) -> None:
    with matcher(tmp_path) as asked:
        ((_, match),) = asked.ask("pdq", [query(3, doubt=1)])
    assert match.doubt == SIMILARITY_DOUBTS[1]


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    with matcher(tmp_path) as asked:
        assert list(asked.ask("pdq", [])) == []
        assert list(asked.ask("md5", [Query(bytes(16))])) == []
        assert asked.algorithms == {"pdq"}


def match(distance: int, variant: str, entry: str = "e", doubt: str = "") -> Match:
    return Match("ours", entry, "pdq", "A1", distance, 31, variant, doubt)


def test_an_entry_is_named_once_by_the_variant_that_says_most() -> None:
    found = [
        match(9, "as stored"),
        match(4, "512x512"),
        match(2, "mirrored", doubt="a doubt"),
        match(40, "as stored", "far"),
        match(12, "as stored", "other"),
    ]
    assert closest_of_each(found) == [found[1], found[3], found[4]]
