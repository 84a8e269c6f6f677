"""Attacks on a hub by its members, by owners of scanned files and by readers of its public figures."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import argon2
import pytest
from sqlalchemy import Table, insert, select, text, update

from hashscan import hash_chain
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.hub.accounts.audit import BrokenAuditError, read_audit, record
from hashscan.hub.accounts.keys import count_requests, key_named
from hashscan.hub.accounts.organisations import delete_organisation
from hashscan.hub.accounts.privacy import export, prune
from hashscan.hub.accounts.sessions import set_switch
from hashscan.hub.accounts.users import user_named
from hashscan.hub.checks.counting import Checked, QuotaError, count_check
from hashscan.hub.intake.reports import begin_report
from hashscan.hub.intake.servers import raise_silence
from hashscan.hub.notices.notices import NewNotice, send_notice
from hashscan.hub.review.cases import CaseFilter, count_cases, decide
from hashscan.hub.statistics.figures import _suppressed, make_document
from hashscan.hub.statistics.publications import Publication, prepare, release
from hashscan.hub.storage.database import Database, DatabaseError
from hashscan.hub.storage.tables import AUDIT, CASES, CHECKS, SERVERS, USERS
from hashscan.hub.web import limits
from hashscan.hub.web.statistics_routes import _FORMS
from hashscan.hub_api import RECORD_BYTES_MAX, ReportBegin, place_of
from hashscan.model import Entry
from hashscan.scan.reporting.report_push import PushRefusedError, ReportPusher, sent_line
from hashscan.schema import InvalidDocumentError
from hashscan.service_client import ServiceRefusedError
from hashscan.settings.cases_and_alerts import NO_ALERTS
from hashscan.state_dir import StateDir
from hashscan.timefmt import format_utc_seconds
from tests.hub.intake.reports import NOW, finding, lines, organisation, push, report, scan_record
from tests.hub.pages.browsing import Browser, make_context, signed_in
from tests.hub.serving import new_key, node
from tests.service.engine.serving import store_list
from tests.shortcomings import shortcoming

DAY = 86_400


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("hashscan.hub.accounts.users.HASHER", cheap)


def row_of(database: Database, table: Table, *conditions: Any) -> Any:
    """The only row that the conditions select."""
    with database.reading() as connection:
        return connection.execute(select(table).where(*conditions)).one()


def test_one_body_that_is_lines_and_a_document_is_counted_as_both(
    database: Database, hub_state: StateDir
) -> None:
    store_list(hub_state.path, Entry("e0", "md5", b"m" * 16, "A1"))
    key = new_key(database)
    many = [{"algorithm": "md5", "value": f"{number:032x}"} for number in range(50)]
    body = json.dumps({**many[0], "digests": many}).encode()
    with node(database, hub_state) as site:
        as_line = site.ask(
            "POST", "/v1/check", body, key, Idempotency_Key="k", Content_Type="application/x-ndjson"
        )
        as_document = site.ask("POST", "/v1/check", body, key, Idempotency_Key="k")
    assert (as_line.status, as_document.status, as_document.code) == (200, 409, "conflict")
    assert row_of(database, CHECKS).exact == 1


def test_a_rate_holds_at_nodes_whose_clocks_differ(database: Database) -> None:
    new_key(database, requests_per_minute=3)
    admitted = 0
    for number in range(20):
        with database.transaction() as connection:
            key = key_named(connection, "alpha", "k")
            admitted += count_requests(connection, key, NOW - NOW % 60 - number % 2)
    assert admitted <= 6


def test_a_decision_about_other_content_hides_no_match(database: Database) -> None:
    owner = organisation(database)
    sha256 = {"digests": {"sha256": "a" * 64}}
    push(database, owner, *report(finding("/srv/a", verdict="review", **sha256)))
    signed_in(make_context(database, StateDir(Path("/nonexistent"))), "rita", "reviewer")
    rejected(database, "rita")
    push(database, owner, *report(finding("/srv/a", verdict="review", **sha256)), now=NOW + 1)
    assert counted(database) == 0, "the same content stays rejected"
    push(database, owner, *report(finding("/srv/a", digests={"sha256": "b" * 64})), now=NOW + 2)
    assert counted(database) == 1
    case = row_of(database, CASES)
    assert (case.verdict, case.decision, case.decided_by, case.seconded_by) == ("match", "", "", "")


def rejected(database: Database, name: str, *, two: bool = False) -> None:
    with database.transaction() as connection:
        case = connection.execute(select(CASES)).one()
        decide(
            connection, user_named(connection, name), case.id, case.moved, "rejected", "a cat", NOW, two=two
        )


def counted(database: Database) -> int:
    with database.reading() as connection:
        return count_cases(connection, CaseFilter(), NOW, two=False)


def test_a_scan_from_the_future_makes_no_later_one_outdated(database: Database) -> None:
    owner = organisation(database)
    name, records = report()
    records[0] = scan_record(name, started="2099-01-01T00:00:00+00:00")
    push(database, owner, name, records)
    later, found = report(finding("/srv/a"))
    found[0] = scan_record(later, started=format_utc_seconds(NOW + DAY - 60))
    push(database, owner, later, found, now=NOW + DAY)
    assert row_of(database, CASES).path == "/srv/a"
    assert row_of(database, SERVERS).scan == later


def test_a_new_organisation_sees_nothing_of_a_deleted_one(database: Database) -> None:
    first = organisation(database, "alpha")
    with database.transaction() as connection:
        record(connection, "cli me", "do", first, {"words": "of alpha"})
        delete_organisation(connection, "cli me", "alpha")
    organisation(database, "beta")
    member = signed_in(make_context(database, StateDir(Path("/nonexistent"))), "mia", "member", "beta")
    assert "alpha" not in member.get("/audit").text
    with database.reading() as connection:
        assert "alpha" not in str(list(export(connection, "beta")))


def test_a_case_without_names_is_pruned(database: Database) -> None:
    owner = organisation(database)
    push(database, owner, *report(finding("", place="c" * 64)))
    with database.transaction() as connection:
        connection.execute(update(CASES).values(removed=NOW, reason="Mr Smith's", decided_by="rita"))
        prune(connection, "cli me", NOW + 1, NOW + 1)
    case = row_of(database, CASES)
    assert (case.entries, case.reason, case.decided_by, bytes(case.place)) == ("", "", "", b"")


def test_secrets_of_a_failed_statement_are_in_no_log(database: Database) -> None:
    values = {"name": "u", "role": "member", "organisation": 99, "created": 1, "totp": "S3CR3T"}
    with pytest.raises(DatabaseError) as caught, database.transaction() as connection:
        connection.execute(insert(USERS).values(values))
    assert "S3CR3T" not in "".join(traceback.format_exception(caught.value))


def test_the_place_in_a_ranking_reveals_no_suppressed_month(database: Database) -> None:
    organisation(database, "alpha")
    with database.transaction() as connection:
        for month, number in ((1, 7), (2, 4)):
            at = int(datetime(2026, month, 9, tzinfo=UTC).timestamp())
            for _ in range(number):
                send_notice(connection, "cli me", "alpha", NewNotice(path="/srv/a", category="A1"), at)
        document = make_document(connection, "2026-01", "2026-02", NOW)
    assert [month.notices for month in document.organisations[0].months] == [7, None]
    assert [rank.cases for rank in document.ranking] == [None]


@pytest.mark.parametrize(
    "counts",
    [
        {1: 1, 2: 1, 3: 50, 4: 60},  # their sum is 2
        {1: 4, 2: 4, 3: 50, 4: 60},  # their sum is 8
        {1: 3, 2: 50, 3: 60},
    ],
)
def test_small_numbers_do_not_follow_from_their_sum(counts: dict[int, int]) -> None:
    shown = _suppressed(counts, 5)
    assert shown[4 if 4 in counts else 3] == 60
    hidden = [key for key, value in shown.items() if value is None]
    assert any(counts[key] >= 5 for key in hidden)


@pytest.mark.parametrize("body", [b'{"n":1,"previous":"%s"' % (b"0" * 64), b'{"x":' + b"[" * 100_000])
def test_lines_that_only_look_like_those_of_the_log_are_found(database: Database, body: bytes) -> None:
    line = (body + hash_chain._ending(body)).decode()
    with database.transaction() as connection:
        connection.execute(insert(AUDIT).values(number=1, at=1, actor="a", action="b", line=line))
    with pytest.raises(BrokenAuditError) as broken:
        list(read_audit(database))
    assert broken.value.number == 1


def test_no_line_of_the_log_is_replaced(database: Database) -> None:
    with database.transaction() as connection:
        record(connection, "cli me", "do")
    if not database.is_sqlite:
        pytest.skip("PostgreSQL has no REPLACE")
    with pytest.raises(DatabaseError), database.transaction() as connection:
        connection.execute(
            text("INSERT OR REPLACE INTO audit SELECT number, at, 'x', action, NULL, line FROM audit")
        )
    assert len(list(read_audit(database))) == 1


def test_a_long_path_keeps_no_report_from_the_hub(database: Database) -> None:
    owner = organisation(database)
    path = "/srv/" + "x" * RECORD_BYTES_MAX
    name, records = report(finding(path), incomplete=[shortcoming(f"can't read {path}", "failed")] * 500)
    sent = [json.loads(sent_line(record, "", names=True)) for record in records]
    assert push(database, owner, name, sent).complete
    case = row_of(database, CASES)
    assert (case.path, bytes(case.place).hex()) == ("", place_of(path.encode()))


def test_little_is_kept_of_long_texts(database: Database) -> None:
    owner = organisation(database)
    match = {**finding("")["matches"][0], "entry": "e" * 4096}
    push(database, owner, *report(finding("/" + "x" * 90_000, customer="c" * 9000, matches=[match] * 20)))
    case = row_of(database, CASES)
    assert len(case.path) < 10_000 > len(case.customer)
    assert 0 < len(json.loads(case.entries)) < 20
    with pytest.raises(InvalidDocumentError):
        push(database, owner, *report(finding("/b", matches=[{**match, "list": "\u1234" * 4096}])))


def test_public_figures_are_made_once(
    database: Database, hub_state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def parts(found: list[Publication]) -> list[bytes]:
        made.append(len(found))
        return [b"figures"]

    monkeypatch.setitem(_FORMS, "/statistics", (parts, "text/html", {}))  # type: ignore[arg-type]
    browser = Browser(make_context(database, hub_state))
    for _ in range(3):
        assert browser.get("/statistics").status == 404
    with database.transaction() as connection:
        prepared = prepare(connection, "cli me", "2026-01", "2026-01", 0, NOW)
        release(connection, "cli me", prepared.number, NOW)
    for _ in range(3):
        assert browser.get("/statistics").text == "figures"
    assert made == [0, 1]


def test_the_bodies_of_one_organisation_leave_room_for_others(
    database: Database, hub_state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(hub_state.path, Entry("e0", "md5", b"m" * 16, "A1"))
    monkeypatch.setattr(limits, "ROOM_OF_ONE", 1000)
    alpha, beta = new_key(database), new_key(database, "beta")
    body = b'{"digests":[]}'.ljust(600)
    with node(database, hub_state) as site:
        with socket.create_connection(("127.0.0.1", site.port)) as slow:
            head = f"POST /v1/check HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {alpha}\r\n"
            slow.sendall(f"{head}Content-Length: 900\r\n\r\n".encode() + body)
            wait_for(lambda: site.context.room._held.total() == 600)
            refused = site.ask("POST", "/v1/check", body, alpha)
            assert (refused.status, refused.code) == (503, "overloaded")
            assert site.ask("POST", "/v1/check", body, beta).status == 200
        wait_for(lambda: not site.context.room._held)
        assert site.ask("POST", "/v1/check", body, alpha).status == 200
        packed = gzip.compress(b'{"digests":[]}'.ljust(5000))
        assert site.ask("POST", "/v1/check", packed, alpha, Content_Encoding="gzip").code == "overloaded"
        assert not site.context.room._held


def test_half_sent_requests_of_one_client_keep_no_other_from_being_served(
    database: Database, hub_state: StateDir
) -> None:
    """Also behind a proxy, where all connections are from one address."""
    store_list(hub_state.path, Entry("e0", "md5", b"m" * 16, "A1"))
    alpha, beta = new_key(database), new_key(database, "beta")
    body = b'{"digests":[]}'

    def half(client: str, key: str) -> socket.socket:
        held = stack.enter_context(socket.create_connection(("127.0.0.1", site.port)))
        head = f"POST /v1/check HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n"
        head += f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        held.sendall(head.encode() + body[:7])
        return held

    proxies = (ip_network("127.0.0.0/8"),)
    with (
        node(database, hub_state, connections_max=20, trusted_proxies=proxies) as site,
        ExitStack() as stack,
    ):
        slow = half("192.0.2.9", alpha)
        for number in range(1, 6):
            half("198.51.100.1", beta)
            wait_for(lambda number=number: site.context.room._held.total() == 7 * (number + 1))  # type: ignore[misc]
        for _ in range(40):
            half("198.51.100.1", beta)
        for _ in range(3):
            assert site.ask("GET", "/healthz").status == 200
        slow.sendall(body[7:])
        assert slow.recv(12) == b"HTTP/1.1 200"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"received":0,"complete":false}',
        b'{"received":4611686018427387904,"complete":false}',
        ServiceRefusedError("answers 409", 409),
    ],
)
def test_a_hub_that_counts_wrong_does_not_have_the_report(tmp_path: Path, answer: Any) -> None:
    path = tmp_path / "report.jsonl"
    path.write_bytes(lines(report(finding("/srv/a"))[1]))

    def client(*_: Any) -> bytes:
        if isinstance(answer, bytes):
            return answer
        raise answer

    with pytest.raises(PushRefusedError):
        ReportPusher(client, names=True).push(path)  # type: ignore[arg-type]


def test_requests_at_the_same_time_share_a_quota(database: Database) -> None:
    new_key(database, digests_per_day=30)
    with database.reading() as connection:
        key = key_named(connection, "alpha", "k")
    begun = threading.Barrier(6)

    def ask(name: int) -> list[Exception | None]:
        begun.wait()
        results: list[Exception | None] = []
        for number in range(5):
            try:
                count_check(database, key, Checked(3, 0, 0, {}), NOW, f"{name}-{number}", b"")
                results.append(None)
            except (QuotaError, DatabaseError) as error:
                results.append(error)
        return results

    with ThreadPoolExecutor(6) as threads:
        results = [each for of_thread in threads.map(ask, range(6)) for each in of_thread]
    assert sum(each is None for each in results) == 10
    assert not [each for each in results if isinstance(each, DatabaseError)]
    assert row_of(database, CHECKS).exact == 30


def test_large_numbers_of_a_report_stop_no_statistics(database: Database) -> None:
    owner = organisation(database)
    for _ in range(3):
        push(database, owner, *report(files=1 << 62))
    with database.reading() as connection:
        document = make_document(connection, "2026-11", "2026-11", NOW)
    assert document.months[0].files == 3 * 10**12


def test_a_line_before_the_first_is_found(database: Database) -> None:
    with database.transaction() as connection:
        record(connection, "cli me", "do")
        connection.execute(insert(AUDIT).values(number=-1, at=1, actor="a", action="b", line="{}"))
    with pytest.raises(BrokenAuditError):
        list(read_audit(database))


def test_no_server_falls_silent_unseen_among_those_of_another(
    database: Database, hub_state: StateDir
) -> None:
    alpha, beta = organisation(database, "alpha"), organisation(database, "beta")
    for number in range(30):
        begin_report(database, alpha, str(uuid4()), ReportBegin(f"web{number}"), NOW)
    push(database, beta, *report())
    assert len(raise_silence(database, hub_state, NO_ALERTS, NOW + 3 * DAY)[0]) == 31
    assert raise_silence(database, hub_state, NO_ALERTS, NOW + 4 * DAY)[0] == []
    with Ledger(hub_state) as ledger:
        subjects = [str(alert.document["subject"]) for alert in Outbox(ledger).listed(20)]
    assert sorted(subject.partition(": ")[2] for subject in subjects) == [
        "30 servers of alpha are silent",
        "server web1 of beta is silent",
    ]


def test_one_person_alone_rejects_nothing_from_the_figures(database: Database) -> None:
    owner = organisation(database)
    push(database, owner, *report(*(finding(f"/srv/{number}") for number in range(9))))
    for name in ("rita", "rolf"):
        signed_in(make_context(database, StateDir(Path("/nonexistent"))), name, "reviewer")

    def reject(name: str) -> int | None:
        with database.transaction() as connection:
            set_switch(database, connection, "cli me", "decisions_need_two", True)
            case = connection.execute(select(CASES).order_by(CASES.c.id)).first()
            assert case is not None
            reviewer = user_named(connection, name)
            decide(connection, reviewer, case.id, case.moved, "rejected", "a cat", NOW, two=True)
            return make_document(connection, "2026-11", "2026-11", NOW).months[0].found

    assert [reject("rita"), reject("rolf")] == [9, 8]
