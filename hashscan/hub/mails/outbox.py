"""Keep mails in the database until a mail server has accepted them, and send them, from any node.

A mail is stored in the transaction that makes it necessary. Whoever sends one claims it in the database
first, so that no other process sends it, too; a claim ends after a time, since its holder may be killed. If
that happens after the mail server has accepted the mail, it is sent again, with the same Message-ID.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, or_, select, update

from hashscan.alerts.alert import SEVERITIES, Kind
from hashscan.alerts.channels.base import Channel, DeliveryError
from hashscan.alerts.channels.mail import new_message_id
from hashscan.alerts.dispatcher import DELIVERY_SECONDS, host
from hashscan.cases.outbox import retry_seconds
from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.organisations import Organisation
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, EVENTS, NOTICES, ORGANISATIONS, OUTBOX
from hashscan.model import Reporter
from hashscan.reports.xarf import sent_by
from hashscan.schema import encode_json
from hashscan.text import printable
from hashscan.timefmt import format_utc_seconds

MailKind = Literal["notice", "withdrawal", "publication"]
MailState = Literal["waiting", "sent", "failed", "ended"]

TRIES_MAX = 12
"""Tries after which a mail has failed; by the delays between them that is after some 20 hours."""
CLAIM_SECONDS = 600
"""Seconds after which a claim ends: more than an attempt takes, and than the clocks of nodes differ."""
_TROUBLE_MAX = 300

_WAITS = and_(OUTBOX.c.sent.is_(None), OUTBOX.c.failed.is_(None))
_ENDED = (
    exists()
    .where(
        NOTICES.c.id == OUTBOX.c.notice,
        OUTBOX.c.kind == "notice",
        or_(NOTICES.c.removed.is_not(None), NOTICES.c.closed.is_not(None)),
    )
    .correlate(OUTBOX)
)
"""The notice was answered before its mail was sent, so that it is not sent."""


class Mail(Struct, frozen=True):
    """A mail as it is stored: without its sender, which the settings of the node that sends it name."""

    subject: str
    text: str
    xarf: dict[str, str] | None = None
    """A report to be attached, without its sender."""
    table: str = ""
    """A CSV file to be attached; empty for none."""


class _Stored(Mail, frozen=True, kw_only=True):
    message_id: str
    at: str


_decode = msgspec.json.Decoder(_Stored).decode


class Attempt(Struct, frozen=True):
    """A try to send a mail."""

    recipient: str
    trouble: str
    """The reason why it was not accepted; empty if it was."""
    final: bool = False
    """True if no more tries are made."""


class OutboxMail(Struct, frozen=True):
    """A mail of the outbox. Times are seconds since 1970."""

    number: int
    kind: MailKind
    organisation: str
    recipient: str
    about: str
    """Reference of the notice, or number of the publication."""
    state: MailState
    """ended: the notice was answered before the mail was sent."""
    tries: int
    created: int
    sent: int | None
    again: int
    """Time before which it is not tried again."""
    trouble: str


class _Claimed(Struct, frozen=True):
    id: int
    organisation: int
    notice: int | None
    publication: int | None
    kind: MailKind
    recipient: str
    message: str
    tries: int


def queue_mail(
    connection: Connection,
    kind: MailKind,
    owner: Organisation,
    mail: Mail,
    now: int,
    *,
    recipients: Iterable[str] | None = None,
    notice: int | None = None,
    publication: int | None = None,
) -> None:
    """Store a mail to an organisation, to these recipients or all of its contacts."""
    to = owner.contacts if recipients is None else tuple(recipients)
    if recipients is None and not to:
        raise UsageError(
            f"{owner.name} has no contact to which a mail could be sent",
            advice=f"Add one: hashscan hub org change {owner.name} --contact abuse@example.net",
        )
    stored = _Stored(
        **msgspec.structs.asdict(mail), message_id=new_message_id(kind, host()), at=format_utc_seconds(now)
    )
    message = encode_json(stored).decode()
    about = {"organisation": owner.id, "notice": notice, "publication": publication, "kind": kind}
    for recipient in to:
        row = {**about, "recipient": recipient, "message": message, "created": now}
        connection.execute(insert(OUTBOX).values(row))


def cancel_mails(
    connection: Connection, *, notice: int | None = None, publication: int | None = None
) -> list[str]:
    """Delete the mails about a notice or publication that wait; return who may have got one all the same."""
    about = OUTBOX.c.notice == notice if notice is not None else OUTBOX.c.publication == publication
    # Nobody claims a row from here on; SQLite has one writer at a time.
    query = select(OUTBOX.c.recipient, OUTBOX.c.tries).where(about).order_by(OUTBOX.c.id).with_for_update()
    rows = connection.execute(query).all()
    connection.execute(delete(OUTBOX).where(about, OUTBOX.c.sent.is_(None)))
    return list(dict.fromkeys(row.recipient for row in rows if row.tries))


def send_next(
    database: Database, channel: Channel, reporter: Reporter, clock: Callable[[], float]
) -> Attempt | None:
    """Send the next mail that is due; return None if there is none.

    Args:
        channel: takes documents as a `LetterChannel` does.
        clock: returns seconds since 1970.

    Raises:
        DatabaseError: the database can't be used.
    """
    with database.reading() as connection:
        if connection.execute(select(OUTBOX.c.id).where(_due(int(clock()))).limit(1)).first() is None:
            return None
    with database.transaction() as connection:
        claimed = _claim(connection, int(clock()))
    if claimed is None:
        return None
    trouble = ""
    try:
        channel.deliver(_document(claimed, reporter), DELIVERY_SECONDS)
    except DeliveryError as error:
        trouble = printable(str(error))[:_TROUBLE_MAX]
    with database.transaction() as connection:
        return _note(connection, claimed, trouble, int(clock()))


def retry_all(connection: Connection, actor: str) -> None:
    """Have all mails tried at once that wait, or that have failed."""
    again = update(OUTBOX).where(OUTBOX.c.sent.is_(None)).values(again=0, tries=0, failed=None)
    connection.execute(again)
    connection.execute(update(NOTICES).where(NOTICES.c.undelivered.is_not(None)).values(undelivered=None))
    record(connection, actor, "outbox.retry")


def outbox(connection: Connection) -> list[OutboxMail]:
    """Return all mails, the oldest first."""
    query = (
        select(OUTBOX, ORGANISATIONS.c.name, NOTICES.c.reference, _ENDED.label("ended"))
        .join(ORGANISATIONS, ORGANISATIONS.c.id == OUTBOX.c.organisation)
        .outerjoin(NOTICES, NOTICES.c.id == OUTBOX.c.notice)
        .order_by(OUTBOX.c.id)
    )
    found = []
    for row in connection.execute(query):
        state: MailState = "waiting"
        if row.sent is not None:
            state = "sent"
        elif row.ended:
            state = "ended"
        elif row.failed is not None:
            state = "failed"
        found.append(
            OutboxMail(
                row.id, row.kind, row.name, row.recipient, row.reference or str(row.publication), state,
                row.tries, row.created, row.sent, row.again, row.trouble,
            )
        )  # fmt: skip
    return found


def _due(now: int) -> ColumnElement[bool]:
    return and_(_WAITS, OUTBOX.c.again <= now, OUTBOX.c.claimed <= now, ~_ENDED)


def _claim(connection: Connection, now: int) -> _Claimed | None:
    chosen = select(OUTBOX.c.id).where(_due(now)).order_by(OUTBOX.c.again, OUTBOX.c.id).limit(1)
    # PostgreSQL's other nodes take the next one; SQLite has one writer at a time.
    first = chosen.with_for_update(skip_locked=True, of=OUTBOX).scalar_subquery()
    values = {"claimed": now + CLAIM_SECONDS, "tries": OUTBOX.c.tries + 1}
    columns = [OUTBOX.c[name] for name in _Claimed.__struct_fields__]
    row = connection.execute(
        update(OUTBOX).where(OUTBOX.c.id == first).values(values).returning(*columns)
    ).first()
    return None if row is None else _Claimed(**row._mapping)


def _document(claimed: _Claimed, reporter: Reporter) -> dict[str, Any]:
    """Return what a channel of letters takes."""
    mail = _decode(claimed.message)
    signature = (reporter.organisation, reporter.name, reporter.email, reporter.phone)
    document: dict[str, Any] = {
        "kind": Kind.LETTER,
        "severity": SEVERITIES[Kind.LETTER],
        "host": host(),
        "at": mail.at,
        "message_id": mail.message_id,
        "subject": mail.subject,
        "text": "\n".join((mail.text, "", *filter(None, signature))),
        "to": claimed.recipient,
        "reply_to": reporter.email,
    }
    if mail.xarf is not None:
        text = json.dumps(sent_by(mail.xarf, reporter), indent=1)
        document["attachment"] = {"name": "xarf.json", "type": "application/json", "text": text}
    elif mail.table:
        document["attachment"] = {"name": "figures.csv", "type": "text/csv", "text": mail.table}
    return document


def _note(connection: Connection, claimed: _Claimed, trouble: str, now: int) -> Attempt:
    """Record the result of a try, unless another node has claimed the mail since."""
    final = bool(trouble) and claimed.tries >= TRIES_MAX
    own = and_(OUTBOX.c.id == claimed.id, OUTBOX.c.sent.is_(None))
    if trouble:
        own = and_(own, OUTBOX.c.tries == claimed.tries)
        again = now + retry_seconds(claimed.tries)
        values = {"claimed": 0, "again": again, "trouble": trouble, "failed": now if final else None}
    else:
        values = {"claimed": 0, "sent": now, "failed": None, "trouble": ""}
    attempt = Attempt(claimed.recipient, trouble, final)
    if not connection.execute(update(OUTBOX).where(own).values(values)).rowcount:
        return attempt
    if claimed.kind == "notice":
        known: dict[str, Any] = {"trouble": trouble}
        if not trouble:
            known["mailed"] = func.coalesce(NOTICES.c.mailed, now)
        elif final:
            known["undelivered"] = now
        connection.execute(update(NOTICES).where(NOTICES.c.id == claimed.notice).values(known))
    if trouble and not final:
        return attempt
    what = "undelivered" if final else "mailed"
    details = {"mail": claimed.id, "kind": claimed.kind, "notice": claimed.notice}
    record(connection, "hub", f"mail.{what}", claimed.organisation, details)
    if claimed.kind == "notice":
        unknown = and_(CASES.c.notice == claimed.notice, CASES.c.noticed.is_(None))
        connection.execute(update(CASES).where(unknown).values(noticed=now))
    if claimed.notice is not None:
        words = ": ".join(filter(None, (f"{claimed.kind} to {claimed.recipient}", trouble)))
        for case in connection.execute(select(CASES.c.id).where(CASES.c.notice == claimed.notice)).scalars():
            event = {"case": case, "at": now, "kind": what, "words": words, "who": "hub"}
            connection.execute(insert(EVENTS).values(event))
    return attempt
