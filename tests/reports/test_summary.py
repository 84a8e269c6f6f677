from __future__ import annotations

from typing import Any

import pytest

from hashscan.model import (
    FileResult,
    FileStat,
    FolderReason,
    ListInfo,
    Reason,
    TrustState,
    Verdict,
)
from hashscan.reports.summary import Summary
from hashscan.sources.base import NonFileCounts

STAT = FileStat(1, 2, 3, 4, 5, 1, 0)
FRESH = ListInfo("good", TrustState.FRESH)


def summary(*verdicts: Verdict) -> Summary:
    made = Summary()
    for verdict in verdicts:
        made.count(verdict, None)
    return made


@pytest.mark.parametrize(
    ("verdicts", "fail_on", "strict", "code"),
    [
        ((Verdict.CLEAN,), "match", False, 0),
        ((Verdict.SKIPPED,), "match", False, 0),
        ((Verdict.MATCH,), "match", False, 1),
        ((Verdict.HELD,), "match", False, 0),
        ((Verdict.REVIEW,), "match", False, 0),
        ((Verdict.REVIEW,), "review", False, 1),
        ((Verdict.MATCH,), "never", False, 0),
        ((Verdict.UNREADABLE,), "match", False, 3),
        ((Verdict.UNREADABLE,), "never", False, 3),
        ((Verdict.UNDECODED,), "match", False, 0),
        ((Verdict.UNDECODED,), "match", True, 3),
        ((Verdict.MATCH, Verdict.UNREADABLE), "match", False, 4),
        ((Verdict.MATCH, Verdict.UNDECODED), "match", True, 4),
    ],
)
def test_exit_code(verdicts: tuple[Verdict, ...], fail_on: str, strict: bool, code: int) -> None:
    assert summary(*verdicts).exit_code([FRESH], fail_on=fail_on, strict=strict) == code  # type: ignore[arg-type]


@pytest.mark.parametrize(("record", "code"), [({}, 1), ({"accepted": {"reason": "ours"}}, 0)])
def test_what_the_circuit_breaker_holds_sets_the_exit_code(record: dict[str, Any], code: int) -> None:
    counted = summary(Verdict.MATCH)
    if record:
        counted.accept(Verdict.MATCH)
    counted.hold([record])
    assert counted.verdicts[Verdict.HELD] == 1
    assert counted.exit_code([FRESH], fail_on="match", strict=False) == code


@pytest.mark.parametrize("state", [s for s in TrustState if not s.is_good])
def test_a_list_that_is_not_as_it_should_be_makes_the_scan_incomplete(state: TrustState) -> None:
    lists = [FRESH, ListInfo("bad", state)]
    assert summary(Verdict.CLEAN).exit_code(lists, fail_on="match", strict=False) == 3
    assert any("bad" in one.message for one in summary().shortcomings(lists, strict=False))


def test_a_folder_not_entered_and_an_empty_target_make_it_incomplete() -> None:
    closed = summary(Verdict.CLEAN)
    closed.close_folder(FolderReason.PERMISSION)
    assert closed.exit_code([FRESH], fail_on="match", strict=False) == 3
    empty = summary()
    empty.empty_targets = 1
    assert empty.exit_code([FRESH], fail_on="match", strict=False) == 3


@pytest.mark.parametrize("reason", [Reason.STARVED, Reason.UNCONFIRMED])
def test_picture_that_another_scan_may_decode_makes_it_incomplete(reason: Reason) -> None:
    made = summary(Verdict.CLEAN)
    made.count(Verdict.UNDECODED, reason)
    assert made.exit_code([FRESH], fail_on="match", strict=False) == 3
    made.count(Verdict.MATCH, None)
    assert made.exit_code([FRESH], fail_on="match", strict=False) == 4


def test_fields_count_every_file_once() -> None:
    made = Summary()
    made.add(FileResult(b"a", STAT, Verdict.CLEAN, low_quality=True))
    made.add(FileResult(b"b", STAT, Verdict.UNDECODED, Reason.BROKEN))
    made.add(FileResult(b"c", STAT, Verdict.UNDECODED, Reason.BROKEN))
    made.add_passed(NonFileCounts(folders=2, links=1, specials=3))
    fields = made.fields()
    assert fields["files"] == 3 == sum(fields["verdicts"].values())
    assert set(fields["verdicts"]) == {verdict.value for verdict in Verdict}
    assert fields["reasons"] == {"undecoded": {"broken picture": 2}}
    assert fields["low_quality_pictures"] == 1
    assert fields["passed"] == {"folders": 2, "links": 1, "specials": 3, "excluded_folders": 0}


def test_containers_are_counted_by_themselves_and_do_not_set_the_exit_code() -> None:
    found = Summary()
    found.count(Verdict.UNDECODED, Reason.CONTAINER)
    assert found.exit_code([FRESH], fail_on="match", strict=True) == 0
    assert found.fields()["reasons"] == {"undecoded": {"container not opened": 1}}
    found.count(Verdict.UNDECODED, Reason.BROKEN)
    assert found.exit_code([FRESH], fail_on="match", strict=True) == 3
