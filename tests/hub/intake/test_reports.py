"""Reports are taken in exactly once, and become servers, scans and cases."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Row, Table, select

from hashscan.hub.intake import case_rows
from hashscan.hub.intake.records import NewerSchemaError, decode_records
from hashscan.hub.intake.reports import (
    MissingReportError,
    OutOfOrderError,
    receive_records,
    report_state,
)
from hashscan.hub.intake.servers import change_defaults
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, EVENTS, SCANS, SERVERS
from hashscan.hub_api import RECORDS_MAX, ReportState, place_of
from hashscan.schema import InvalidDocumentError
from tests.hub.intake.reports import (
    NOW,
    finding,
    lines,
    organisation,
    push,
    report,
    scan_record,
    summary,
)
from tests.shortcomings import shortcoming


def rows(database: Database, table: Table) -> list[Row[Any]]:
    with database.reading() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


def test_a_report_becomes_a_server_a_scan_and_cases(database: Database) -> None:
    owner = organisation(database)
    name, records = report(finding("/srv/a.jpg"), finding("/srv/b.jpg", verdict="review", customer="c1"))
    assert push(database, owner, name, records) == ReportState(4, True)
    (server,) = rows(database, SERVERS)
    assert (server.name, server.first, server.seen, server.scan) == ("web1", NOW, NOW, name)
    (scan,) = rows(database, SCANS)
    assert (scan.records, scan.complete, scan.exit_code, scan.files, scan.findings) == (4, True, 1, 10, 1)
    assert (scan.version, scan.received, scan.finished) == ("0.1.0", NOW, NOW)
    assert scan.started == datetime.fromisoformat(records[0]["started"]).timestamp()
    assert scan.ended == datetime(2026, 11, 28, 23, tzinfo=UTC).timestamp()
    assert json.loads(scan.lists)[0]["version"] == 3
    match, review = rows(database, CASES)
    assert (match.path, match.verdict, match.categories, match.found) == ("/srv/a.jpg", "match", "A1", NOW)
    assert bytes(match.place).hex() == place_of(b"/srv/a.jpg")
    assert (review.verdict, review.customer, review.scan) == ("review", "c1", name)
    assert [(event.case, event.kind) for event in rows(database, EVENTS)] == [
        (match.id, "found"),
        (review.id, "found"),
    ]


def test_twice_in_parts_and_overlapping_changes_nothing(database: Database) -> None:
    owner = organisation(database)
    name, records = report(*(finding(f"/srv/{n}") for n in range(8)))
    assert push(database, owner, name, records[:4]) == ReportState(4, False)
    assert push(database, owner, name, records[2:6], at=2, now=NOW + 1) == ReportState(6, False)
    assert push(database, owner, name, records[5:], at=5, now=NOW + 1) == ReportState(10, True)
    before = [rows(database, table) for table in (CASES, SCANS, EVENTS)]
    assert push(database, owner, name, records, now=NOW + 2) == ReportState(10, True)
    assert push(database, owner, name, records[5:], at=5, now=NOW + 2) == ReportState(10, True)
    assert [rows(database, table) for table in (CASES, SCANS, EVENTS)] == before
    assert len(before[0]) == len(before[2]) == 8


def test_out_of_order_and_cut_short(database: Database) -> None:
    owner = organisation(database)
    name, records = report(finding("/srv/a"))
    assert push(database, owner, name, records[:1]) == ReportState(1, False)
    with pytest.raises(OutOfOrderError) as caught:
        push(database, owner, name, records[2:], at=2)
    assert caught.value.state == ReportState(1, False)
    assert report_state(database, owner, name) == ReportState(1, False)
    assert push(database, owner, name, records[1:], at=1, now=NOW + 90_000) == ReportState(3, True)


def test_a_report_of_another_organisation_is_missing(database: Database) -> None:
    owner, other = organisation(database), organisation(database, "other")
    name, records = report(finding("/srv/a"))
    push(database, owner, name, records)
    with pytest.raises(MissingReportError):
        report_state(database, other, name)
    with pytest.raises(MissingReportError):
        receive_records(database, other, name, 0, decode_records(lines(records), 0), NOW)
    # Its own report of this uuid is another one.
    assert push(database, other, name, records[:2]) == ReportState(2, False)
    assert report_state(database, owner, name) == ReportState(3, True)
    assert {(case.organisation, case.path) for case in rows(database, CASES)} == {
        (owner, "/srv/a"),
        (other, "/srv/a"),
    }


def test_equal_paths_of_two_servers_are_two_cases(database: Database) -> None:
    owner = organisation(database)
    for host in ("web1", "web2"):
        push(database, owner, *report(finding("/srv/a")), host=host)
    assert len({case.server for case in rows(database, CASES)}) == 2


def test_a_finding_seen_again_is_the_same_case(database: Database) -> None:
    owner = organisation(database)
    push(database, owner, *report(finding("/srv/a", verdict="review")))
    again, records = report(finding("/srv/a"), finding("/srv/a"))
    push(database, owner, again, records, now=NOW + 50)
    (case,) = rows(database, CASES)
    assert (case.found, case.seen, case.scan, case.verdict) == (NOW, NOW + 50, again, "match")
    assert [event.kind for event in rows(database, EVENTS)] == ["found", "verdict"]


def ended(database: Database) -> dict[str, str]:
    return {case.path: case.how for case in rows(database, CASES) if case.removed is not None}


def test_a_case_ends_only_if_that_is_certain(database: Database) -> None:
    owner = organisation(database)
    push(database, owner, *report(finding("/srv/a"), finding("/srv/b"), finding("/srv/c")))
    seen = [{"type": "undecoded", "schema": 1, "path": "/srv/b", "verdict": "undecoded", "reason": "x"}]
    push(database, owner, *report(*seen, incomplete=[shortcoming("a target is smaller")]))
    push(database, owner, *report(*seen), scope="")
    push(database, owner, *report(*seen), host="web2")
    name, records = report(*seen)
    damaged = {**records[0], "lists": [{**records[0]["lists"][0], "state": "damaged"}]}
    push(database, owner, name, [damaged, *records[1:]])
    push(database, owner, *report(*seen), scope="6" * 64)
    assert ended(database) == {}
    # The scan of another scope was the last to name /srv/b, so that only that scope ends it.
    push(database, owner, *report(finding("/srv/c")), now=NOW + 9)
    assert ended(database) == {"/srv/a": "gone"}
    name, records = report()
    newer = {**records[0], "lists": [{**records[0]["lists"][0], "version": 4}]}
    push(database, owner, name, [newer, *records[1:]], now=NOW + 10)
    assert ended(database) == {"/srv/a": "gone", "/srv/c": "missing"}
    removed = [event for event in rows(database, EVENTS) if event.kind == "removed"]
    assert len(removed) == len(ended(database))
    push(database, owner, *report(finding("/srv/a")), now=NOW + 20)
    assert len(rows(database, CASES)) == 4  # it is back: a new case


def test_a_file_in_quarantine_ends_its_case(database: Database) -> None:
    owner = organisation(database)
    moved = {"quarantine": {"outcome": "done", "item": "i1"}}
    push(database, owner, *report(finding("/srv/a")))
    push(database, owner, *report(finding("/srv/a", **moved), finding("/srv/b", **moved)), now=NOW + 5)
    assert ended(database) == {"/srv/a": "quarantined", "/srv/b": "quarantined"}


def test_a_closed_case_opens_again_only_for_other_entries(database: Database) -> None:
    owner = organisation(database)
    push(database, owner, *report(finding("/srv/a", verdict="review")))
    with database.transaction() as connection:
        connection.execute(CASES.update().values(closed=NOW, decision="rejected"))
    push(database, owner, *report(finding("/srv/a", verdict="review")), now=NOW + 1)
    (case,) = rows(database, CASES)
    assert (case.closed, case.decision, case.seen) == (NOW, "rejected", NOW + 1)
    push(database, owner, *report(finding("/srv/a")), now=NOW + 2)
    (case,) = rows(database, CASES)
    assert (case.closed, case.decision, case.verdict) == (None, "", "match")


def test_names_that_stay_on_the_server(database: Database) -> None:
    owner = organisation(database)
    place = place_of(b"/srv/secret.jpg")
    push(database, owner, *report(finding("", place=place)))
    (case,) = rows(database, CASES)
    assert (case.path, bytes(case.place).hex()) == ("", place)
    # A server that begins to send names goes on with the same case.
    push(database, owner, *report(finding("/srv/secret.jpg")), now=NOW + 1)
    (case,) = rows(database, CASES)
    assert case.path == "/srv/secret.jpg"


HOSTILE = (
    "/srv/<script>alert(1)</script>",
    "/srv/=cmd|' /C calc'!A0",
    "/srv/\x1b[2J\x07\u202e\u009b",
    "/srv/new\nline\ttab",
    "/srv/'; DROP TABLE cases; --\\%s%(x)s:y?$1",
    "/srv/" + "n" * 4000,
    "/srv/\ufffd",
)


def test_hostile_names_come_back_as_they_were(database: Database) -> None:
    owner = organisation(database)
    odd = finding("/srv/\ufffd\ufffd", path_b64="L3Nydi//gA==", customer="x\0y")
    nul = finding("s3://b/a\0b", version="v\0")
    push(database, owner, *report(*map(finding, HOSTILE), odd, nul))
    found = rows(database, CASES)
    assert [case.path for case in found[: len(HOSTILE)]] == list(HOSTILE)
    assert [bytes(case.place).hex() for case in found[: len(HOSTILE)]] == [
        place_of(path.encode()) for path in HOSTILE
    ]
    assert (found[-2].path_b64, found[-2].customer) == ("L3Nydi//gA==", "x\ufffdy")
    assert (found[-1].path, found[-1].path_b64) == ("s3://b/a\ufffdb", "czM6Ly9iL2EAYg==")


def test_large_numbers_fit(database: Database) -> None:
    owner = organisation(database)
    large = (1 << 62) - 1
    counts = {"match": large, "held": large, "review": large}
    records = report(finding("/srv/a", size=1 << 90), verdicts=counts, files=large, exit_code=large)
    assert push(database, owner, *records).complete
    (case,) = rows(database, CASES)
    assert case.size == (1 << 63) - 1


@pytest.mark.parametrize(
    "records",
    [
        [finding("/srv/a")],
        [scan_record("00000000-0000-4000-8000-000000000000")],
        [summary()],
    ],
)
def test_what_can_be_no_beginning(database: Database, records: list[dict[str, Any]]) -> None:
    owner = organisation(database)
    name, _ = report()
    with pytest.raises(InvalidDocumentError):
        push(database, owner, name, records)
    assert report_state(database, owner, name) == ReportState(0, False)
    assert rows(database, CASES) == []


def test_records_after_the_end(database: Database) -> None:
    owner = organisation(database)
    name, records = report()
    with pytest.raises(InvalidDocumentError):
        push(database, owner, name, [*records, finding("/srv/a")])
    push(database, owner, name, records)
    with pytest.raises(InvalidDocumentError):
        push(database, owner, name, [finding("/srv/a")], at=2)
    assert rows(database, CASES) == []


@pytest.mark.parametrize(
    "part",
    [
        b"{",
        b"{}\n",
        b"[]\n",
        b"\n",
        b"null\n",
        b'{"type": "finding", "schema": 1, "path": "/a", "verdict": "match"}\n',
        b'{"type": "finding", "schema": 1, "path": "\\ud800", "verdict": "match", "because": ""}\n',
        b'{"type": "clean", "schema": 1, "path": "", "verdict": "clean", "place": "xyz"}\n',
        b'{"type": "folder", "schema": 1, "path": "/' + b"a" * (1 << 18) + b'", "reason": ""}\n',
        b"[" * 100_000 + b"\n",
        b'{"type": "folder", "schema": 1, "path": "\xff", "reason": ""}\n',
        lines([finding("/srv/a")] * (RECORDS_MAX + 1)),
    ],
)
def test_parts_that_are_not_valid(part: bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        decode_records(part, 0)


def test_records_of_a_newer_version() -> None:
    with pytest.raises(NewerSchemaError):
        decode_records(lines([finding("/srv/a"), finding("/srv/b", schema=2)]), 7)


def test_an_unknown_type_of_record_is_a_file(database: Database) -> None:
    owner = organisation(database)
    other = {"type": "later", "schema": 1, "path": "/srv/a", "more": {"a": [1]}}
    assert push(database, owner, *report(other)).complete
    assert rows(database, CASES) == []


def test_two_senders_of_one_report_at_the_same_time(database: Database) -> None:
    owner = organisation(database)
    name, records = report(*(finding(f"/srv/{n}") for n in range(60)))
    failures: list[Exception] = []

    def send() -> None:
        try:
            received = 0
            while received < len(records):
                state = push(database, owner, name, records[received : received + 7], at=received)
                received = state.received
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(rows(database, CASES)) == len(rows(database, EVENTS)) == 60


def test_deadlines_are_the_hubs(database: Database) -> None:
    owner = organisation(database)
    change_defaults(database, "cli test", deadline=3600, review_deadline=7200, deadlines={"A1": 600})
    other = [{**finding("")["matches"][0], "category": "B1"}]
    findings = (
        finding("/srv/a"), finding("/srv/b", matches=other), finding("/srv/c", verdict="review"),
    )  # fmt: skip
    push(database, owner, *report(*findings))
    assert [case.deadline - NOW for case in rows(database, CASES)] == [600, 3600, 7200]


def test_a_servers_wrong_time_moves_no_case(database: Database) -> None:
    owner = organisation(database)
    name, records = report(finding("/srv/a"), ended="1970-01-01T00:00:00Z")
    records[0] = scan_record(name, started="9999-12-31T23:59:59+00:00")
    push(database, owner, name, records)
    (scan,) = rows(database, SCANS)
    (case,) = rows(database, CASES)
    assert (scan.started, scan.ended, scan.received) == (253_402_300_799, 0, NOW)
    assert (case.found, case.seen) == (NOW, NOW)


def test_an_old_report_that_comes_late_changes_no_case(database: Database) -> None:
    owner = organisation(database)
    push(database, owner, *report(finding("/srv/a")))
    name, records = report(finding("/srv/b"))
    records[0] = scan_record(name, started="2026-11-01T00:00:00+00:00")
    assert push(database, owner, name, records, now=NOW + 5).complete
    (case,) = rows(database, CASES)
    assert (case.path, case.removed, case.seen) == ("/srv/a", None, NOW)
    assert len(rows(database, SCANS)) == 2
    assert rows(database, SERVERS)[0].scan != name


@pytest.mark.parametrize("first_is_later", [False, True])
@pytest.mark.parametrize("started", ["2026-11-28T22:00:00+00:00", "2026-11-28T22:30:00+00:00"])
def test_reports_that_come_in_at_the_same_time_end_no_case_of_each_other(
    database: Database, started: str, first_is_later: bool
) -> None:
    """A late report goes on beside the one of the next scan, in parts that take turns."""
    owner = organisation(database)
    files = [finding(f"/srv/{number}") for number in range(3)]
    begun = sorted([report(*files), report(*files)], reverse=first_is_later)
    begun[0][1][0] = scan_record(begun[0][0])
    begun[1][1][0] = scan_record(begun[1][0], started=started)
    (one, of_one), (other, of_other) = begun if not first_is_later else begun[::-1]
    push(database, owner, one, of_one[:4])
    push(database, owner, other, of_other[:3])
    assert push(database, owner, one, of_one[4:], at=4).complete
    assert push(database, owner, other, of_other[3:], at=3).complete
    cases = rows(database, CASES)
    assert [(case.path, case.removed) for case in cases] == [(f"/srv/{number}", None) for number in range(3)]


def test_reviews_beyond_the_quota_of_a_day_are_kept_apart(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_rows, "REVIEWS_OF_SERVER", 3)
    monkeypatch.setattr(case_rows, "REVIEWS_OF_ORGANISATION", 5)
    owner, other = organisation(database), organisation(database, "other")
    day = NOW - NOW % 86_400

    def send(host: str, reviews: int, now: int, sender: int = owner) -> None:
        uncertain = [finding(f"/srv/{n}", verdict="review") for n in range(reviews)]
        push(database, sender, *report(finding("/srv/match"), *uncertain), host=host, now=now)

    def waiting() -> dict[str, tuple[int, int]]:
        """By server, the cases for review that wait, and those beyond the quota."""
        query = select(SERVERS.c.name, CASES.c.verdict, CASES.c.excess).join(SERVERS)
        with database.reading() as connection:
            found = connection.execute(query).all()
        assert not [row for row in found if row.verdict == "match" and row.excess]
        each = [(row.name, row.excess) for row in found if row.verdict == "review"]
        return {name: (each.count((name, 0)), each.count((name, 1))) for name, _ in each}

    send("one", 5, day)
    send("two", 4, day + 1)
    send("three", 1, day + 2, other)
    assert waiting() == {"one": (3, 2), "two": (2, 2), "three": (1, 0)}
    # The next day has room for some of those that are still there.
    send("one", 5, day + 86_400)
    assert waiting() == {"one": (5, 0), "two": (2, 2), "three": (1, 0)}
    # One that turns out to match needs no room.
    matches = [finding(f"/srv/{n}") for n in range(4)]
    push(database, owner, *report(*matches), host="two", now=day + 86_401)
    assert waiting() == {"one": (5, 0), "three": (1, 0)}
    # A match that is for review in the next report does.
    send("two", 4, day + 2 * 86_400)
    assert waiting() == {"one": (5, 0), "two": (3, 1), "three": (1, 0)}
    send("two", 4, day + 2 * 86_400 + 1)
    assert waiting() == {"one": (5, 0), "two": (3, 1), "three": (1, 0)}
