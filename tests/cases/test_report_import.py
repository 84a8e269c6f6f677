from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hashscan.cases.actions import CLOSED, REOPENED, record_action
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import NoticeTracker
from hashscan.cases.notices.notice import Notice
from hashscan.cases.queries import Case, Queries, scans
from hashscan.cases.report_import import ReportImportResult, import_report
from hashscan.cases.tracker import CaseLocation
from hashscan.errors import UsageError
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir
from tests.reports import documents
from tests.shortcomings import shortcoming

DAY = 86_400
BEGIN = 1_800_000_000


def moment(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def finding(path: str, **more: Any) -> dict[str, Any]:
    match = {
        "list": "national", "entry": "n-1", "algorithm": "md5", "variant": "as stored", "distance": 0,
        "threshold": 0, "category": "A1",
    }  # fmt: skip
    return {
        "type": "finding", "schema": 1, "path": path, "verdict": "match", "size": 3, "uid": 1000,
        "because": "md5 equal", "matches": [match], **more,
    }  # fmt: skip


def used(name: str, state: str) -> dict[str, Any]:
    return {"name": name, "state": state, "version": 1, "entries": 9}


def report(folder: Path, day: int, records: list[dict[str, Any]], *, whole: bool = True, **more: Any) -> Path:
    """One of a night on a cluster."""
    at = BEGIN + day * DAY
    first = {
        **documents.SCAN, "uuid": f"u{day}", "host": "coordinator", "thresholds": {},
        "lists": [used("national", "fresh")],
        "targets": [{"path": "/www"}], "started": moment(at), **more,
    }  # fmt: skip
    short = [] if whole else [shortcoming("stopped", "stopped")]
    last = documents.summary(
        [], incomplete=short, ended=moment(at + 60), files=9, bytes=90,
        verdicts={"match": len(records)}, exit_code=1,
    )  # fmt: skip
    path = folder / f"{len(list(folder.iterdir()))}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in (first, *records, last)))
    return path


def take(folder: Path, path: Path) -> tuple[ReportImportResult, list[Case]]:
    with Ledger(StateDir(folder / "state")) as ledger:
        came = import_report(ledger, path)
        return came, list(Queries(ledger, DeadlineCalculator(CaseSettings())).all_cases())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_its_findings_become_cases_once(folder: Path) -> None:
    path = report(folder, 0, [finding("/www/a"), finding("/www/b", customer="bob")])
    came, cases = take(folder, path)
    assert came == ReportImportResult(2, 2, 0)
    assert [(c.path, c.found, c.customer, c.uid) for c in cases] == [
        (b"/www/a", BEGIN, "", 1000),
        (b"/www/b", BEGIN, "bob", 1000),
    ]
    assert take(folder, path) == (ReportImportResult(0, 0, 0, known=True), cases)


def test_a_whole_one_ends_what_it_has_not_found_again(folder: Path) -> None:
    take(folder, report(folder, 0, [finding("/www/a"), finding("/www/b")]))
    came, cases = take(folder, report(folder, 1, [finding("/www/a")]))
    assert came == ReportImportResult(1, 0, 1)
    assert [(case.removed, case.how) for case in cases] == [(None, ""), (BEGIN + DAY + 60, "gone")]
    came, cases = take(folder, report(folder, 2, [finding("/www/a"), finding("/www/b")]))
    assert came == ReportImportResult(2, 1, 0)
    assert [case.previous for case in cases] == [None, None, 2]


@pytest.mark.parametrize(
    "more",
    [
        {"whole": False},
        {"targets": [{"path": "/www/x"}]},
        {"selection": {"exclude": ["b"]}},
        {"host": "another"},
        {"known": True},
        {"files_from": {"path": "-"}},
    ],
)
def test_another_scan_or_half_of_one_ends_nothing(folder: Path, more: dict[str, Any]) -> None:
    take(folder, report(folder, 0, [finding("/www/b")]))
    came, (case,) = take(folder, report(folder, 1, [], **more))
    assert came.removed == 0
    assert case.open


def unchecked(kind: str) -> dict[str, Any]:
    fields = {"was": "match"} if kind == "standing" else {"verdict": kind}
    return {"type": kind, "schema": 1, "path": "/www/b", **fields}


@pytest.mark.parametrize("kind", ["unreadable", "undecoded", "skipped", "standing"])
def test_what_was_not_checked_is_not_gone(folder: Path, kind: str) -> None:
    take(folder, report(folder, 0, [finding("/www/b")]))
    _, (case,) = take(folder, report(folder, 1, [unchecked(kind)]))
    assert case.open


def test_an_older_one_that_comes_late_ends_nothing(folder: Path) -> None:
    take(folder, report(folder, 5, [finding("/www/b")]))
    came, (case,) = take(folder, report(folder, 1, []))
    assert (came.removed, case.open) == (0, True)


def test_joined_shards_count_once(folder: Path) -> None:
    take(folder, report(folder, 0, [finding("/www/a")], shard={"index": 1, "count": 2}))
    parts = {"from": [{"uuid": "u0", "host": "coordinator"}]}
    merged = report(folder, 9, [finding("/www/a"), finding("/www/b")], merged=parts)
    came, cases = take(folder, merged)
    assert (came.findings, came.new, len(cases)) == (2, 1, 2)
    with Ledger(StateDir(folder / "state")) as ledger:
        assert [scan.uuid for scan in scans(ledger)] == ["u9"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"path_b64": "no base64"},
        {"verdict": ["match"]},
        {"path_b64": 3},
        {"matches": 7},
        {"matches": [7, {"list": ["x"], "distance": 2}, {"distance": "far"}, {}]},
        {"uid": -(1 << 70)},
        {"mtime_ns": True},
        {"customer": ["x"]},
        {"because": "\ud800"},
        {"digests": {"sha256": "zz"}},
        {"digests": ["sha256"]},
        {"version": 4},
        {"etag": {}},
    ],
)
def test_what_no_scan_writes_is_refused_and_nothing_is_taken(folder: Path, wrong: dict[str, Any]) -> None:
    path = report(folder, 0, [finding("/www/a"), finding("/www/b", **wrong)])
    with pytest.raises(UsageError):
        take(folder, path)
    with Ledger(StateDir(folder / "state")) as ledger:
        assert ledger.one("SELECT count(*) FROM cases") == (0,)


@pytest.mark.parametrize(
    "odd",
    [{"size": 1 << 90, "inode": (1 << 64) - 1, "mtime_ns": -(1 << 90)}, {"picture_of": ["x"], "digests": {}}],
)
def test_what_is_odd_in_a_record_loses_no_finding(folder: Path, odd: dict[str, Any]) -> None:
    came, (case,) = take(folder, report(folder, 0, [finding("/www/a", **odd)]))
    assert came.new == 1
    assert case.path == b"/www/a"


@pytest.mark.parametrize("wrong", [{"exit_code": "x"}, {"verdicts": {"match": "many"}}, {"files": 1 << 100}])
def test_what_figures_are_made_of_is_as_scans_write_it(folder: Path, wrong: dict[str, Any]) -> None:
    path = report(folder, 0, [finding("/www/a")])
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join((*lines, json.dumps({**json.loads(last), **wrong}))) + "\n")
    with pytest.raises(UsageError):
        take(folder, path)


def test_what_was_taken_over_half_is_taken_over_whole(folder: Path) -> None:
    path = report(folder, 0, [finding("/www/a"), finding("/www/b")])
    lines = path.read_text().splitlines(keepends=True)
    partial = path.with_name("half")
    partial.write_text("".join(lines[:2]))
    assert take(folder, partial)[0] == ReportImportResult(1, 1, 0)
    assert take(folder, partial)[0].known
    came, cases = take(folder, path)
    assert (came, len(cases)) == (ReportImportResult(2, 1, 0), 2)
    assert take(folder, path)[0].known
    with Ledger(StateDir(folder / "state")) as ledger:
        (scan,) = scans(ledger)
    assert (scan.ended, scan.files) == (BEGIN + 60, 9)


def test_a_shard_that_comes_after_its_sum_counts_no_more(folder: Path) -> None:
    take(folder, report(folder, 9, [finding("/www/a")], merged={"from": [{"uuid": "u0", "host": "h"}]}))
    came, _ = take(folder, report(folder, 0, [finding("/www/a")], shard={"index": 1, "count": 2}))
    assert came.known
    with Ledger(StateDir(folder / "state")) as ledger:
        assert [scan.uuid for scan in scans(ledger)] == ["u9"]


def test_the_machine_is_known_on_which_a_file_lies(folder: Path) -> None:
    here = socket.gethostname()
    _, cases = take(folder, report(folder, 0, [finding("/www/a"), finding("s3://b/k")], host="web7"))
    assert [case.host for case in cases] == ["web7", ""]
    *_, case = take(folder, report(folder, 1, [finding("/www/b")], host=here))[1]
    assert case.host == ""
    parts = {"from": [{"uuid": "u8", "host": "web8"}, {"uuid": "u9", "host": here}]}
    *_, case = take(folder, report(folder, 2, [finding("/www/c")], host="desk", merged=parts))[1]
    assert case.host == ""
    cases = take(folder, report(folder, 3, [finding("/www/a")], host=here))[1]
    assert [case.host for case in cases if case.path == b"/www/a"] == ["web7", ""]


def test_equal_paths_on_two_machines_are_two_cases(folder: Path) -> None:
    """Each ends by the reports of its own machine alone."""
    take(folder, report(folder, 0, [finding("/www/a")], host="web7"))
    came, cases = take(folder, report(folder, 1, [finding("/www/a")], host="web8"))
    assert came.new == 1
    assert [(case.host, case.found) for case in cases] == [("web7", BEGIN), ("web8", BEGIN + DAY)]
    undecoded = {"type": "undecoded", "schema": 1, "path": "/www/a", "verdict": "undecoded"}
    came, cases = take(folder, report(folder, 2, [undecoded], host="web8"))
    assert (came.removed, [case.seen for case in cases]) == (0, [BEGIN, BEGIN + 2 * DAY])
    came, cases = take(folder, report(folder, 3, [], host="web8"))
    assert (came.removed, [case.open for case in cases]) == (1, [True, False])
    with Ledger(StateDir(folder / "state")) as ledger:
        record_action(ledger, [1], CLOSED, "done", "root", BEGIN)
        take(folder, report(folder, 4, [finding("/www/a")], host="web8"))
        # Another machine's open case of this path is no reason against it.
        assert record_action(ledger, [1], REOPENED, "not yet", "root", BEGIN) == [1]


@pytest.mark.parametrize(
    "more",
    [
        {"lists": [used("other", "fresh")]},
        {"lists": [used("national", "damaged"), used("other", "fresh")]},
        {"lists": []},
    ],
)
def test_a_report_without_the_list_that_accused_a_file_ends_nothing(
    folder: Path, more: dict[str, Any]
) -> None:
    take(folder, report(folder, 0, [finding("/www/a")]))
    came, (case,) = take(folder, report(folder, 1, [], **more))
    assert (came.removed, case.open) == (0, True)
    assert take(folder, report(folder, 2, []))[0].removed == 1


@pytest.mark.parametrize(
    ("match", "narrowed"),
    [
        ({"distance": 40, "threshold": 31}, {"review_threshold": 31}),
        ({"distance": 9, "variant": "frame 2, turned 90"}, {"variants": ["512x512"]}),
    ],
)
def test_a_report_that_asked_less_ends_nothing(
    folder: Path, match: dict[str, Any], narrowed: dict[str, Any]
) -> None:
    asked = {"thresholds": {"pdq": 31}, "variants": ["512x512", "turned"], "review_threshold": 60}
    (plain,) = finding("/www/a")["matches"]
    found = finding("/www/a", matches=[{**plain, "algorithm": "pdq", **match}])
    take(folder, report(folder, 0, [found], **asked))
    assert take(folder, report(folder, 1, [], **{**asked, **narrowed}))[0].removed == 0
    assert take(folder, report(folder, 2, [], **asked))[0].removed == 1


def test_a_case_with_a_notice_goes_on_where_a_report_is_silent(folder: Path) -> None:
    take(folder, report(folder, 0, [finding("/www/a")], host="web7"))
    with Ledger(StateDir(folder / "state")) as ledger, ledger.transaction() as database:
        notice = Notice("", "hotline", category="B1")
        assert NoticeTracker(database).take_notice(CaseLocation(b"/www/a"), notice, BEGIN + 5) == (1, True)
    for day in (1, 2):
        came, (case,) = take(folder, report(folder, day, [], host="web7"))
        assert (came.removed, case.open, case.verdict, case.categories) == (0, True, "notice", ("B1",))
    came, (case,) = take(folder, report(folder, 3, [finding("/www/a")], host="web7"))
    assert (came.new, case.verdict) == (0, "match")


def test_entries_for_tests_make_no_case(folder: Path) -> None:
    (match,) = finding("/www/a")["matches"]
    drill = finding("/www/a", matches=[{**match, "list": "demo", "category": "test"}])
    came, cases = take(folder, report(folder, 0, [drill]))
    assert (came.findings, came.new, cases) == (1, 0, [])
