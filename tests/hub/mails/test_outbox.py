"""Mails of a hub's outbox: stored with what they are about, sent once by several nodes, tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, update

from hashscan.alerts.channels.base import Channel, DeliveryError, Document
from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.accounts.organisations import add_organisation, delete_organisation
from hashscan.hub.accounts.privacy import prune
from hashscan.hub.mails.outbox import CLAIM_SECONDS, TRIES_MAX, outbox, retry_all, send_next
from hashscan.hub.notices.notices import (
    NewNotice,
    SentNotice,
    mark_notice,
    notice_of,
    notices_since,
    send_notice,
    withdraw_notice,
)
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, EVENTS, NOTICES, OUTBOX
from hashscan.model import Reporter

NOW = 1_800_000_000
DAY = 86_400
REPORTER = Reporter("The hotline", "desk@hotline.example", phone="+31 20 000")
WANTED = NewNotice(url="https://alice.example/a.jpg", category="A1", deadline=3600, reference="P-1")
CONTACTS = ("abuse@alpha.example", "noc@alpha.example")


class Server(Channel):
    """A channel that keeps what it is sent."""

    kind = "letter"

    def __init__(self, before: Callable[[Document], None] = lambda document: None) -> None:
        super().__init__("mail", "")
        self.sent: list[Mapping[str, Any]] = []
        self._before = before
        self.refuses = ""

    def deliver(self, document: Document, seconds: float) -> None:
        self._before(document)
        if self.refuses:
            raise DeliveryError(self.refuses)
        self.sent.append(document)


def prepared(database: Database, contacts: tuple[str, ...] = CONTACTS[:1]) -> int:
    with database.transaction() as connection:
        return add_organisation(connection, "cli me", "alpha", contacts=contacts, via="mail").id


def sent(database: Database, wanted: NewNotice = WANTED) -> SentNotice:
    with database.transaction() as connection:
        return send_notice(connection, "cli me", "alpha", wanted, NOW)


def run(database: Database, server: Channel, at: int = NOW) -> list[str]:
    """Send all that is due; return the trouble of each try."""
    tried = []
    while (attempt := send_next(database, server, REPORTER, lambda: at)) is not None:
        tried.append(attempt.trouble)
    return tried


def states(database: Database) -> list[tuple[str, str, int]]:
    with database.reading() as connection:
        return [(each.kind, each.state, each.tries) for each in outbox(connection)]


def noticed(database: Database) -> int | None:
    with database.reading() as connection:
        return connection.execute(select(CASES.c.noticed)).scalar_one()


def notice(database: Database) -> SentNotice:
    with database.reading() as connection:
        return notice_of(connection, "P-1")


def test_a_notice_is_mailed_to_each_contact_once(database: Database) -> None:
    owner = prepared(database, CONTACTS)
    assert sent(database).via == "mail"
    with database.reading() as connection:
        assert notices_since(connection, owner, 0, "")[0].notices == []
    # Nobody could know of it yet, so that no time passes for the ranking.
    assert noticed(database) is None
    server = Server()
    assert run(database, server) == ["", ""]
    assert run(database, server, NOW + 9 * DAY) == []
    assert noticed(database) == NOW
    assert [each["to"] for each in server.sent] == list(CONTACTS)
    assert len({each["message_id"] for each in server.sent}) == 1
    assert {each["reply_to"] for each in server.sent} == {"desk@hotline.example"}
    assert (notice(database).state, notice(database).mailed) == ("mailed", NOW)
    with database.reading() as connection:
        kinds = connection.execute(select(EVENTS.c.kind).order_by(EVENTS.c.id)).scalars().all()
    assert kinds == ["noticed", "mailed", "mailed"]
    assert [line["action"] for line, _ in read_audit(database)][-2:] == ["mail.mailed"] * 2


def test_a_mail_is_stored_with_its_notice_or_not_at_all(database: Database) -> None:
    prepared(database)
    with database.transaction() as connection:
        send_notice(connection, "cli me", "alpha", WANTED, NOW)
        connection.rollback()
    for wanted in (
        NewNotice(url="https://alice.example/", category="other"),
        NewNotice(path="/srv/a", category="A1"),
        NewNotice(path="/srv/a", host="no host", category="A1"),
        NewNotice(url="https://a%zz b/", category="A1"),
        NewNotice(url="https://[::1/", category="A1"),
    ):
        with pytest.raises(UsageError):
            sent(database, wanted)
    with database.reading() as connection:
        for table in (NOTICES, OUTBOX, CASES):
            assert connection.execute(select(table)).all() == []


def test_two_nodes_do_not_send_the_same_mail(database: Database) -> None:
    prepared(database)
    for number in range(12):
        sent(database, NewNotice(url=f"https://alice.example/{number}", category="A1"))
    both = threading.Barrier(2)

    def meet(document: Document) -> None:
        # Both hold a mail at the same time, as long as there are two.
        both.wait(60)

    server = Server(meet)
    with ThreadPoolExecutor(2) as nodes:
        tried = [each.result() for each in [nodes.submit(run, database, server) for _ in range(2)]]
    assert sum(map(len, tried)) == 12
    assert len({each["message_id"] for each in server.sent}) == len(server.sent) == 12


def test_a_node_that_is_killed_after_the_server_has_accepted_a_mail(database: Database) -> None:
    prepared(database)
    sent(database)

    class Accepting(Server):
        def deliver(self, document: Document, seconds: float) -> None:
            super().deliver(document, seconds)
            raise SystemExit

    first, second = Accepting(), Server()
    with pytest.raises(SystemExit):
        run(database, first)
    assert states(database) == [("notice", "waiting", 1)]
    assert run(database, second, NOW + CLAIM_SECONDS - 1) == []
    assert run(database, second, NOW + CLAIM_SECONDS) == [""]
    assert first.sent == second.sent, "the same mail, with the same Message-ID"


def test_a_slow_node_does_not_undo_what_another_has_done_since(database: Database) -> None:
    prepared(database)
    sent(database)
    other = Server()

    def overtake(document: Document) -> None:
        assert run(database, other, NOW + CLAIM_SECONDS) == [""]

    slow = Server(overtake)
    slow.refuses = "too slow"
    assert send_next(database, slow, REPORTER, lambda: NOW) is not None
    assert states(database) == [("notice", "sent", 2)]
    assert (notice(database).mailed, notice(database).trouble) == (NOW + CLAIM_SECONDS, "")


def test_a_mail_that_is_not_accepted_is_tried_again_with_back_off_and_fails_at_last(
    database: Database,
) -> None:
    prepared(database)
    sent(database)
    server, at, delays = Server(), NOW, []
    server.refuses = "550 \x1b[31m no such user"
    for number in range(1, TRIES_MAX + 1):
        assert run(database, server, at) == ["550 \\x1b[31m no such user"]
        assert run(database, server, at) == []
        assert states(database)[0][2] == number
        with database.reading() as connection:
            again = outbox(connection)[0].again
        assert run(database, server, again - 1) == [] or number == TRIES_MAX
        delays.append(again - at)
        assert notice(database).state == ("undelivered" if number == TRIES_MAX else "sent")
        at = again
    assert delays[:3] == [60, 120, 240]
    assert delays == sorted(delays)
    assert delays[-1] == 6 * 3600
    assert run(database, server, at + 99 * DAY) == []
    assert states(database) == [("notice", "failed", TRIES_MAX)]
    with database.reading() as connection:
        event = connection.execute(select(EVENTS).where(EVENTS.c.kind == "undelivered")).one()
    assert event.words.isprintable()
    assert [line["action"] for line, _ in read_audit(database)][-1] == "mail.undelivered"
    with database.transaction() as connection:
        retry_all(connection, "cli me")
    server.refuses = ""
    assert run(database, server, at) == [""]
    assert (notice(database).state, notice(database).undelivered) == ("mailed", None)


def test_a_withdrawn_notice_is_taken_back_from_those_who_may_have_it(database: Database) -> None:
    prepared(database, CONTACTS)
    sent(database)
    server = Server()
    assert send_next(database, server, REPORTER, lambda: NOW) is not None
    with database.transaction() as connection:
        withdraw_notice(connection, "cli me", "P-1", NOW + 5)
        withdraw_notice(connection, "cli me", "P-1", NOW + 6)
    assert run(database, server, NOW + 6) == [""]
    assert [each["to"] for each in server.sent] == [CONTACTS[0]] * 2
    assert "attachment" not in server.sent[1]
    assert "P-1" in server.sent[1]["subject"]
    assert states(database) == [("notice", "sent", 1), ("withdrawal", "sent", 1)]


def test_no_mail_is_sent_about_what_was_answered_before(database: Database) -> None:
    prepared(database)
    sent(database)
    server = Server()
    with database.transaction() as connection:
        mark_notice(connection, "cli me", "P-1", "removed", "by phone", NOW + 1)
    assert run(database, server) == []
    assert states(database) == [("notice", "ended", 0)]
    with database.transaction() as connection:
        mark_notice(connection, "cli me", "P-1", "reopened", "", NOW + 2)
    assert run(database, server) == [""]


def test_pruning_and_deleting_leave_no_mail(database: Database) -> None:
    prepared(database)
    for number, state in enumerate(("ended", "sent", "failed", "waiting")):
        found = sent(database, NewNotice(url=f"https://alice.example/{number}", category="A1"))
        times = {"ended": {}, "sent": {"sent": NOW}, "failed": {"failed": NOW}, "waiting": {}}[state]
        with database.transaction() as connection:
            if times:
                connection.execute(update(OUTBOX).where(OUTBOX.c.notice == found.number).values(times))
            if state == "ended":
                mark_notice(connection, "cli me", found.reference, "removed", "", NOW)
    with database.transaction() as connection:
        assert prune(connection, "cli me", NOW, NOW)["outbox"] == 0
        assert prune(connection, "cli me", NOW + 1, NOW)["outbox"] == 3
    assert states(database) == [("notice", "waiting", 0)]
    with database.transaction() as connection:
        delete_organisation(connection, "cli me", "alpha")
    assert states(database) == []


@pytest.mark.parametrize(
    "contact",
    [
        "a@b.example\nBcc: evil@c.example",
        "a@b.example, evil@c.example",
        "a b@c.example",
        "=?utf-8?q?a=0ABcc:_evil=40c.example?=@b.example",
        "ü@b.example",
        "a\x00@b.example",
        "a@b.example\u2028",
        "@",
    ],
)
def test_contacts_that_are_no_plain_address_are_refused(database: Database, contact: str) -> None:
    with pytest.raises(UsageError):
        prepared(database, (contact,))


def test_mail_needs_a_contact(database: Database) -> None:
    with pytest.raises(UsageError):
        prepared(database, ())
