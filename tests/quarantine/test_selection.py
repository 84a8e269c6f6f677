"""Only what lists that can be relied on say for certain is acted on."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from hashscan.model import Weak
from hashscan.quarantine.captured_file import Identity
from hashscan.quarantine.selection import blocking_weakness, request_of, stays_as_container

SCAN = {
    "type": "scan",
    "uuid": "u",
    "lists": [
        {"name": name, "state": name, "version": 3, "key_ids": ["k"]}
        for name in ("fresh", "local", "stale", "unverifiable")
    ],
}
MATCH = {"list": "fresh", "entry": "e", "algorithm": "pdq", "distance": 31, "threshold": 31, "category": "A1"}
FINDING = {
    "type": "finding", "path": "/a", "verdict": "match", "size": 7, "mtime_ns": 1, "ctime_ns": 2, "uid": 3,
    "links": 1, "device": 9, "inode": 8,
    "matches": [MATCH], "because": "b",
}  # fmt: skip


def test_a_match_is_moved() -> None:
    request = request_of(FINDING, SCAN)
    assert request is not None
    assert (request.path, request.identity, request.sha256) == (b"/a", Identity(8, 7, 1, 2), None)
    assert request.accusation["matches"] == [MATCH]
    assert request.accusation["lists"] == [
        {"name": "fresh", "version": 3, "state": "fresh", "key_ids": ["k"], "source": None}
    ]
    digests = {"digests": {"sha256": "ab"}}
    with_digests = request_of({**FINDING, **digests, "path": "/?", "path_b64": "L/8="}, SCAN)
    assert with_digests is not None
    assert (with_digests.sha256, with_digests.path) == ("ab", b"/\xff")


@pytest.mark.parametrize(
    "changes",
    [
        {"list": "unverifiable"},
        {"list": "unknown"},
        {"category": "other"},
        {"category": "known-good"},
        {"distance": 32},
        {"algorithm": "phash"},
        {"algorithm": "unknown"},
        {"doubt": "one colour"},
        {"withheld": "rule 1: held"},
        {"excepted": {"reason": "r", "until": "u"}},
    ],
    ids=str,
)
def test_what_does_not_act(changes: dict[str, Any]) -> None:
    weak = {**MATCH, **changes}
    assert request_of({**FINDING, "matches": [weak]}, SCAN) is None
    assert blocking_weakness({**FINDING, "matches": [weak]}, SCAN, ()) is None
    assert request_of({**FINDING, "matches": [weak, MATCH]}, SCAN) is not None


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"list": "stale"}, [Weak.STALE]),
        ({"list": "local"}, [Weak.LOCAL]),
        ({"category": "test"}, [Weak.TEST]),
        ({"list": "local", "category": "test"}, [Weak.LOCAL, Weak.TEST]),
    ],
    ids=str,
)
def test_what_the_settings_must_say(changes: dict[str, Any], needed: list[Weak]) -> None:
    finding = {**FINDING, "matches": [{**MATCH, **changes}]}
    for number in range(len(Weak) + 1):
        for act_on in combinations(Weak, number):
            enough = set(needed) <= set(act_on)
            assert (request_of(finding, SCAN, act_on) is not None) is enough
            lacks = [weak for weak in needed if weak not in act_on]
            assert blocking_weakness(finding, SCAN, act_on) is (lacks[0] if lacks else None)
    strong = {**FINDING, "matches": [{**MATCH, **changes}, MATCH]}
    assert request_of(strong, SCAN) is not None
    assert blocking_weakness(strong, SCAN, ()) is None


@pytest.mark.parametrize(
    "changes", [{"verdict": "held"}, {"verdict": "review"}, {"type": "standing"}], ids=str
)
def test_what_is_no_match(changes: dict[str, Any]) -> None:
    assert request_of({**FINDING, **changes}, SCAN) is None


def test_objects_are_not_moved() -> None:
    assert request_of({k: v for k, v in FINDING.items() if k != "inode"}, SCAN) is None


def test_a_video_goes_with_its_frame_and_an_archive_stays_with_its_member() -> None:
    member = {**MATCH, "member": "00:01:07"}
    archive = {**FINDING, "matches": [member]}
    assert request_of(archive, SCAN) is None
    assert stays_as_container(archive, SCAN, ())
    video = {**FINDING, "matches": [{**member, "of_video": True}]}
    assert request_of(video, SCAN) is not None
    assert not stays_as_container(video, SCAN, ())
