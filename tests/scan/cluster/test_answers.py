"""The answers of nodes arrive as they were, and nothing else is taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hashscan.model import (
    Action,
    Batch,
    BatchResult,
    Digest,
    Doubt,
    ExceptedEntry,
    FileResult,
    FileStat,
    Item,
    Match,
    Picture,
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.scan.cluster.messages import (
    AnswerError,
    Defect,
    Refused,
    Unprepared,
    pack_answer,
    unpack_answer,
)

STAT = FileStat(1, 2, 3, 4, 5, 6, 7)
EXCEPTED = ExceptedEntry("ours", "e-1", "md5", "A1", "f", "a theme", "2027-01-31T00:00:00Z", "root", "2026")
MATCH = Match("ours", "e-1", "pdq", "A1", 3, 31, "turned", Doubt.FEW_GREYS, EXCEPTED, "rule 1: held")
FOUND = FileResult(
    b"found",
    STAT,
    Verdict.HELD,
    Reason.TRUNCATED,
    "JPEG",
    "because",
    matches=(MATCH, replace(MATCH, excepted=None)),
    digests=(Digest("md5", bytes(16)), Digest("pdq", bytes(32), 99)),
    picture=Picture("JPEG", 10, 20),
    low_quality=True,
    only_test=True,
    action=Action.HELD,
)
BATCH = Batch("file", b"/t", b"f", 1, 9, tuple(Item(name, STAT) for name in (b"clean", b"found", b"\xff\n")))
ANSWER = BatchResult(
    (
        FileResult(b"clean", STAT, Verdict.CLEAN),
        FOUND,
        FileResult(b"\xff\n", STAT, Verdict.UNREADABLE, Reason.IO_ERROR, "Input/output error \udcff"),
    ),
    77,
    SandboxLevel("auto", 7, True, False, True, True),
    compared=2,
    not_compared=1,
    recognition={"none: text": 1, "probed": 1},
)


def test_answers_arrive_as_they_were() -> None:
    assert unpack_answer(pack_answer(BATCH, ANSWER), BATCH) == ANSWER
    assert unpack_answer(pack_answer(BATCH, Refused("h", "why")), BATCH) == Refused("h", "why")
    assert unpack_answer(pack_answer(BATCH, Defect("h", "trace")), BATCH) == Defect("h", "trace")
    assert unpack_answer(pack_answer(BATCH, Unprepared("p")), BATCH) == Unprepared("p")


def test_most_files_cost_nothing() -> None:
    clean = replace(BATCH, items=(Item(b"clean", STAT),) * 200)
    answer = BatchResult((FileResult(b"clean", STAT, Verdict.CLEAN),) * 200)
    assert len(pack_answer(clean, answer)) < 1125


def test_names_and_stats_are_those_that_were_listed() -> None:
    """Also where a node sees another device; a node has no say in them."""
    far = STAT._replace(device=99)
    there = replace(ANSWER, results=tuple(replace(r, stat=far, name=b"other") for r in ANSWER.results))
    assert unpack_answer(pack_answer(BATCH, there), BATCH).results == ANSWER.results  # type: ignore[union-attr]


def test_a_size_that_was_learnt_by_reading_arrives() -> None:
    unknown = FileStat(0, 0, -1, 0, 0, 1, 0)
    listed = replace(BATCH, items=tuple(Item(name, unknown) for name in (b"clean", b"found", b"gone")))
    clean, found, gone = ANSWER.results
    read = unknown._replace(size=77)
    answer = replace(
        ANSWER,
        results=(
            replace(clean, stat=unknown),
            replace(found, stat=read),
            replace(gone, name=b"gone", stat=unknown),
        ),
    )
    assert unpack_answer(pack_answer(listed, answer), listed) == answer
    for size in (-5, "7", 1e3, True):
        with pytest.raises(AnswerError):
            unpack_answer(change(["results", 1, "size"], size), listed)
    # Where it was known, a node has no say in it, nor ever in anything else of the stat.
    assert unpack_answer(change(["results", 1, "size"], 77), BATCH) == ANSWER


@pytest.mark.parametrize(
    "data",
    [
        ANSWER,
        None,
        b"",
        b"\x80\x04K\x01.",
        b"[]",
        b"[" * 100_000,
        b'{"kind":"results"}',
        b'{"kind":"ready"}',
    ],
)
def test_what_is_no_answer_is_refused(data: object) -> None:
    with pytest.raises(AnswerError):
        unpack_answer(data, BATCH)


def change(path: list[Any], value: object) -> bytes:
    document = json.loads(pack_answer(BATCH, ANSWER))
    inside = document
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["results"], [None, None]),
        (["results"], {"0": None}),
        (["bytes"], -1),
        (["bytes"], True),
        (["bytes"], 1e9),
        (["sandbox", "mode"], "best"),
        (["sandbox", "seccomp"], 1),
        (["results", 0], 5),
        (["results", 1, "verdict"], "guilty"),
        (["results", 1, "verdict"], ["clean"]),
        (["results", 1, "reason"], "no reason"),
        (["results", 1, "detail"], None),
        (["results", 1, "detail"], "x" * 5000),
        (["results", 1, "low_quality"], "no"),
        (["results", 1, "matches"], "none"),
        (["results", 1, "matches", 0], []),
        (["results", 1, "matches", 0, "algorithm"], "crc"),
        (["results", 1, "matches", 0, "category"], "evil"),
        (["results", 1, "matches", 0, "category"], []),
        (["results", 1, "matches", 0, "entry_id"], "x" * 500),
        (["results", 1, "matches", 0, "distance"], "3"),
        (["results", 1, "matches", 0, "excepted"], {"list_name": "ours"}),
        (["results", 1, "matches", 0, "excepted"], 1),
        (["results", 1, "digests", 0], ["md5", "00", None]),
        (["results", 1, "digests", 0], ["md5", "zz", None]),
        (["results", 1, "digests", 0], ["md5"]),
        (["kind"], "news"),
        (["kind"], []),
        (["sandbox"], []),
        (["sandbox", "mode"], []),
        (["results", 1, "picture"], [1, 2, 3]),
        (["results", 1, "picture", "width"], None),
    ],
)
def test_every_field_is_checked(path: list[Any], value: object) -> None:
    assert unpack_answer(change(["bytes"], 77), BATCH) == ANSWER
    with pytest.raises(AnswerError):
        unpack_answer(change(path, value), BATCH)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=4,
)


def places(value: object, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [before] if before else []
    if isinstance(value, dict | list):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(inside, (*before, key))
    return found


@given(st.sampled_from(places(json.loads(pack_answer(BATCH, ANSWER)))), anything)
def test_any_value_in_any_place(path: tuple[Any, ...], value: object) -> None:
    """Nothing comes of it but an answer to this batch, or the one error that is expected."""
    try:
        answer = unpack_answer(change(list(path), value), BATCH)
    except AnswerError:
        return
    if isinstance(answer, BatchResult):
        assert [(r.name, r.stat) for r in answer.results] == [(i.name, i.stat) for i in BATCH.items]
