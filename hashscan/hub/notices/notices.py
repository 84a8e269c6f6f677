"""Send notices to organisations, give them to their servers, and keep what the organisations answer.

A notice has one case at the hub: the open one that a server's report has brought of the same place, or one of
its own. Times that count are the hub's own; what a server says of its time is kept with the event.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Literal, get_args

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, select, update

from hashscan.cases.notices import fields
from hashscan.cases.notices.notice import ORDERS, NoticeKind
from hashscan.errors import HashscanError, UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.keys import HubKey
from hashscan.hub.accounts.organisations import NoticesVia, organisation_named
from hashscan.hub.mails.outbox import cancel_mails, queue_mail
from hashscan.hub.notices.mails import notice_mail, withdrawal_mail
from hashscan.hub.storage.tables import CASES, EVENTS, NOTICES, ORGANISATIONS, SERVERS
from hashscan.hub_api import NOTICES_MAX, Notice, NoticesAnswer, NoticeUpdate, place_of
from hashscan.settings.cases_and_alerts import KIND_DEADLINES
from hashscan.text import is_printable_line, printable
from hashscan.timefmt import format_utc_seconds

Sight = Literal["gone", "there", "unclear"]
SIGHTS: tuple[Sight, ...] = get_args(Sight)
"""The result of a look from outside: the content is gone, is there, or can't be told."""
Event = Literal[
    "acknowledged", "never_seen", "removed", "not_found", "closed", "disputed", "reopened", "refused"
]  # fmt: skip
EVENTS_OF_NOTICES: tuple[Event, ...] = get_args(Event)
_STATES = (
    "withdrawn", "removed", "not_found", "closed", "disputed", "never_seen", "acknowledged", "fetched",
    "mailed", "undelivered",
)  # fmt: skip
_UNSEEN = frozenset({"never_seen", "not_found"})
"""Answers of servers that have never seen the file; such answers change nothing of an ended notice."""
_NOT_ENDED = {"closed": None, "not_found": None, "how": ""}
_OF_MAIL = (
    "reference", "url", "path", "host", "category", "kind", "member_state", "legal_basis", "deadline", "sent",
)  # fmt: skip
_REFERENCE_MAX = 200
_HOW_MAX = 200
_LOCK = "SELECT pg_advisory_xact_lock(7263950169)"


class NoNoticeError(HashscanError):
    """There is no notice of this number for whoever asks."""


class SentNotice(Struct, frozen=True):
    """A notice as the operator sees it. Times are seconds since 1970; None if it has not happened."""

    number: int
    organisation: str
    reference: str
    host: str
    url: str
    path: str
    category: str
    kind: str
    """A value of `NoticeKind`."""
    member_state: str
    legal_basis: str
    deadline: int | None
    sent: int
    sent_by: str
    via: NoticesVia
    fetched: int | None
    mailed: int | None
    """When a mail server has accepted it, for the first of its recipients."""
    undelivered: int | None
    """When the tries to send it to one of them ended."""
    trouble: str
    """The error of the last try to send it; empty if it has not failed."""
    acknowledged: int | None
    never_seen: int | None
    """When a server said that it has never seen such a file; None again when it has."""
    removed: int | None
    closed: int | None
    not_found: int | None
    """When a person has closed it because the file was never seen there; `closed` is set as well."""
    disputed: int | None
    how: str
    withdrawn: int | None

    @property
    def state(self) -> str:
        """The state as one word: the last one that is reached."""
        return next((name for name in _STATES if getattr(self, name) is not None), "sent")

    @property
    def is_ended(self) -> bool:
        """True if somebody has ended it."""
        return self.withdrawn is not None or self.removed is not None or self.closed is not None

    def overdue(self, now: int) -> bool:
        """Return True if its deadline has passed, and nobody has ended it."""
        return not self.is_ended and self.deadline is not None and self.deadline < now


class NewNotice(Struct, frozen=True):
    """The content of a notice that is to be sent."""

    url: str = ""
    path: str = ""
    """One of both is needed."""
    host: str = ""
    """The server that it concerns; empty for all of the organisation."""
    category: str = ""
    deadline: int | None = None
    """Seconds from now; None for that of an order's kind, and none for a notice."""
    reference: str = ""
    """The operator's own; empty for one that the hub makes."""
    kind: str = NoticeKind.NOTICE
    """One of `KINDS`."""
    member_state: str = ""
    legal_basis: str = ""


KINDS = (NoticeKind.NOTICE, *ORDERS)
"""The kinds that a hub sends; no order to provide information, which is about no content to remove."""


def send_notice(
    connection: Connection, actor: str, organisation: str, wanted: NewNotice, now: int
) -> SentNotice:
    """Store a notice, which servers fetch, or a mail of it, as the organisation wants it; return it.

    Raises:
        UsageError: a value is not valid, the reference was used before, or there is no such organisation.
    """
    owner = organisation_named(connection, organisation)
    try:
        url = fields.url(wanted.url) if wanted.url else ""
        path = fields.path(wanted.path).decode() if wanted.path else ""
        category = fields.category(wanted.category)
        kind = fields.one_of("kind", wanted.kind, KINDS)
        state = fields.member_state(wanted.member_state) if wanted.member_state else ""
        basis = fields.printable_line("legal_basis", wanted.legal_basis)
    except fields.FieldError as error:
        raise UsageError(f"the notice can't be sent: {error}") from error
    if not (url or path) or not category:
        raise UsageError(
            "a notice needs a place and a category", advice="Give --url or --path, and --category such as A1."
        )
    if len(url) > fields.URL_MAX // 2 or len(path) > fields.URL_MAX // 2:
        raise UsageError(f"the notice's place is longer than {fields.URL_MAX // 2} characters")
    reference = wanted.reference or f"hub-{secrets.token_hex(8)}"
    for name, text in (("reference", reference), ("host", wanted.host)):
        if not is_printable_line(text, _REFERENCE_MAX):
            raise UsageError(f"the {name} must be one printable line of at most {_REFERENCE_MAX} characters")
    if connection.execute(select(NOTICES.c.id).where(NOTICES.c.reference == reference)).first():
        raise UsageError(f"there already is a notice {reference!r}", advice="Choose another reference.")
    allowed = KIND_DEADLINES.get(kind) if wanted.deadline is None else wanted.deadline
    values = {
        "organisation": owner.id,
        "reference": reference,
        "host": wanted.host,
        "url": url,
        "path": path,
        "category": category,
        "kind": kind,
        "member_state": state,
        "legal_basis": basis,
        "deadline": None if allowed is None else now + int(allowed),
        "position": _next_position(connection),
        "sent": now,
        "sent_by": actor,
        "via": owner.via,
    }
    number = int(connection.execute(insert(NOTICES).values(**values).returning(NOTICES.c.id)).scalar_one())
    _attach_case(connection, number, values, actor)
    if owner.via == "mail":
        about: dict[str, Any] = {name: values[name] for name in _OF_MAIL}
        queue_mail(connection, "notice", owner, notice_mail(**about), now, notice=number)
    details = {"notice": number, "reference": reference, "via": owner.via, "category": category, "kind": kind}
    record(connection, actor, "notice.send", owner.id, details)
    return notice_numbered(connection, number)


def withdraw_notice(connection: Connection, actor: str, reference: str, now: int) -> SentNotice:
    """Withdraw a notice: tell its servers, and those to whom it may have been mailed, and end its case.

    Raises:
        UsageError: there is no such notice.
    """
    notice = notice_of(connection, reference)
    if notice.withdrawn is not None:
        return notice
    owner = organisation_named(connection, notice.organisation)
    if recipients := cancel_mails(connection, notice=notice.number):
        mail = withdrawal_mail(reference, notice.sent)
        queue_mail(
            connection, "withdrawal", owner, mail, now, recipients=recipients, notice=notice.number
        )  # fmt: skip
    values = {"withdrawn": now, "position": _next_position(connection)}
    connection.execute(update(NOTICES).where(NOTICES.c.id == notice.number).values(values))
    _end_case(connection, notice.number, now, "withdrawn", actor, closed=True)
    record(connection, actor, "notice.withdraw", owner.id, {"notice": notice.number, "reference": reference})
    return notice_of(connection, reference)


def mark_notice(
    connection: Connection, actor: str, reference: str, event: Event, how: str, now: int
) -> SentNotice:
    """Record the answer to a notice that came in another way than by a server, such as by mail.

    Raises:
        UsageError: there is no such notice.
    """
    notice = notice_of(connection, reference)
    if _apply(connection, notice, event, printable(how)[:_HOW_MAX], now, actor, "") is not None:
        owner = organisation_named(connection, notice.organisation).id
        record(connection, actor, f"notice.{event}", owner, {"notice": notice.number, "reference": reference})
    return notice_of(connection, reference)


def observe_notice(
    connection: Connection, actor: str, reference: str, sight: Sight, at: int, who: str, now: int
) -> None:
    """Record a look from outside at the content of a notice. Its organisation's own word stays as it is.

    Looks may be recorded in any order.

    Args:
        at: when it was looked at, seconds since 1970.
        who: the person or program that has looked; empty for the actor.

    Raises:
        UsageError: there is no such notice, it has no case, the time is not between the notice and now, or
            the text is no printable line.
    """
    notice = notice_of(connection, reference)
    if not notice.sent <= at <= now:
        raise UsageError(f"{format_utc_seconds(at)} is not between the notice and now")
    if not is_printable_line(who, _HOW_MAX):
        raise UsageError(f"who has looked must be one printable line of at most {_HOW_MAX} characters")
    # Locked, so that of two looks at the same time neither is left out.
    mine = select(CASES).where(CASES.c.notice == notice.number).with_for_update()
    case = connection.execute(mine).first()
    if case is None:
        raise UsageError(
            f"the notice {reference!r} has no case", advice="Name the last notice of the same place."
        )
    _add_event(connection, case.id, at, f"seen_{sight}", "", who or actor)
    looks = select(EVENTS.c.kind, EVENTS.c.at).where(
        EVENTS.c.case == case.id, EVENTS.c.kind.in_(("seen_there", "seen_gone"))
    )
    times = [(row.kind, row.at) for row in connection.execute(looks)]
    there = max((time for kind, time in times if kind == "seen_there"), default=None)
    gone = [time for kind, time in times if kind == "seen_gone" and (there is None or time > there)]
    contradicts = sight == "there" and case.removed is not None and at > case.removed
    values = {
        "seen_there": there,
        "seen_gone": min(gone, default=None),
        "contradicted": case.contradicted or (at if contradicts else None),
        "moved": CASES.c.moved + 1,
    }
    connection.execute(update(CASES).where(CASES.c.id == case.id).values(values))
    owner = organisation_named(connection, notice.organisation).id
    details = {"notice": notice.number, "reference": reference, "sight": sight, "seen": at}
    record(connection, actor, "notice.observe", owner, details)


def late_order(now: int) -> ColumnElement[bool]:
    """Return the condition of an order that is overdue; `now` is in seconds since 1970."""
    ended = (NOTICES.c.removed, NOTICES.c.closed, NOTICES.c.withdrawn)
    is_open = and_(*(column.is_(None) for column in ended))
    return and_(is_open, NOTICES.c.kind.in_(ORDERS), func.coalesce(NOTICES.c.deadline, now) < now)


def notices(connection: Connection, now: int, organisation: str | None = None) -> list[SentNotice]:
    """Return all notices, or those to one organisation: overdue orders first, then the oldest."""
    query = _QUERY.order_by(late_order(now).desc(), NOTICES.c.id)
    if organisation is not None:
        query = query.where(NOTICES.c.organisation == organisation_named(connection, organisation).id)
    return [_of(row) for row in connection.execute(query)]


def notice_numbered(connection: Connection, number: int) -> SentNotice:
    return _of(connection.execute(_QUERY.where(NOTICES.c.id == number)).one())


def notice_of(connection: Connection, reference: str) -> SentNotice:
    """Return the notice of a reference."""
    row = connection.execute(_QUERY.where(NOTICES.c.reference == reference)).first()
    if row is None:
        raise UsageError(f"there is no notice {reference!r}", advice="See `hashscan hub notice list`.")
    return _of(row)


def notices_since(
    connection: Connection, organisation: int, since: int, host: str
) -> tuple[NoticesAnswer, list[int]]:
    """Return the notices of an organisation that were sent or changed after a position, for one server or all
    (empty); and the numbers of those among them that nobody has fetched before."""
    query = select(NOTICES).where(
        NOTICES.c.organisation == organisation, NOTICES.c.position > since, NOTICES.c.via == "sync"
    )
    if host:
        query = query.where(NOTICES.c.host.in_(("", host)))
    rows = connection.execute(query.order_by(NOTICES.c.position).limit(NOTICES_MAX + 1)).all()
    given = rows[:NOTICES_MAX]
    answer = NoticesAnswer(
        [
            Notice(
                row.id, row.reference, row.url, row.path, row.category,
                format_utc_seconds(row.deadline),
                format_utc_seconds(row.sent), row.withdrawn is not None,
                row.kind, row.member_state, row.legal_basis,
            )
            for row in given
        ],
        given[-1].position if given else since,
        len(rows) > len(given),
    )  # fmt: skip
    return answer, [row.id for row in given if row.fetched is None]


def note_fetched(
    connection: Connection, organisation: int, numbers: Sequence[int], host: str, now: int
) -> None:
    """Record that a server has asked, and which notices it has fetched first."""
    if numbers:
        connection.execute(
            update(NOTICES).where(NOTICES.c.id.in_(numbers), NOTICES.c.fetched.is_(None)).values(fetched=now)
        )
    if host:
        of_host = and_(SERVERS.c.organisation == organisation, SERVERS.c.name == host)
        connection.execute(update(SERVERS).where(of_host, SERVERS.c.seen < now).values(seen=now))


def take_update(connection: Connection, key: HubKey, number: int, answer: NoticeUpdate, now: int) -> None:
    """Store an organisation's answer to a notice; the same answer again changes nothing. NoNoticeError: the
    organisation has no such notice."""
    row = connection.execute(
        _QUERY.where(NOTICES.c.id == number, NOTICES.c.organisation == key.organisation)
    ).first()
    if row is None:
        raise NoNoticeError("there is no such notice")
    how, host, at = (printable(text)[:_HOW_MAX] for text in (answer.how, answer.host, answer.at))
    words = f"by its time {at}" + (f", at {host}" if host else "")
    notice = _of(row)
    if answer.event in _UNSEEN and notice.acknowledged is not None and notice.never_seen is None:
        # Another server of the organisation has seen the file.
        return
    if _apply(connection, notice, answer.event, how, now, key.actor, words) is not None:
        record(
            connection,
            key.actor,
            f"notice.{answer.event}",
            key.organisation,
            {"notice": number, "host": host},
        )


def _apply(
    connection: Connection, notice: SentNotice, event: Event, how: str, now: int, who: str, words: str
) -> dict[str, Any] | None:
    """Apply an answer to a notice; return the columns that change, None if it says nothing new."""
    if event == "not_found":
        how = event
    values = _changes(notice, event, how, now)
    if values is None:
        return None
    is_open_again = "closed" in values and values["closed"] is None
    connection.execute(update(NOTICES).where(NOTICES.c.id == notice.number).values(values))
    text = ", ".join(filter(None, (how, words)))
    if event in {"removed", "closed", "not_found"}:
        _end_case(connection, notice.number, now, how or event, who, closed=event != "removed", words=text)
        return values
    case = connection.execute(select(CASES).where(CASES.c.notice == notice.number)).first()
    if case is not None:
        if is_open_again and not _has_open_case(connection, case):
            reopened = {"removed": None, "closed": None, "how": "", "moved": CASES.c.moved + 1}
            connection.execute(update(CASES).where(CASES.c.id == case.id).values(reopened))
        _add_event(connection, case.id, now, event, text, who)
    return values


def _changes(notice: SentNotice, event: Event, how: str, now: int) -> dict[str, Any] | None:
    """Return the columns that an answer changes; None if it says nothing new."""
    if event == "reopened":
        if notice.removed is None and notice.closed is None and notice.disputed is None:
            return None
        return {**_NOT_ENDED, "removed": None, "disputed": None}
    if event == "refused":
        return {"disputed": now, "how": how or event} if notice.disputed is None else None
    if event == "acknowledged" and notice.never_seen is not None:
        # Where no server had seen the file, a person's `not_found` ends nothing for this one.
        return {"never_seen": None, **(_NOT_ENDED if notice.not_found is not None else {})}
    if getattr(notice, event) is not None or (event in _UNSEEN and notice.is_ended):
        return None
    values: dict[str, Any] = {event: now}
    if event not in {"acknowledged", "never_seen"}:
        values["how"] = how
    if event == "not_found":
        values["closed"] = now
    if notice.acknowledged is None:
        values["acknowledged"] = now
    return values


def _has_open_case(connection: Connection, case: Row[Any]) -> bool:
    """Return True if the place of a case on a server has an open case, which may be this one."""
    same = and_(CASES.c.server == case.server, CASES.c.place == case.place)
    is_open = and_(CASES.c.removed.is_(None), CASES.c.closed.is_(None))
    return connection.execute(select(CASES.c.id).where(same, is_open)).first() is not None


def _attach_case(connection: Connection, number: int, values: dict[str, Any], actor: str) -> None:
    """Give a notice the open case of its place on its server, or a new one."""
    place = bytes.fromhex(place_of((values["path"] or values["url"]).encode()))
    noticed = values["sent"] if values["via"] == "sync" else None
    server = None
    if values["host"]:
        of_host = and_(SERVERS.c.organisation == values["organisation"], SERVERS.c.name == values["host"])
        server = connection.execute(select(SERVERS.c.id).where(of_host)).scalar()
    case = None
    if server is not None and values["path"]:
        case = connection.execute(
            select(CASES.c.id).where(
                CASES.c.server == server, CASES.c.place == place,
                CASES.c.removed.is_(None), CASES.c.closed.is_(None),
            )
        ).scalar()  # fmt: skip
    if case is None:
        new = {
            "organisation": values["organisation"], "server": None, "place": place, "path": values["path"],
            "url": values["url"], "verdict": "notice", "categories": values["category"],
            "found": values["sent"], "seen": values["sent"], "deadline": values["deadline"], "notice": number,
            "noticed": noticed,
        }  # fmt: skip
        case = connection.execute(insert(CASES).values(**new).returning(CASES.c.id)).scalar_one()
    else:
        deadlines = [values["deadline"], connection.execute(_deadline_of(case)).scalar()]
        known = [each for each in deadlines if each is not None]
        changed = {
            "notice": number, "deadline": min(known, default=None), "moved": CASES.c.moved + 1,
            # A second notice is a reminder, by which no time begins anew.
            "noticed": func.coalesce(CASES.c.noticed, noticed),
        }  # fmt: skip
        connection.execute(update(CASES).where(CASES.c.id == case).values(changed))
    _add_event(connection, case, values["sent"], "noticed", values["reference"], actor)


def _deadline_of(case: int) -> Any:
    return select(CASES.c.deadline).where(CASES.c.id == case)


def _end_case(
    connection: Connection, number: int, now: int, how: str, who: str, *, closed: bool, words: str = ""
) -> None:
    """End the case of a notice, unless it has ended, or a server's reports decide about it."""
    case = connection.execute(select(CASES).where(CASES.c.notice == number)).first()
    if case is None:
        return
    kind = "closed" if closed else "removed"
    is_open = case.removed is None and case.closed is None
    if is_open and (case.verdict == "notice" or not closed):
        values = {kind: now, "how": how, "moved": CASES.c.moved + 1}
        connection.execute(update(CASES).where(CASES.c.id == case.id).values(values))
    _add_event(connection, case.id, now, kind, words or how, who)


def _add_event(connection: Connection, case: int, at: int, kind: str, words: str, who: str) -> None:
    connection.execute(insert(EVENTS).values(case=case, at=at, kind=kind, words=words, who=who))


def _next_position(connection: Connection) -> int:
    """Return the next position; until the transaction ends, nobody else gets one.

    Positions become visible in their order, so that no server passes one over.
    """
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(_LOCK)
    return 1 + int(connection.execute(select(func.max(NOTICES.c.position))).scalar() or 0)


_QUERY = select(NOTICES, ORGANISATIONS.c.name.label("organisation_name")).join(ORGANISATIONS)


def _of(row: Row[Any]) -> SentNotice:
    keys = row._mapping
    values = {name: keys.get(name) for name in SentNotice.__struct_fields__}
    return SentNotice(**{**values, "number": row.id, "organisation": row.organisation_name})
