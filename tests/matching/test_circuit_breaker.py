"""The breaker counts as a plain reading of its limits does, and never lets through what it should hold."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.matching.circuit_breaker import CircuitBreaker, owner_of
from hashscan.model import Weak
from hashscan.quarantine.selection import request_of
from hashscan.settings.matching import BreakerLimits

MATCH = {"list": "l", "entry": "e", "algorithm": "pdq", "distance": 31, "threshold": 31, "category": "A1"}


def finding(*matches: dict[str, Any], verdict: str = "match", **more: Any) -> dict[str, Any]:
    return {
        "type": "finding", "path": "/f", "verdict": verdict, "because": "b", "action": "report",
        "matches": list(matches), **more,
    }  # fmt: skip


def tripped(*findings: dict[str, Any], owners: int = 20, files: int = 10_000) -> list[str]:
    breaker = CircuitBreaker(BreakerLimits(owners, files))
    for number, one in enumerate(findings):
        breaker.count(one, number)
    return [str(fields["entry"]) for fields in breaker.fields()]


def test_limits_are_the_most_that_is_believed() -> None:
    assert tripped(*[finding(MATCH)] * 5, owners=5) == []
    assert tripped(*[finding(MATCH)] * 6, owners=5) == ["e"]
    assert tripped(*[finding(MATCH)] * 5, files=5) == []
    assert tripped(*[finding(MATCH)] * 6, files=5) == ["e"]
    # A file is one, however many of its pictures an entry is like.
    assert tripped(*[finding(MATCH, {**MATCH, "variant": "mirrored"})] * 5, files=5) == []


@pytest.mark.parametrize(
    ("one", "other", "files"),
    [
        ({"device": 1, "inode": 2, "links": 3}, {"device": 1, "inode": 2, "links": 3}, 1),
        # Somebody has made another link meanwhile.
        (
            {"device": 1, "inode": 2, "links": 2, "ctime_ns": 5},
            {"device": 1, "inode": 2, "links": 3, "ctime_ns": 6},
            1,
        ),
        ({"device": 1, "inode": 2, "links": 2}, {"device": 7, "inode": 2, "links": 2}, 2),
        ({"device": 1, "inode": 2, "links": 2}, {"device": 1, "inode": 3, "links": 2}, 2),
        # As a rescan knows them, and an object.
        ({"inode": 2, "ctime_ns": 5}, {"inode": 2, "ctime_ns": 5}, 1),
        ({"inode": 2, "ctime_ns": 5}, {"inode": 2, "ctime_ns": 6}, 2),
        ({}, {}, 2),
    ],
)
def test_hard_links_are_one_file(one: dict[str, int], other: dict[str, int], files: int) -> None:
    both = finding(MATCH, **one), finding(MATCH, **other)
    assert tripped(*both, files=1) == ["e"] * (files - 1)


def test_hard_links_by_the_thousand_hold_nothing_and_files_still_do() -> None:
    links = [finding(MATCH, device=1, inode=2, links=50)] * 50
    assert tripped(*links, owners=99, files=5) == []
    files = [finding(MATCH, device=1, inode=number, links=2) for number in range(6)]
    assert tripped(*links, *files, owners=99, files=5) == ["e"]
    assert tripped(*files[:5], *files[:5], owners=99, files=5) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"category": "other"},
        {"category": "known-good"},
        {"distance": 32},
        {"algorithm": "phash"},
        {"doubt": "a chart"},
        {"excepted": {"reason": "r", "until": "u"}},
    ],
    ids=str,
)
def test_what_accuses_nobody_is_not_counted_and_saves_nobody(changes: dict[str, Any]) -> None:
    weak = {**MATCH, "entry": "weak", **changes}
    assert tripped(*[finding(weak)] * 9, owners=5) == []
    assert tripped(*[finding(weak, MATCH)] * 9, owners=5) == ["e"]
    breaker = CircuitBreaker(BreakerLimits(1, 1))
    for number in range(2):
        breaker.count(finding(weak, MATCH), number)
    assert breaker.judge(finding(weak, MATCH))["verdict"] == "held"


def test_what_is_held_anyway_counts() -> None:
    """An entry that hits known-good content is the less to be believed of other files."""
    held = finding(MATCH, verdict="held")
    assert tripped(*[held] * 9, finding(MATCH), owners=5) == ["e"]


def test_an_entry_that_hits_too_much_has_no_part_in_what_others_accuse() -> None:
    """Or a file would be moved on its word, when the other alone is one on whose word nothing is moved."""
    other = {**MATCH, "entry": "other", "list": "local"}
    breaker = CircuitBreaker(BreakerLimits(9, 1))
    breaker.count(finding(MATCH), 1)
    both = finding(MATCH, other, action="quarantine", inode=1, size=1, mtime_ns=1, ctime_ns=1)
    breaker.count(both, 1)
    message = "entry e of list l hits 2 files of 1 owner"
    judged = breaker.judge(both)
    assert (judged["verdict"], judged["action"]) == ("match", "report")
    assert judged["matches"] == [{**MATCH, "withheld": message}, other]
    assert judged["because"] == f"b; but {message}, so it causes no move"
    assert breaker.judge(judged) == judged
    lists = [{"name": "l", "state": "fresh"}, {"name": "local", "state": "local"}]
    scan = {"type": "scan", "lists": lists}
    assert request_of(both, scan) is not None
    assert request_of(judged, scan) is None
    assert request_of(judged, scan, [Weak.LOCAL]) is not None


def test_nobody_knows_whose_it_is() -> None:
    breaker = CircuitBreaker(BreakerLimits(1, 9))
    for _ in range(9):
        breaker.count(finding(MATCH), None)
    assert not breaker.has_tripped
    assert breaker.judge(finding(MATCH))["verdict"] == "match"


def test_owners() -> None:
    assert owner_of({"path": "/var/www/a", "uid": 0}) == 0
    assert owner_of({"path": "/var/www/a"}) is None
    assert owner_of({"path": "s3://one/a//b/c"}) == owner_of({"path": "s3://one/d"}) == "s3://one"
    assert owner_of({"path": "s3://two/a"}) == "s3://two"
    assert owner_of({"path": "gs://one/a"}) == "gs://one"


ENTRIES = st.sampled_from(["a", "b", "c"])
FILES = st.lists(
    st.tuples(st.sets(ENTRIES, min_size=1), st.integers(0, 5), st.sampled_from(["match", "held", "review"])),
    max_size=40,
)


@given(FILES, st.integers(1, 4), st.integers(1, 12))
def test_against_a_plain_count(files: list[tuple[set[str], int, str]], owners: int, most: int) -> None:
    findings = [
        finding(*({**MATCH, "entry": entry} for entry in sorted(entries)), verdict=verdict, uid=uid)
        for entries, uid, verdict in files
    ]
    breaker = CircuitBreaker(BreakerLimits(owners, most))
    hit: dict[str, list[int]] = defaultdict(list)
    for one, (entries, uid, _) in zip(findings, files, strict=True):
        breaker.count(one, owner_of(one))
        for entry in entries:
            hit[entry].append(uid)
    bad = {entry for entry, uids in hit.items() if len(set(uids)) > owners or len(uids) > most}
    assert breaker.has_tripped is bool(bad)
    assert {fields["entry"] for fields in breaker.fields()} == bad
    assert all(fields["files"] == len(hit[fields["entry"]]) for fields in breaker.fields())
    for one, (entries, _, verdict) in zip(findings, files, strict=True):
        last = breaker.judge(one)
        if verdict == "match" and entries <= bad:
            assert (last["verdict"], last["action"]) == ("held", "held")
            assert last["because"].startswith("b; but entry ")
        elif verdict == "match" and entries & bad:
            assert (last["verdict"], last["action"]) == ("match", "report")
            assert {match["entry"] for match in last["matches"] if "withheld" in match} == entries & bad
        else:
            assert last == one
