"""Prepare figures for publication, take the answers of those named, and release them.

Nothing is public before a person releases it, and nobody can before those named had time to answer.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, func, insert, select, update

from hashscan.cases.export import csv_line
from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.organisations import organisation_named
from hashscan.hub.mails.outbox import Mail, cancel_mails, queue_mail
from hashscan.hub.statistics.figures import MEASURES, Document, Month, make_document, months_between
from hashscan.hub.statistics.figures import Organisation as Named
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import ANSWERS, ORGANISATIONS, PUBLICATIONS
from hashscan.schema import encode_json
from hashscan.text import is_printable_line
from hashscan.timefmt import format_utc_seconds

_WORDS_MAX = 2000

_decode = msgspec.json.Decoder(Document).decode


class Answer(Struct, frozen=True):
    """The words of an organisation about the figures."""

    organisation: str
    words: str


class Publication(Struct, frozen=True):
    """Figures of a period, and what became of them. Times are seconds since 1970."""

    number: int
    document: Document
    made: int
    answer_until: int
    released: int | None
    withdrawn: int | None
    answers: list[Answer]

    @property
    def public(self) -> bool:
        return self.released is not None and self.withdrawn is None


def prepare(
    connection: Connection, actor: str, first: str, last: str, answer_seconds: int, now: int
) -> Publication:
    """Count a period and store the figures as they will be published; mail those named how they may answer.

    Organisations without a contact get no mail.

    Raises:
        UsageError: the months are not valid, or the last one is not over.
    """
    spans = months_between(first, last)
    if spans[-1][2] > now:
        raise UsageError(f"{last} is not over yet", advice="Prepare figures of whole months.")
    document = make_document(connection, first, last, now)
    values = {
        "first": spans[0][1], "last": spans[-1][2], "document": encode_json(document).decode(), "made": now,
        "made_by": actor, "answer_until": now + answer_seconds,
    }  # fmt: skip
    query = insert(PUBLICATIONS).values(values).returning(PUBLICATIONS.c.id)
    number = int(connection.execute(query).scalar_one())
    record(
        connection, actor, "statistics.prepare", None, {"publication": number, "first": first, "last": last}
    )
    until = format_utc_seconds(now + answer_seconds)
    for named in document.organisations:
        owner = organisation_named(connection, named.name)
        if owner.contacts:
            mail = _mail(document, named, until)
            queue_mail(connection, "publication", owner, mail, now, publication=number)
    return publication(connection, number)


def _mail(document: Document, named: Named, until: str) -> Mail:
    """Return the mail to an organisation that figures name: its own ones, and until when it may answer."""
    span = document.first if document.first == document.last else f"{document.first} to {document.last}"
    rank = next((each for each in document.ranking if each.name == named.name), None)
    lines = [
        f"Figures of {span} that name {named.title or named.name} are to be published: see the attached",
        f"table. An empty cell is a number that is withheld, since it is below {document.suppressed_below} "
        "or reveals one.",
        *(
            ()
            if rank is None
            else (
                f"Content stayed {rank.hours:g} hours on average after a notice, of at most "
                f"{document.horizon_hours:g}: place {rank.rank} of {len(document.ranking)}.",
                *(
                    ("Much of the content whose removal you said was seen there since.",)
                    if rank.contradicted
                    else ()
                ),
            )
        ),
        "",
        f"You may answer to this mail until {until}. Your answer will be published with the figures.",
    ]
    return Mail(f"Figures of {span}: answer until {until}", "\n".join(lines), table=_own_table(named))


def _own_table(named: Named) -> str:
    """Return the figures of an organisation as CSV; a number that is suppressed is empty."""
    rows = (
        [month.month, *("" if getattr(month, m) is None else str(getattr(month, m)) for m in MEASURES)]
        for month in named.months
    )
    return "".join(map(csv_line, (["month", *MEASURES], *rows)))


def answer(
    connection: Connection,
    database: Database,
    actor: str,
    number: int,
    organisation: str,
    words: str,
    now: int,
) -> None:
    """Store what an organisation says about figures, which is published with them; the last words count.

    Raises:
        UsageError: there are no such figures or organisation, or they are released, or the text is too long.
    """
    if publication(connection, number).released is not None:
        raise UsageError(
            f"publication {number} is released already", advice="Withdraw it, and prepare another."
        )
    if not words or not is_printable_line(words, _WORDS_MAX):
        raise UsageError(f"an answer is a line of 1 to {_WORDS_MAX} printable characters")
    owner = organisation_named(connection, organisation)
    key = {"publication": number, "organisation": owner.id}
    changed = {"words": words, "at": now}
    connection.execute(
        database.insert(ANSWERS)
        .values(**key, **changed)
        .on_conflict_do_update(index_elements=list(key), set_=changed)
    )
    record(connection, actor, "statistics.answer", owner.id, {"publication": number})


def release(connection: Connection, actor: str, number: int, now: int) -> None:
    """Publish figures.

    Raises:
        UsageError: there are none, they were withdrawn, or those named still have time to answer.
    """
    found = publication(connection, number)
    if found.withdrawn is not None:
        raise UsageError(f"publication {number} was withdrawn", advice="Prepare another.")
    if now < found.answer_until:
        until = format_utc_seconds(found.answer_until)
        raise UsageError(
            f"those named may answer until {until}", advice="Release the figures after that time."
        )
    if found.released is None:
        values = {"released": now, "released_by": actor}
        connection.execute(update(PUBLICATIONS).where(PUBLICATIONS.c.id == number).values(values))
        record(connection, actor, "statistics.release", None, {"publication": number})


def withdraw(connection: Connection, actor: str, number: int, now: int) -> None:
    """Take figures back, released or not."""
    if publication(connection, number).withdrawn is None:
        cancel_mails(connection, publication=number)
        connection.execute(update(PUBLICATIONS).where(PUBLICATIONS.c.id == number).values(withdrawn=now))
        record(connection, actor, "statistics.withdraw", None, {"publication": number})


def public_state(connection: Connection) -> tuple[Any, ...]:
    """Return a value that is another one when other figures, or answers to them, are public."""
    public = PUBLICATIONS.c.released.is_not(None) & PUBLICATIONS.c.withdrawn.is_(None)
    released = select(PUBLICATIONS.c.id, PUBLICATIONS.c.released).where(public).order_by(PUBLICATIONS.c.id)
    # An answer can't be changed after the release, but its organisation can be deleted.
    answers = select(func.count()).select_from(ANSWERS)
    return connection.execute(answers).scalar_one(), *map(tuple, connection.execute(released))


def publications(connection: Connection, *, public: bool = False) -> list[Publication]:
    """Return all publications, or the public ones, the newest first."""
    query = select(PUBLICATIONS).order_by(PUBLICATIONS.c.id.desc())
    if public:
        query = query.where(PUBLICATIONS.c.released.is_not(None), PUBLICATIONS.c.withdrawn.is_(None))
    return [_of(connection, row) for row in connection.execute(query).all()]


def publication(connection: Connection, number: int) -> Publication:
    """Return a publication.

    Raises:
        UsageError: there is none of this number.
    """
    row = connection.execute(select(PUBLICATIONS).where(PUBLICATIONS.c.id == number)).first()
    if row is None:
        raise UsageError(f"there is no publication {number}", advice="See `hashscan hub stats show`.")
    return _of(connection, row)


def public_months(found: list[Publication]) -> list[Month]:
    """Return the totals of all months of publications, given the newest first, which counts."""
    months = {month.month: month for each in reversed(found) for month in each.document.months}
    return [months[name] for name in sorted(months)]


def _of(connection: Connection, row: Row[Any]) -> Publication:
    answers = connection.execute(
        select(ORGANISATIONS.c.name, ANSWERS.c.words)
        .join(ORGANISATIONS, ANSWERS.c.organisation == ORGANISATIONS.c.id)
        .where(ANSWERS.c.publication == row.id)
        .order_by(ORGANISATIONS.c.name)
    )
    document = _decode(row.document)
    given = [Answer(name, words) for name, words in answers]
    return Publication(row.id, document, row.made, row.answer_until, row.released, row.withdrawn, given)
