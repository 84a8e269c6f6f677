"""Orders of authorities: deadlines by kind and sender, what comes first, receipts, and how they end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashscan.cases.actions import CLOSED, REOPENED, acknowledge, prune_cases, record_action
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.letters.letter import cases_of_letter
from hashscan.cases.notice_import import NoticeTerms, import_notices
from hashscan.cases.notices.notice import Notice, NoticeKind, SenderRole
from hashscan.cases.queries import Case, Queries, ledger_stats
from hashscan.cases.sightings import Sightings
from hashscan.cases.tracker import CaseTracker, Sighting, Witness
from hashscan.cases.withholding import withhold
from hashscan.errors import UsageError
from hashscan.model import SenderRule
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.settings.notice_senders import sender_rules
from hashscan.state_dir import StateDir

NOW = 1_800_000_000
HOUR = 3600
AUTHORITY = "orders@authority.example"
RULES = (
    SenderRule("@authority.example", "order", "authority", "NL", "article 9 of the DSA", 6 * HOUR),
    SenderRule("A hotline", role="trusted_flagger"),
)
TERMS = NoticeTerms(RULES)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path)) as ledger:
        yield ledger


def take(ledger: Ledger, *notices: Notice, terms: NoticeTerms = TERMS) -> None:
    import_notices(ledger, iter(notices), lambda _: (), NOW, terms=terms)


def queries(ledger: Ledger) -> Queries:
    return Queries(ledger, DeadlineCalculator(CaseSettings()))


def only(ledger: Ledger) -> Case:
    (case,) = queries(ledger).all_cases()
    return case


def of(number: int, kind: NoticeKind | None = None, sender: str = "x", **more: object) -> Notice:
    return Notice(f"R-{number}", sender, f"https://x.example/{number}", kind=kind, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("notice", "hours"),
    [
        (of(1), 24),
        (of(1, hours=2.5), 2.5),
        (of(1, hours=100), 24),
        (of(1, NoticeKind.ORDER), 12),
        (of(1, NoticeKind.COURT), 12),
        (of(1, NoticeKind.TERRORIST), 1),
        (of(1, NoticeKind.ORDER, hours=1), 1),
        (of(1, NoticeKind.ORDER, deadline=datetime.fromtimestamp(NOW + 3 * HOUR, UTC)), 3),
        (of(1, sender=AUTHORITY), 6),
        (of(1, NoticeKind.TERRORIST, AUTHORITY, hours=1), 1),
        (of(1, NoticeKind.INFORM), 72),
        (of(1, NoticeKind.INFORM, hours=200), 200),
    ],
)
def test_a_deadline_is_by_statement_then_sender_then_kind(
    ledger: Ledger, notice: Notice, hours: float
) -> None:
    take(ledger, notice)
    assert only(ledger).due == NOW + hours * HOUR


def test_a_shorter_kind_deadline_of_the_settings_counts(ledger: Ledger) -> None:
    take(ledger, of(1, NoticeKind.ORDER), terms=NoticeTerms((), CaseSettings(kind_deadlines={"order": HOUR})))
    assert only(ledger).due == NOW + HOUR


def test_what_a_notice_does_not_state_is_by_the_rule_of_its_sender(ledger: Ledger) -> None:
    take(
        ledger,
        of(1, sender=AUTHORITY.upper()),
        of(2, sender="a HOTLINE"),
        of(3, sender="x@authority.example.org"),
    )
    found = [queries(ledger).notices(number)[0] for number in (1, 2, 3)]
    assert [(one.kind, one.role, one.member_state) for one in found] == [
        (NoticeKind.ORDER, SenderRole.AUTHORITY, "NL"),
        (NoticeKind.NOTICE, SenderRole.TRUSTED_FLAGGER, ""),
        (NoticeKind.NOTICE, SenderRole.USER, ""),
    ]


def test_five_hundred_urls_of_one_reference_are_one_notice(ledger: Ledger) -> None:
    urls = [Notice("R-1", "x", f"https://x.example/{number}") for number in range(500)]
    take(ledger, *urls)
    take(ledger, *urls)
    assert ledger.one("SELECT count(*) FROM notices") == (1,)
    assert ledger.one("SELECT count(*) FROM notice_items") == (500,)
    assert ledger.one("SELECT count(*) FROM cases") == (500,)


def test_overdue_orders_come_first(ledger: Ledger) -> None:
    take(
        ledger,
        of(1, hours=1),
        of(2, NoticeKind.ORDER, hours=5),
        of(3, NoticeKind.INFORM, hours=4),
        of(4, NoticeKind.ORDER, hours=11),
    )
    cases = queries(ledger)
    late = NOW + 6 * HOUR
    assert [case.id for case in cases.open_cases(late)] == [3, 2, 1, 4]
    assert [case.id for case in cases.due_by_customer(late, late)] == [3, 2, 1]
    assert [case.id for case in cases.open_cases(NOW)] == [1, 3, 2, 4]
    stats = ledger_stats(ledger, DeadlineCalculator(CaseSettings()), late)
    assert (stats.overdue, stats.overdue_orders, stats.unacknowledged) == (3, 2, 3)


def test_a_customer_with_an_overdue_order_comes_first(ledger: Ledger) -> None:
    take(ledger, of(1, hours=1), of(2, hours=9), of(3, NoticeKind.ORDER, hours=5))
    with ledger.transaction() as database:
        database.execute("UPDATE cases SET customer=CASE id WHEN 1 THEN 'a' ELSE 'b' END")
    late = NOW + 30 * HOUR
    assert [case.id for case in queries(ledger).due_by_customer(late, late)] == [3, 2, 1]


def test_a_receipt_is_due_until_it_is_recorded(ledger: Ledger) -> None:
    take(ledger, of(1, NoticeKind.ORDER), of(2))
    assert [case.acknowledge for case in queries(ledger).all_cases()] == [NOW + 2 * HOUR, None]
    assert acknowledge(ledger, [1, 2], "by mail", "me", NOW + HOUR) == [1, 2]
    assert acknowledge(ledger, [1, 2], "by mail", "me", NOW + 2 * HOUR) == []
    (order,) = queries(ledger).notices(1)
    assert (order.acknowledged, queries(ledger).events(1)[-1].kind) == (NOW + HOUR, "acknowledged")
    assert only_waiting(ledger) == []
    with pytest.raises(UsageError):
        acknowledge(ledger, [1, 99], "", "me", NOW)


def only_waiting(ledger: Ledger) -> list[int]:
    return [case.id for case in queries(ledger).all_cases() if case.acknowledge is not None]


def test_one_receipt_is_of_all_items_of_an_order(ledger: Ledger) -> None:
    take(
        ledger,
        *(Notice("R", "x", f"https://x.example/{number}", kind=NoticeKind.ORDER) for number in range(3)),
    )
    assert only_waiting(ledger) == [1, 2, 3]
    assert acknowledge(ledger, [2], "", "me", NOW) == [2]
    assert only_waiting(ledger) == []


def test_an_order_to_inform_is_a_case_of_its_own_until_it_is_answered(ledger: Ledger) -> None:
    same = {"reference": "R", "sender": "x", "path": b"/www/a.jpg"}
    take(ledger, Notice(**same, kind=NoticeKind.INFORM))  # type: ignore[arg-type]
    take(ledger, Notice("R-2", "x", path=b"/www/a.jpg"))
    inform, removal = queries(ledger).all_cases()
    assert (inform.verdict, inform.path, inform.url) == ("inform", None, "/www/a.jpg")
    assert (removal.verdict, removal.path) == ("notice", b"/www/a.jpg")
    record_action(ledger, [inform.id], CLOSED, "answered", "me", NOW + HOUR)
    assert queries(ledger).notices(inform.id)[0].answered == NOW + HOUR
    record_action(ledger, [inform.id], REOPENED, "more is asked", "me", NOW + HOUR)
    assert queries(ledger).notices(inform.id)[0].answered is None


def test_no_customer_is_told_of_an_order_to_inform(ledger: Ledger) -> None:
    take(ledger, of(1, NoticeKind.INFORM))
    with ledger.transaction() as database:
        database.execute("UPDATE cases SET customer='bob'")
    assert cases_of_letter(queries(ledger), [], "bob") == []
    with pytest.raises(UsageError):
        cases_of_letter(queries(ledger), [1], None)


def test_a_notice_is_pruned_with_the_last_of_its_cases(ledger: Ledger) -> None:
    take(ledger, *(Notice("R", "x", f"https://x.example/{number}") for number in range(2)))
    for number, sender in ((1, "x"), (2, "")):
        record_action(ledger, [number], CLOSED, "done", "me", NOW)
        assert prune_cases(ledger, NOW + 1, NOW + 1) == 1
        query = "SELECT sender, (SELECT max(url) FROM notice_items WHERE id=?) FROM notices"
        assert ledger.one(query, number) == (sender, "")


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"address": ""},
        {"address": "@"},
        {"address": "x", "kind": "inform"},
        {"address": "x", "role": "judge"},
        {"address": "x", "member_state": "nl"},
        {"address": "x", "deadline": 12},
        {"address": "x", "deadline": "0h"},
        {"address": "x", "unknown": "1"},
    ],
)
def test_a_rule_that_cannot_be_used_is_an_error(row: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        sender_rules([row], "settings.toml")


def test_a_rule_is_read() -> None:
    row = {
        "address": "@authority.example", "kind": "order", "role": "authority", "member_state": "NL",
        "legal_basis": "article 9 of the DSA", "deadline": "6h",
    }  # fmt: skip
    assert sender_rules([row], "settings.toml") == RULES[:1]


@pytest.mark.parametrize("kind", [NoticeKind.NOTICE, NoticeKind.ORDER])
def test_a_person_who_closed_a_case_has_not_answered_a_notice_that_came_later(
    ledger: Ledger, kind: NoticeKind
) -> None:
    """The second one was received before the case was closed, and imported afterwards."""
    take(ledger, of(1))
    record_action(ledger, [only(ledger).id], CLOSED, "a wrong entry", "a person", NOW + HOUR)
    later = Notice("R-2", "y", "https://x.example/1", received=datetime.fromtimestamp(NOW, UTC), kind=kind)
    import_notices(ledger, iter([later]), lambda _: (), NOW + 2 * HOUR, terms=TERMS)
    (case,) = queries(ledger).open_cases()
    assert (case.id, case.noticed) == (2, NOW)


def test_an_order_of_an_address_stays_with_the_file_once_that_is_known(ledger: Ledger) -> None:
    """The address is mapped by a later notice, and the file has a case already."""
    path, url = b"/www/1.jpg", "https://x.example/1"
    take(ledger, of(1, NoticeKind.TERRORIST, "TCO", member_state="NL"))
    withhold(ledger, [1], NOW + 90 * HOUR, "forbidden", "a person", NOW)
    take(ledger, Notice("S", "y", path=path))
    import_notices(ledger, iter([Notice("R-2", "z", url)]), lambda _: (path,), NOW + HOUR, terms=TERMS)
    (case,) = queries(ledger).open_cases()
    assert (case.id, case.path, case.ordered, case.due) == (2, path, NOW, NOW + HOUR)
    assert case.withheld == NOW + 90 * HOUR
    assert [one.kind for one in queries(ledger).notices(2)] == ["terrorist", "notice", "notice"]
    assert (ledger_stats(ledger, DeadlineCalculator(CaseSettings()), NOW + 2 * HOUR)).overdue_orders == 1


def test_an_order_is_no_repetition_of_a_notice(ledger: Ledger) -> None:
    for reference in ("", "R"):
        same = Notice(reference, "x", f"https://x.example/{reference}")
        take(ledger, same, replace(same, kind=NoticeKind.ORDER), replace(same, kind=NoticeKind.ORDER))
    cases = list(queries(ledger).all_cases())
    assert [(case.ordered, len(queries(ledger).notices(case.id))) for case in cases] == [(NOW, 2)] * 2


def test_a_file_that_is_back_is_no_removed_one(ledger: Ledger, tmp_path: Path) -> None:
    """The order was received before the removal, and imported after the file came back."""
    file = tmp_path / "a.jpg"
    path = os.fsencode(file)
    take(ledger, Notice("R-1", "x", path=path))
    with ledger.transaction() as database:
        CaseTracker(database).see(1, Sighting(Witness.SCAN, NOW))
        CaseTracker(database).remove(1, NOW + HOUR, "gone")
    late = Notice("R-2", "y", path=path, received=datetime.fromtimestamp(NOW, UTC), kind=NoticeKind.ORDER)
    for content, number in ((None, 1), (b"back", 2)):
        if content is not None:
            file.write_bytes(content)
        with Sightings(StateDir(tmp_path / "state")) as sightings:
            notice = replace(late, reference=f"R-{number}-late")
            import_notices(ledger, iter([notice]), lambda _: (), NOW + 2 * HOUR, sightings=sightings)
        assert [len(queries(ledger).notices(case)) for case in (1, 2)] == [2, number - 1]
    assert [case.id for case in queries(ledger).open_cases()] == [2]


def test_another_case_of_a_withheld_address_is_withheld(ledger: Ledger) -> None:
    url = "https://x.example/1"
    take(ledger, of(1, NoticeKind.INFORM), Notice("R-2", "y", url, kind=NoticeKind.ORDER))
    withhold(ledger, [1], NOW + HOUR, "forbidden", "a person", NOW)
    assert [case.withheld for case in queries(ledger).all_cases()] == [NOW + HOUR, NOW + HOUR]


WEEKS = 7 * 24 * HOUR


@pytest.mark.parametrize(
    ("undisclosed", "received", "until"),
    [
        (None, NOW, None),
        (timedelta(weeks=6), NOW, NOW + 6 * WEEKS),
        (timedelta(weeks=6), NOW - 5 * WEEKS, NOW + WEEKS),
        (timedelta(weeks=6), NOW - 7 * WEEKS, None),
        # Nobody can move the begin into the future.
        (timedelta(weeks=6), NOW + 99 * WEEKS, NOW + 6 * WEEKS),
        (datetime.fromtimestamp(NOW + HOUR, UTC), NOW, NOW + HOUR),
        (datetime(9999, 12, 31, tzinfo=UTC), NOW, NOW + 12 * WEEKS),
        (datetime(1, 1, 2, tzinfo=UTC), NOW, None),
    ],
)
def test_an_order_keeps_its_cases_from_the_customer(
    ledger: Ledger, undisclosed: datetime | timedelta | None, received: int, until: int | None
) -> None:
    at = datetime.fromtimestamp(received, UTC)
    take(ledger, of(1, NoticeKind.TERRORIST, received=at, undisclosed=undisclosed))
    assert only(ledger).withheld == until
    assert [kind for (kind,) in ledger.rows("SELECT kind FROM events")].count("withheld") == (
        until is not None
    )


def test_an_order_shortens_nothing_and_does_not_undo_what_a_person_lifted(ledger: Ledger) -> None:
    order = of(
        1, NoticeKind.TERRORIST, received=datetime.fromtimestamp(NOW, UTC), undisclosed=timedelta(weeks=6)
    )
    take(ledger, of(1))
    withhold(ledger, [1], NOW + 50 * WEEKS, "a reason", "a person", NOW)
    take(ledger, order)
    assert only(ledger).withheld == NOW + 50 * WEEKS
    withhold(ledger, [1], None, "a reason", "a person", NOW)
    take(ledger, order)
    assert only(ledger).withheld is None
