"""Thresholds of entries for each variant of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hashscan.hashing.records import DecodedPicture
from hashscan.hashing.variants import (
    RENDERINGS,
    RESTORED,
    SECTION,
    TURNS,
    WHOLE,
    DigestRun,
    Kind,
    Part,
)
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import (
    RESTORED_THRESHOLD,
    TIGHT_REACH,
    TIGHT_THRESHOLD,
    FileTask,
    Matcher,
    Query,
    closest_of_each,
    match_files,
)
from hashscan.matching.policy import judge
from hashscan.model import DistanceRule, Doubt, Entry, FileStat, Item, Match, Picture, Verdict

ENTRY = Entry("e", "pdq", np.random.default_rng(1).bytes(32), "A1")
OF_64_BITS = np.random.default_rng(2).bytes(8)
FAR_OF_64_BITS = (int.from_bytes(OF_64_BITS) ^ 31).to_bytes(8)
NOT_EVEN = bytes(143) + b"\x80"
"""A listed digest of PhotoDNA."""


def apart(bits: int) -> bytes:
    """A digest so far from the entry's."""
    return (int.from_bytes(ENTRY.value) ^ ((1 << bits) - 1)).to_bytes(32)


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


def vectors(far: int, turn: int = 0) -> Query:
    """A picture whose digest of PhotoDNA is so far from the listed one, along one byte for each square."""
    value = bytearray(NOT_EVEN)
    for place in range(143):
        value[place] = min(255, int(far**0.5))
        far -= value[place] ** 2
    assert far == 0
    run = DigestRun(WHOLE, 0, (turn,), 0, "photodna", bytes(value), 100, 0)
    return Query(run.values, run)


def shown(algorithm: str, value: bytes, rendering: int, turn: int = 0, *, page: int = 0) -> DigestRun:
    part = Part(Kind.PAGE, page) if page else WHOLE
    return DigestRun(part, rendering, (turn,), 0, algorithm, value, 100, 0)


NEAR_CROP = shown("pdq", apart(RESTORED_THRESHOLD), RESTORED, 3)
NEAR_MIRRORED = shown("pdq", apart(TIGHT_REACH), 0, TURNS.index("mirrored"))
NEAR_SECTION = shown("pdq", apart(TIGHT_THRESHOLD), SECTION)


@pytest.mark.parametrize("review", [NEAR_CROP, NEAR_MIRRORED, NEAR_SECTION])
@pytest.mark.parametrize(
    ("entry", "second", "verdict"),
    [
        (Entry("e:phash", "phash", OF_64_BITS, "A1"), shown("phash", OF_64_BITS, 0), Verdict.MATCH),
        (Entry("e-dhash", "dhash", OF_64_BITS, "A1"), shown("dhash", OF_64_BITS, 0), Verdict.MATCH),
        (Entry("e:photodna", "photodna", NOT_EVEN, "A1"), vectors(10_000).run, Verdict.MATCH),
        # Too far; too weak; of another content; of another category; of another page.
        (Entry("e:phash", "phash", OF_64_BITS, "A1"), shown("phash", FAR_OF_64_BITS, 0), Verdict.REVIEW),
        (Entry("e:ahash", "ahash", OF_64_BITS, "A1"), shown("ahash", OF_64_BITS, 0), Verdict.REVIEW),
        (Entry("f:phash", "phash", OF_64_BITS, "A1"), shown("phash", OF_64_BITS, 0), Verdict.REVIEW),
        (Entry("e:phash", "phash", OF_64_BITS, "other"), shown("phash", OF_64_BITS, 0), Verdict.REVIEW),
        (Entry("e:phash", "phash", OF_64_BITS, "A1"), shown("phash", OF_64_BITS, 0, page=2), Verdict.REVIEW),
    ],
)
def test_another_hash_of_the_same_content_confirms_a_review(
    tmp_path: Path, review: DigestRun, entry: Entry, second: DigestRun, verdict: Verdict
) -> None:
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [ENTRY, entry], "test")
    file = FileTask(Item(b"", FileStat(0, 0, 0, 0, 0, 0, 0)))
    file.decoded = DecodedPicture(Picture("JPEG", 64, 64), (review, second))
    with store.open(None, datetime.now(UTC)) as opened:
        match_files(Matcher(opened.handles), ["pdq", entry.algorithm], [file])
    assert judge(file.matches, None).verdict is verdict
    accusing = {m.algorithm for m in file.matches if judge([m], None).verdict is Verdict.MATCH}
    assert accusing == ({"pdq"} if verdict is Verdict.MATCH else set())


@pytest.mark.parametrize(
    ("of_pdq", "of_phash", "verdict"),
    [
        ("e-1-pdq-crop-1", "e-1-phash", Verdict.MATCH),
        ("e-pdq-2-pdq-crop-1", "e-pdq-2-phash", Verdict.MATCH),
        # A number behind the algorithm counts the entries of a series.
        ("e-pdq-1", "e-phash-2", Verdict.REVIEW),
        ("e-pdq-1", "e-phash-1", Verdict.REVIEW),
        ("e-pdq-1", "e-pdq-2-phash", Verdict.REVIEW),
        ("-pdq-1", ":phash", Verdict.REVIEW),
    ],
)
def test_the_ids_of_a_series_are_not_those_of_one_content(
    tmp_path: Path, of_pdq: str, of_phash: str, verdict: Verdict
) -> None:
    store = ListStore(tmp_path / "lists")
    entries = [Entry(of_pdq, "pdq", ENTRY.value, "A1"), Entry(of_phash, "phash", OF_64_BITS, "A1")]
    store.import_entries("ours", entries, "test")
    file = FileTask(Item(b"", FileStat(0, 0, 0, 0, 0, 0, 0)))
    file.decoded = DecodedPicture(Picture("JPEG", 64, 64), (NEAR_CROP, shown("phash", OF_64_BITS, 0)))
    with store.open(None, datetime.now(UTC)) as opened:
        match_files(Matcher(opened.handles), ["pdq", "phash"], [file])
    assert judge(file.matches, None).verdict is verdict


@pytest.mark.parametrize(("far", "verdict"), [(10_000, Verdict.MATCH), (10_001, Verdict.REVIEW)])
def test_a_wider_review_by_photodna_confirms_no_more(tmp_path: Path, far: int, verdict: Verdict) -> None:
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [ENTRY, Entry("e:photodna", "photodna", NOT_EVEN, "A1")], "test")
    file = FileTask(Item(b"", FileStat(0, 0, 0, 0, 0, 0, 0)))
    second = vectors(far).run
    assert second is not None
    file.decoded = DecodedPicture(Picture("JPEG", 64, 64), (NEAR_CROP, second))
    with store.open(None, datetime.now(UTC)) as opened:
        matcher = Matcher(opened.handles, distances=(DistanceRule((), review=100_000),))
        match_files(matcher, ["pdq", "photodna"], [file])
    assert {match.algorithm for match in file.matches} == {"pdq", "photodna"}
    assert judge(file.matches, None).verdict is verdict


def test_another_hash_confirms_no_other_near_miss(tmp_path: Path) -> None:
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [ENTRY, Entry("e-phash", "phash", OF_64_BITS, "A1")], "test")
    file = FileTask(Item(b"", FileStat(0, 0, 0, 0, 0, 0, 0)))
    mirrored = shown("pdq", apart(TIGHT_REACH + 1), 0, TURNS.index("mirrored"))
    runs = shown("pdq", apart(40), 0), mirrored, shown("phash", OF_64_BITS, 0)
    file.decoded = DecodedPicture(Picture("JPEG", 64, 64), runs)
    with store.open(None, datetime.now(UTC)) as opened:
        match_files(Matcher(opened.handles, 52), ["pdq", "phash"], [file])
    assert {m.algorithm for m in file.matches} == {"pdq", "phash"}
    assert judge(file.matches, None).verdict is Verdict.REVIEW


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


def test_near_misses_are_of_pictures_whole_turned_or_trimmed(tmp_path: Path) -> None:
    with matcher(tmp_path, 50) as asked:
        queries = [query(50), query(51), query(31), query(50, turn="mirrored"), query(51, turn="mirrored")]
        queries += [
            Query(apart(40)),
            query(40, doubt=1),
            query(40, rendering="borders trimmed"),
            query(40, rendering="restored"),
            query(40, rendering="section"),
            query(40, turn="mirrored", doubt=1),
        ]
        found = {row: (m.distance, m.threshold, m.near_miss) for row, m in asked.ask("pdq", queries)}
        assert (asked.reach("pdq", turn=1), asked.reach("pdq", SECTION)) == (50, TIGHT_THRESHOLD)
    assert found == {
        0: (50, 31, True),
        2: (31, 31, False),
        3: (50, TIGHT_THRESHOLD, True),
        5: (40, 31, True),
        7: (40, TIGHT_THRESHOLD, True),
    }


def test_a_variant_beyond_its_threshold_is_for_review(tmp_path: Path) -> None:
    with matcher(tmp_path) as asked:
        beyond, farthest = TIGHT_THRESHOLD + 1, TIGHT_REACH
        queries = [query(beyond, turn="mirrored"), query(farthest, rendering="borders trimmed")]
        # Not where likeness says little anyway.
        queries.append(query(beyond, turn="mirrored", doubt=1))
        found = [
            (row, match.distance, judge([match], None).verdict) for row, match in asked.ask("pdq", queries)
        ]
    assert found == [(0, beyond, Verdict.REVIEW), (1, farthest, Verdict.REVIEW)]


def test_a_restored_picture_never_accuses(tmp_path: Path) -> None:
    values = apart(RESTORED_THRESHOLD) + apart(0) + apart(RESTORED_THRESHOLD + 1)
    run = DigestRun(WHOLE, RESTORED, (0, 3, 13), 0, "pdq", values, 100, 0)
    with matcher(tmp_path, 50) as asked:
        found = [match for _, match in asked.ask("pdq", [Query(values, run)])]
        assert asked.reach("pdq", RESTORED) == RESTORED_THRESHOLD
    assert [(match.distance, match.near_miss) for match in found] == [
        (RESTORED_THRESHOLD, False),
        (0, False),
    ]
    assert found[1].variant == "restored, 4.5 % lost at the top"
    assert {judge([match], None).verdict for match in found} == {Verdict.REVIEW}
    assert closest_of_each([*found, match(20, "as stored")]) == [match(20, "as stored")]


def test_a_section_never_accuses(tmp_path: Path) -> None:
    values = apart(TIGHT_THRESHOLD) + apart(0) + apart(TIGHT_THRESHOLD + 1)
    run = DigestRun(WHOLE, SECTION, (0, 3, 13), 0, "pdq", values, 100, 0)
    with matcher(tmp_path, 50) as asked:
        found = [match for _, match in asked.ask("pdq", [Query(values, run)])]
        assert {asked.reach("pdq", SECTION, turn) for turn in run.turns} == {TIGHT_THRESHOLD}
    assert [(match.distance, match.variant) for match in found] == [
        (TIGHT_THRESHOLD, "section, left half"),
        (0, "section, lower half"),
    ]
    assert {judge([match], None).verdict for match in found} == {Verdict.REVIEW}


def test_each_digest_of_a_run_is_asked_about(tmp_path: Path) -> None:
    turns = (0, 1, 2, 6, 8)
    distances = (32, 21, TIGHT_REACH, 31, 21)
    values = b"".join(map(apart, distances))
    runs = [DigestRun(WHOLE, 0, turns, shown, "pdq", values, 100, 0) for shown in (0, 6, 2)]
    with matcher(tmp_path) as asked:
        found = asked.ask("pdq", [query(32), *(Query(values, run) for run in runs), query(3)])
        assert [(place, match.distance, match.variant) for place, match in found] == [
            *((1, 21, "turned 90"), (1, TIGHT_REACH, "turned 180"), (1, 21, "inverted")),
            *((2, 21, "turned 90"), (2, TIGHT_REACH, "turned 180"), (2, 31, "as shown"), (2, 21, "inverted")),
            *((3, 21, "turned 90"), (3, TIGHT_REACH, "as shown"), (3, 21, "inverted")),
            (4, 3, "as stored"),
        ]


def test_a_doubt_is_said(tmp_path: Path) -> None:
    with matcher(tmp_path) as asked:
        ((_, match),) = asked.ask("pdq", [query(3, doubt=1)])
    assert match.doubt is Doubt.FEW_GREYS


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    with matcher(tmp_path) as asked:
        assert list(asked.ask("pdq", [])) == []
        assert list(asked.ask("md5", [Query(bytes(16))])) == []
        assert asked.algorithms == {"pdq"}


def match(distance: int, variant: str, entry: str = "e", doubt: Doubt | None = None) -> Match:
    return Match("ours", entry, "pdq", "A1", distance, 31, variant, doubt)


def test_an_entry_is_named_once_by_the_variant_that_says_most() -> None:
    found = [
        match(9, "as stored"),
        match(4, "512x512"),
        match(2, "mirrored", doubt=Doubt.SERVICE),
        match(40, "as stored", "far"),
        match(12, "as stored", "other"),
    ]
    assert closest_of_each(found) == [found[1], found[3], found[4]]


@pytest.mark.parametrize(
    ("rules", "far", "turn", "verdicts"),
    [
        ((), 10_000, 0, {"ours": Verdict.REVIEW, "theirs": Verdict.REVIEW}),
        ((), 10_001, 0, {}),
        ((DistanceRule(("ours",), 20_000),), 20_000, 0, {"ours": Verdict.REVIEW}),
        ((DistanceRule((), 9_000), DistanceRule(("ours",), 20_000)), 9_001, 0, {}),
        ((DistanceRule(("ours",), 9_000, 900),), 900, 0, {"ours": Verdict.MATCH, "theirs": Verdict.REVIEW}),
        ((DistanceRule((), 9_000, 900),), 901, 0, {"ours": Verdict.REVIEW, "theirs": Verdict.REVIEW}),
        ((DistanceRule((), 9_000, 900),), 0, 4, {"ours": Verdict.REVIEW, "theirs": Verdict.REVIEW}),
        ((DistanceRule((), 0, 0),), 0, 0, {"ours": Verdict.MATCH, "theirs": Verdict.MATCH}),
    ],
)
def test_each_list_has_distances_of_photodna(
    tmp_path: Path, rules: tuple[DistanceRule, ...], far: int, turn: int, verdicts: dict[str, Verdict]
) -> None:
    store = ListStore(tmp_path / "lists")
    for name in ("ours", "theirs"):
        store.import_entries(name, [Entry("e", "photodna", NOT_EVEN, "A1")], "test")
    with store.open(None, datetime.now(UTC)) as opened:
        asked = Matcher(opened.handles, distances=rules)
        found = [match for _, match in asked.ask("photodna", [vectors(far, turn)])]
        assert {match.list_name: judge([match], None).verdict for match in found} == verdicts
        assert {match.distance for match in found} <= {far}
        values = np.frombuffer(vectors(far, turn).values, np.uint8).reshape(1, -1)
        near = asked.near("photodna", values, asked.reach("photodna", turn=turn))
        assert len(near) == bool(verdicts)
