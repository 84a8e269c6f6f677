"""Findings that a baseline accepts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hashscan.model import AcceptedMatch, Digest, FileResult, FileStat, Match, Verdict
from hashscan.reports.summary import FailOn, Summary
from hashscan.scan.baseline import BaselineFilter

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
CONTENT = bytes(range(32))


def accepted(entry: str = "n-1", until: str = "2027-06-01T00:00:00Z", **changes: Any) -> AcceptedMatch:
    values = {"list_name": "ours", "entry_id": entry, "sha256": CONTENT.hex(), "reason": f"of {entry}"}
    return AcceptedMatch(
        **{**values, "until": until, "by": "root", "since": "2026-11-01T00:00:00Z", **changes}
    )


def match(entry: str = "n-1", category: str = "A1", distance: int = 0, algorithm: str = "pdq") -> Match:
    return Match("ours", entry, algorithm, category, distance, 31)


def result(*matches: Match, verdict: Verdict = Verdict.MATCH, content: bytes = CONTENT) -> FileResult:
    stat = FileStat(1, 1, 1, 1, 1, 1, 1)
    return FileResult(
        b"x", stat, verdict, matches=matches, digests=(Digest("md5", b"1"), Digest("sha256", content))
    )


def reported(found: FileResult, *baseline: AcceptedMatch, fail_on: FailOn = "match") -> Any:
    summary = Summary()
    summary.add(found)
    accepting = BaselineFilter(baseline, NOW, fail_on)
    record = accepting.apply({"type": "finding"}, found, summary)
    assert summary.found(fail_on) is ("accepted" not in record)
    assert summary.accepted.total() == ("accepted" in record)
    return record.get("accepted")


def test_a_finding_is_accepted_where_all_is_that_accuses_it() -> None:
    terms = {"reason": "of n-1", "until": "2027-06-01T00:00:00Z"}
    assert reported(result(match()), accepted()) == terms
    assert reported(result(match(), match()), accepted()) == terms
    assert reported(result(match(), match("n-2")), accepted()) is None
    sooner = accepted("n-2", "2027-02-01T00:00:00Z")
    both = reported(result(match(), match("n-2")), accepted(), sooner)
    assert both == {"reason": "of n-2", "until": "2027-02-01T00:00:00Z"}
    assert reported(result(match(), verdict=Verdict.HELD), accepted()) == terms


@pytest.mark.parametrize(
    "other",
    [
        accepted(list_name="other"),
        accepted("n-11"),
        accepted(sha256="00" * 32),
        accepted(until="2026-11-26T12:00:00Z"),
    ],
)
def test_another_list_entry_or_content_and_one_that_ended_accept_nothing(other: AcceptedMatch) -> None:
    assert reported(result(match()), other) is None


def test_the_moment_before_its_end_counts() -> None:
    assert reported(result(match()), accepted(until="2026-11-26T12:00:01Z")) is not None


def test_what_accuses_nobody_needs_no_acceptance() -> None:
    near, weak, good = match("n-2", distance=40), match("n-3", algorithm="phash"), match("n-4", "known-good")
    assert reported(result(match(), near, weak, good), accepted()) is not None
    assert reported(result(match(), near), accepted(), fail_on="review") is None
    assert reported(result(match(), good), accepted(), fail_on="review") is not None
    assert reported(result(near, verdict=Verdict.REVIEW), accepted("n-2"), fail_on="review") is not None
    found = result(near, weak, verdict=Verdict.REVIEW)
    assert reported(found, accepted("n-2"), fail_on="review") is None
    assert reported(found, accepted("n-2"), accepted("n-3"), fail_on="review") is not None


def test_where_more_may_accuse_than_is_known_nothing_is_accepted() -> None:
    many = [match(f"n-{number}") for number in range(32)]
    all_of_them = [accepted(one.entry_id) for one in many]
    assert reported(result(*many), *all_of_them) is None
    assert reported(result(*many[1:]), *all_of_them) is not None


def test_without_matches_nothing_is_accepted() -> None:
    assert reported(result(match(category="known-good")), accepted("n-1")) is None


def test_a_file_that_is_clean_is_left_alone() -> None:
    summary, record = Summary(), {"type": "unreadable"}
    found = result(verdict=Verdict.UNREADABLE)
    assert BaselineFilter([accepted()], NOW, "match").apply(record, found, summary) is record


def test_what_ends_and_what_was_not_found_is_reported() -> None:
    rows = [
        accepted("gone", "2026-11-25T00:00:00Z"),
        accepted("soon", "2026-12-05T00:00:00Z"),
        accepted("long"),
        *(accepted(f"n-{number}") for number in range(12)),
    ]
    accepting = BaselineFilter(rows, NOW, "match")
    assert list(accepting.messages_before()) == [
        "baseline: entry gone of list ours is accepted no more since 2026-11-25T00:00:00Z: of gone",
        "baseline: entry soon of list ours is accepted only until 2026-12-05T00:00:00Z: of soon",
    ]
    # Met, though another entry accuses the same content and is not accepted.
    accepting.apply({}, result(match("long"), match("new")), Summary())
    unmet = list(accepting.messages_after())
    assert unmet[0] == (
        "baseline: entry soon of list ours is accepted since 2026-11-01T00:00:00Z, and was not found: of soon"
    )
    assert (len(unmet), unmet[-1]) == (11, "baseline: and 3 more")
    assert not any("long" in terms for terms in unmet)
    assert (accepting.fields()["accepted"], accepting.fields()["expired"]) == (14, 1)
    assert BaselineFilter((), NOW, "match").fields() == {}
