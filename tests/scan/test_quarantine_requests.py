"""A report that somebody else wrote is acted on as it says, or refused by file and line."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.model import Weak
from hashscan.scan.quarantine_requests import QuarantineRequests
from hashscan.settings.matching import BreakerLimits
from hashscan.state_dir import StateDir
from tests.examples import examples
from tests.reports import documents

MATCH = {"list": "l", "entry": "e", "algorithm": "md5", "distance": 0, "threshold": 0, "category": "A1"}
FINDING: dict[str, Any] = {
    "type": "finding", "schema": 1, "path": "/none/a", "path_b64": "L25vbmUvYQ==", "verdict": "match",
    "because": "b", "action": "report", "matches": [MATCH], "uid": 3, "links": 1, "device": 1, "inode": 8,
    "size": 7, "mtime_ns": -1, "ctime_ns": 2,
    "digests": {"sha256": "ab" * 32}, "quarantine": {"outcome": "x"},
}  # fmt: skip
OBJECT: dict[str, Any] = {
    "type": "finding", "schema": 1, "path": "s3://b/k", "verdict": "match", "because": "b", "etag": '"1"',
    "version": "v", "size": 1, "matches": [MATCH],
}  # fmt: skip
SCAN: dict[str, Any] = {
    **documents.SCAN, "targets": [{"path": "/none"}],
    "lists": [{"name": "l", "state": "fresh", "version": 3, "entries": 9, "key_ids": ["k"]}],
}  # fmt: skip
REPORT = [SCAN, FINDING, OBJECT, documents.summary([FINDING, OBJECT])]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "match", "/\0", "\ud800", "A1", "fresh", "pdq", "L8=", "s3://", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["path", "list"]), inner),
    max_leaves=4,
)  # fmt: skip


def asked(path: Path, records: list[Any]) -> list[Any]:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    accused = QuarantineRequests([path], BreakerLimits(), StateDir(path.parent / "state"), tuple(Weak))
    return [*accused.requests(), *accused.breaker_messages(), *accused.unmoved_messages()]


def test_what_scans_write(tmp_path: Path) -> None:
    assert [request.path for request in asked(tmp_path / "r", REPORT)] == [b"/none/a", b"s3://b/k"]


def test_what_a_baseline_accepts_stays(tmp_path: Path) -> None:
    accepted = {**FINDING, "accepted": {"reason": "r", "until": "2027-01-31T00:00:00Z"}}
    requests = asked(tmp_path / "r", [SCAN, accepted, OBJECT, REPORT[-1]])
    assert [answer.path for answer in requests[:-1]] == [b"s3://b/k"]
    assert requests[-1] == "1 finding stays that a baseline accepts"


@given(data=st.data())
@settings(
    max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_somebody_writes(tmp_path: Path, data: st.DataObject) -> None:
    records = copy.deepcopy(REPORT)
    place: Any = records[data.draw(st.integers(0, 2), label="line")]
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else [0]), label="key")
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if isinstance(place, dict) and data.draw(st.booleans(), label="drop"):
        del place[key]
    else:
        place[key] = data.draw(VALUES, label="value")
    with suppress(UsageError):
        asked(tmp_path / "r", records)


@pytest.mark.parametrize(
    "changes",
    [
        {"path": None},
        {"path": "/a\0"},
        {"path": "/\ud800"},
        {"path_b64": "?"},
        {"path_b64": 1},
        {"because": None},
        {"matches": {}},
        {"matches": [MATCH, {**MATCH, "entry": 1}]},
        {"matches": [{**MATCH, "distance": "0"}]},
        {"inode": "8"},
        {"digests": []},
        {"digests": {"sha256": "AB"}},
        {"quarantine": "done"},
    ],
    ids=str,
)
def test_a_finding_that_can_not_be_understood(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"/r, line 3: this record can't be understood"):
        asked(tmp_path / "r", [SCAN, FINDING, {**FINDING, **changes}, REPORT[-1]])


def test_an_algorithm_that_is_not_known_here_says_nothing(tmp_path: Path) -> None:
    finding = {**FINDING, "matches": [{**MATCH, "algorithm": "later"}]}
    assert asked(tmp_path / "r", [SCAN, finding, REPORT[-1]]) == []
