"""Notices in the database of a hub: sent, fetched, answered, withdrawn."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select

from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.accounts.keys import add_key, key_named
from hashscan.hub.accounts.organisations import add_organisation, delete_organisation
from hashscan.hub.accounts.privacy import prune
from hashscan.hub.notices.notices import (
    NewNotice,
    NoNoticeError,
    SentNotice,
    Sight,
    mark_notice,
    note_fetched,
    notice_of,
    notices,
    notices_since,
    observe_notice,
    send_notice,
    take_update,
    withdraw_notice,
)
from hashscan.hub.review.cases import CaseFilter, count_cases, find_cases, position
from hashscan.hub.statistics.figures import make_document
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, EVENTS, NOTICES, SERVERS
from hashscan.hub_api import NOTICES_MAX, NoticeUpdate, place_of

NOW = 1_800_000_000
HOUR = 3600
EVIL = "\x1b[31m<b>\u202e"
WANTED = NewNotice(url="https://alice.example/a.jpg", category="A1", deadline=3600, reference="P-1")


def prepared(database: Database) -> dict[str, int]:
    """Two organisations with a key each; return their ids by name."""
    with database.transaction() as connection:
        made = {name: add_organisation(connection, "cli me", name).id for name in ("alpha", "beta")}
        for name in made:
            add_key(connection, "cli me", name, "k", ("cases",))
    return made


def send(database: Database, organisation: str = "alpha", wanted: NewNotice = WANTED, at: int = NOW) -> int:
    with database.transaction() as connection:
        return send_notice(connection, "cli me", organisation, wanted, at).number


def answer(
    database: Database, number: int, event: str, at: int, how: str = "", who: str = "alpha"
) -> SentNotice:
    with database.transaction() as connection:
        update = NoticeUpdate(event, "2027-01-01T00:00:00Z", how, "web1")  # type: ignore[arg-type]
        take_update(connection, key_named(connection, who, "k"), number, update, at)
        return next(each for each in notices(connection, NOW) if each.number == number)


def since(database: Database, organisation: int, position: int = 0, host: str = "") -> list[str]:
    with database.reading() as connection:
        found, _ = notices_since(connection, organisation, position, host)
        return [each.reference for each in found.notices]


def test_a_notice_is_fetched_by_its_organisation_alone_and_answered(database: Database) -> None:
    ids = prepared(database)
    number = send(database)
    assert since(database, ids["beta"]) == []
    with database.transaction() as connection:
        found, new = notices_since(connection, ids["alpha"], 0, "web1")
        note_fetched(connection, ids["alpha"], new, "web1", NOW + 1)
    assert (found.notices[0].number, found.more, new) == (number, False, [number])
    assert found.notices[0].deadline == "2027-01-15T09:00:00Z"
    assert since(database, ids["alpha"], found.next) == []
    for event, at, state in (
        ("acknowledged", 10, "acknowledged"), ("disputed", 20, "disputed"), ("removed", 7200, "removed"),
    ):  # fmt: skip
        first = answer(database, number, event, NOW + at, "gone")
        again = answer(database, number, event, NOW + at + 5, "gone")
        assert first == again
        assert first.state == state
    ended = answer(database, number, "acknowledged", NOW + 9000)
    assert (ended.fetched, ended.acknowledged, ended.removed, ended.how) == (
        NOW + 1,
        NOW + 10,
        NOW + 7200,
        "gone",
    )
    with database.reading() as connection:
        case = connection.execute(select(CASES)).one()
        kinds = connection.execute(select(EVENTS.c.kind).order_by(EVENTS.c.id)).scalars().all()
    assert (case.verdict, case.removed, case.how, case.notice) == ("notice", NOW + 7200, "gone", number)
    assert kinds == ["noticed", "acknowledged", "disputed", "removed"]
    reopened = answer(database, number, "reopened", NOW + 9999)
    assert (reopened.state, reopened.removed) == ("acknowledged", None)
    actions = [line["action"] for line, _ in read_audit(database)]
    assert [action for action in actions if action.startswith("notice.")] == [
        "notice.send", "notice.acknowledged", "notice.disputed", "notice.removed", "notice.reopened",
    ]  # fmt: skip


def test_what_a_server_has_never_seen_is_neither_removed_nor_ended(database: Database) -> None:
    prepared(database)
    number = send(database)
    unseen = answer(database, number, "never_seen", NOW + 10)
    assert (unseen.state, unseen.acknowledged, unseen.is_ended) == ("never_seen", NOW + 10, False)
    assert unseen.overdue(NOW + 9000)
    assert answer(database, number, "never_seen", NOW + 20) == unseen
    ended = answer(database, number, "not_found", NOW + 30)
    assert (ended.state, ended.closed, ended.removed, ended.how) == ("not_found", NOW + 30, None, "not_found")
    assert answer(database, number, "never_seen", NOW + 40) == ended
    with database.reading() as connection:
        case = connection.execute(select(CASES)).one()
        (month,) = make_document(connection, "2027-01", "2027-01", NOW + 50).months
    assert (case.removed, case.closed, case.how) == (None, NOW + 30, "not_found")
    assert month.removed == 0
    assert answer(database, number, "reopened", NOW + 50).state == "never_seen"
    seen = answer(database, number, "acknowledged", NOW + 60)
    assert (seen.state, seen.acknowledged) == ("acknowledged", NOW + 10)
    # Another server of the organisation that lacks the file changes nothing of this.
    for event in ("never_seen", "not_found"):
        assert answer(database, number, event, NOW + 70) == seen


@pytest.mark.parametrize("others", [["never_seen"], ["never_seen", "not_found"]])
@pytest.mark.parametrize("first", [True, False])
def test_of_several_servers_the_one_that_has_seen_the_file_decides(
    database: Database, others: list[str], first: bool
) -> None:
    prepared(database)
    number = send(database)
    mine = ["acknowledged", "removed"]
    for place, event in enumerate([*others, *mine] if first else [*mine, *others]):
        found = answer(database, number, event, NOW + place, "gone")
    removed = NOW + (len(others) if first else 0) + 1
    assert (found.state, found.removed, found.never_seen, found.closed) == ("removed", removed, None, None)
    with database.reading() as connection:
        case = connection.execute(select(CASES)).one()
        (month,) = make_document(connection, "2027-01", "2027-01", NOW + 9).months
    assert (case.removed, case.closed) == (removed, None)
    assert month.removed is None  # a small number


def test_another_organisation_can_neither_see_nor_answer_it(database: Database) -> None:
    ids = prepared(database)
    number = send(database)
    for missing in (number, number + 1):
        with pytest.raises(NoNoticeError):
            answer(database, missing, "removed", NOW + 1, who="beta")
    with database.reading() as connection:
        assert notice_of(connection, "P-1").state == "sent"
    with database.transaction() as connection:
        delete_organisation(connection, "cli me", "alpha")
    assert since(database, ids["alpha"]) == []
    with database.reading() as connection:
        assert connection.execute(select(EVENTS)).all() == []


def test_a_withdrawn_notice_is_fetched_again(database: Database) -> None:
    ids = prepared(database)
    send(database)
    send(database, wanted=NewNotice(path="/srv/b.jpg", category="A1", reference="P-2"))
    with database.transaction() as connection:
        found, _ = notices_since(connection, ids["alpha"], 0, "")
        assert withdraw_notice(connection, "cli me", "P-1", NOW + 5).state == "withdrawn"
        assert withdraw_notice(connection, "cli me", "P-1", NOW + 6).withdrawn == NOW + 5
    assert since(database, ids["alpha"], found.next) == ["P-1"]
    with database.reading() as connection:
        (closed,) = connection.execute(select(CASES.c.closed).where(CASES.c.url != "")).one()
    assert closed == NOW + 5


def test_notices_of_one_server_go_to_it_alone_and_join_its_case(database: Database) -> None:
    ids = prepared(database)
    path = "/srv/c.jpg"
    with database.transaction() as connection:
        server = {"organisation": ids["alpha"], "name": "web1", "first": NOW, "seen": NOW}
        number = connection.execute(insert(SERVERS).values(server).returning(SERVERS.c.id)).scalar_one()
        connection.execute(
            insert(CASES).values(
                organisation=ids["alpha"], server=number, place=bytes.fromhex(place_of(path.encode())),
                verdict="match", found=NOW - 100, seen=NOW - 100, deadline=NOW + 50,
            )
        )  # fmt: skip
    send(database, wanted=NewNotice(path=path, host="web1", category="A1", deadline=3600, reference="P-3"))
    assert (since(database, ids["alpha"], host="web1"), since(database, ids["alpha"], host="web2")) == (
        ["P-3"],
        [],
    )
    with database.reading() as connection:
        (case,) = connection.execute(select(CASES)).all()
    assert (case.verdict, case.deadline, case.notice is None) == ("match", NOW + 50, False)


def test_many_notices_come_in_pages(database: Database) -> None:
    ids = prepared(database)
    with database.transaction() as connection:
        rows = [
            {"organisation": ids["alpha"], "reference": f"P-{n}", "url": "https://a.example/",
             "category": "A1", "position": n + 1, "sent": NOW, "sent_by": "cli me", "via": "sync"}
            for n in range(NOTICES_MAX + 3)
        ]  # fmt: skip
        connection.execute(insert(NOTICES), rows)
    with database.reading() as connection:
        first, _ = notices_since(connection, ids["alpha"], 0, "")
        second, _ = notices_since(connection, ids["alpha"], first.next, "")
    assert (len(first.notices), first.more, len(second.notices), second.more) == (NOTICES_MAX, True, 3, False)
    assert second.next == NOTICES_MAX + 3


@pytest.mark.parametrize(
    "wanted",
    [
        NewNotice(category="A1"),
        NewNotice(url="https://a.example/"),
        NewNotice(url="no address", category="A1"),
        NewNotice(url=f"https://a.example/{EVIL}", category="A1"),
        NewNotice(path="relative", category="A1"),
        NewNotice(url="https://a.example/", category="known-good"),
        NewNotice(url="https://a.example/", category="A1", reference=EVIL),
        NewNotice(url="https://a.example/", category="A1", host="a\nb"),
        NewNotice(url="https://a.example/", category="A1", reference="P-1"),
        NewNotice(url="https://a.example/" + "a" * 5000, category="A1"),
    ],
)
def test_a_notice_that_is_not_valid_is_not_sent(database: Database, wanted: NewNotice) -> None:
    prepared(database)
    send(database)
    with pytest.raises(UsageError):
        send(database, wanted=wanted)
    with pytest.raises(UsageError):
        send(database, "nobody", NewNotice(url="https://a.example/", category="A1"))
    with database.reading() as connection:
        assert len(notices(connection, NOW)) == 1


def test_answers_from_hostile_servers_are_escaped(database: Database) -> None:
    prepared(database)
    number = send(database)
    found = answer(database, number, "removed", NOW + 1, EVIL * 100)
    assert found.how.isprintable()
    assert len(found.how) <= 200
    with database.reading() as connection:
        assert all(words.isprintable() for words in connection.execute(select(EVENTS.c.words)).scalars())


def test_an_operator_records_an_answer_by_mail(database: Database) -> None:
    prepared(database)
    send(database)
    with database.transaction() as connection:
        marked = mark_notice(connection, "cli me", "P-1", "removed", "by phone", NOW + 60)
        assert (marked.state, marked.how, marked.overdue(NOW + 9999)) == ("removed", "by phone", False)
        with pytest.raises(UsageError):
            mark_notice(connection, "cli me", "P-9", "removed", "", NOW)


def test_a_look_from_outside_is_kept_beside_the_answer(database: Database) -> None:
    prepared(database)
    number = send(database)
    answer(database, number, "removed", NOW + 100)

    def observe(sight: Sight, at: int, who: str = "crawler") -> Any:
        with database.transaction() as connection:
            observe_notice(connection, "cli me", "P-1", sight, at, who, NOW + 1000)
            return connection.execute(select(CASES)).one()

    for at, who in ((NOW - 1, ""), (NOW + 1001, ""), (NOW + 1, EVIL)):
        with pytest.raises(UsageError):
            observe("gone", at, who)
    assert observe("unclear", NOW + 300).seen_there is None
    assert observe("there", NOW + 50).contradicted is None
    case = observe("there", NOW + 200)
    assert (case.removed, case.seen_there, case.contradicted) == (NOW + 100, NOW + 200, NOW + 200)
    with database.transaction() as connection:
        chosen = CaseFilter(state="contradicted")
        assert count_cases(connection, chosen, NOW, two=False) == 1
        # Its content is there, so that its details are needed.
        assert prune(connection, "cli me", NOW + 5000, NOW + 5000)["cases"] == 0
    case = observe("gone", NOW + 150)
    assert case.seen_gone is None
    case = observe("gone", NOW + 400)
    case = observe("gone", NOW + 300)
    assert (case.seen_there, case.seen_gone, case.contradicted) == (NOW + 200, NOW + 300, NOW + 200)
    with database.transaction() as connection:
        assert count_cases(connection, chosen, NOW, two=False) == 0
        assert prune(connection, "cli me", NOW + 5000, NOW + 5000)["cases"] == 1
        events = connection.execute(select(EVENTS).where(EVENTS.c.kind.startswith("seen_"))).all()
    assert len(events) == 6
    lines = [line for line, _ in read_audit(database) if line["action"] == "notice.observe"]
    assert len(lines) == 6


def test_a_case_of_a_report_is_open_again_with_its_notice(database: Database) -> None:
    ids = prepared(database)
    path = "/srv/a"
    with database.transaction() as connection:
        server = {"organisation": ids["alpha"], "name": "web1", "first": NOW, "seen": NOW}
        host = connection.execute(insert(SERVERS).values(server).returning(SERVERS.c.id)).scalar_one()
        case = {
            "organisation": ids["alpha"], "server": host, "place": bytes.fromhex(place_of(path.encode())),
            "verdict": "match", "found": NOW, "seen": NOW,
        }  # fmt: skip
        connection.execute(insert(CASES).values(case))
    number = send(database, wanted=NewNotice(path=path, host="web1", category="A1", reference="P-1"))
    answer(database, number, "removed", NOW + 10)

    def removed() -> list[int | None]:
        with database.reading() as connection:
            return list(connection.execute(select(CASES.c.removed).order_by(CASES.c.id)).scalars())

    assert removed() == [NOW + 10]
    answer(database, number, "reopened", NOW + 20)
    assert removed() == [None]
    answer(database, number, "removed", NOW + 30)
    # A report has found it there, and opened a case.
    with database.transaction() as connection:
        connection.execute(insert(CASES).values(case))
    answer(database, number, "reopened", NOW + 40)
    assert removed() == [NOW + 30, None]


def test_an_order_has_a_deadline_of_its_kind_and_comes_first_when_it_is_overdue(database: Database) -> None:
    ids = prepared(database)
    order = NewNotice(
        path="/srv/o", category="A1", kind="order", member_state="nl", legal_basis="article 9 of the DSA",
        reference="O-1",
    )  # fmt: skip
    send(database, wanted=WANTED)
    send(database, wanted=NewNotice(path="/srv/a", category="A1", deadline=HOUR, reference="P-2"))
    send(database, wanted=order)
    send(database, wanted=NewNotice(path="/srv/t", category="terrorism", kind="terrorist", reference="T-1"))
    with database.reading() as connection:
        found = {each.reference: each for each in notices(connection, NOW)}
        assert list(found) == ["P-1", "P-2", "O-1", "T-1"]
        assert (found["O-1"].deadline, found["T-1"].deadline) == (NOW + 12 * HOUR, NOW + HOUR)
        late = [each.reference for each in notices(connection, NOW + 20 * HOUR)]
        assert late == ["O-1", "T-1", "P-1", "P-2"]
        answer, _ = notices_since(connection, ids["alpha"], 0, "")
        (sent,) = [each for each in answer.notices if each.reference == "O-1"]
        assert (sent.kind, sent.member_state, sent.legal_basis) == ("order", "NL", order.legal_basis)
        # Cases: overdue ones of orders, then the others, also over pages.
        chosen, pages, after = CaseFilter(state="overdue"), [], ()
        while rows := find_cases(connection, chosen, NOW + 20 * HOUR, two=False, after=after, limit=1):
            pages += [row.path or row.url for row in rows]
            after = position(chosen, rows[-1])
    assert pages == ["/srv/t", "/srv/o", WANTED.url, "/srv/a"]
    for wrong in ({"kind": "inform"}, {"kind": "x"}, {"member_state": "NLD"}, {"legal_basis": EVIL}):
        with pytest.raises(UsageError):
            send(database, wanted=NewNotice(path="/srv/x", category="A1", **wrong))
