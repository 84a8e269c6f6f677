"""Count checked digests and detections exactly once, and keep quotas, over all nodes of a hub.

Requests are counted in the transaction that notes their idempotency key, and answered after it was committed:
a request that is repeated, as its answer was lost, is answered again and not counted again. What
organisations say of entries is kept here, too: each one's last opinion on each entry.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from hashscan.errors import HashscanError
from hashscan.hub.accounts.keys import HubKey
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CHECK_MONTHS, CHECKS, DETECTIONS, FEEDBACK, KEYS, REQUESTS
from hashscan.matching_service_api import FeedbackRequest
from hashscan.text import printable

_HOUR, _DAY = 3600, 86_400
OPINIONS_PER_DAY = 200
"""Entries on which an organisation may have a new opinion in a day."""


class ReusedKeyError(HashscanError):
    """An error for an idempotency key that was sent before with another body."""


class QuotaError(HashscanError):
    """An error for a request whose digests would exceed the quota of a day."""

    def __init__(self, digests_per_day: int, wait: int) -> None:
        super().__init__(f"the key may ask about {digests_per_day} digests a day")
        self.wait = wait
        """Seconds until the next day."""


class OpinionsError(HashscanError):
    """An error for an opinion on one more entry than an organisation may have in a day."""


class Checked(NamedTuple):
    """The numbers that a request is counted by."""

    exact: int
    """Exact digests."""
    perceptual: int
    detected: int
    """Digests that an entry matches."""
    detections: Mapping[tuple[str, str], int]
    """Digests that an entry matches, by list and category."""


def count_check(
    database: Database, key: HubKey, checked: Checked, now: int, idempotency_key: str = "", body: bytes = b""
) -> None:
    """Count a request, unless it is a repeated one; when this returns, it is durable. The body is the
    request, and how it is read. ReusedKeyError: the idempotency key was sent with another body; QuotaError:
    the digests exceed the quota of a day, and nothing is counted. After a DatabaseError the request may or
    may not be counted, and can be repeated with its idempotency key."""
    with database.transaction() as connection:
        if idempotency_key and not _is_new(database, connection, key, now, idempotency_key, body):
            return
        if key.digests_per_day:
            # With PostgreSQL, requests of one key take turns from here on; with SQLite, all do. By the
            # foreign key of `requests`, each of them has locked the row already so that only this weaker
            # lock can be taken.
            connection.execute(select(KEYS.c.id).where(KEYS.c.id == key.id).with_for_update(key_share=True))
            _require_quota(connection, key, checked.exact + checked.perceptual, now)
        _count(database, connection, key, checked, now - now % _HOUR)


def require_allowed(
    database: Database, key: HubKey, digests: int, now: int, idempotency_key: str = "", body: bytes = b""
) -> None:
    """Return if a request with these digests (and those of others that are not counted yet) may be compared:
    `count_check` will most probably count it, or has done so; else raise what that raises."""
    if not key.digests_per_day and not idempotency_key:
        return
    with database.reading() as connection:
        if idempotency_key and (found := _stored(connection, key, idempotency_key)) is not None:
            _require_same(found, body)
        elif key.digests_per_day:
            _require_quota(connection, key, digests, now)


def _is_new(
    database: Database, connection: Connection, key: HubKey, now: int, idempotency_key: str, body: bytes
) -> bool:
    digest = hashlib.sha256(body).digest()
    row = {"key": key.id, "idempotency_key": idempotency_key, "sha256": digest, "at": now}
    # With PostgreSQL, this waits for a transaction that has the same key, until it ends.
    added = database.insert(REQUESTS).values(row).on_conflict_do_nothing().returning(REQUESTS.c.key)
    if connection.execute(added).first() is not None:
        return True
    _require_same(_stored(connection, key, idempotency_key), body)
    return False


def _stored(connection: Connection, key: HubKey, idempotency_key: str) -> bytes | None:
    """Return the SHA-256 of the request that was counted with an idempotency key; None if none was."""
    same = (REQUESTS.c.key == key.id) & (REQUESTS.c.idempotency_key == idempotency_key)
    return connection.execute(select(REQUESTS.c.sha256).where(same)).scalar()


def _require_same(stored: bytes | None, body: bytes) -> None:
    if stored != hashlib.sha256(body).digest():
        raise ReusedKeyError("this Idempotency-Key was sent with another body")


def _require_quota(connection: Connection, key: HubKey, digests: int, now: int) -> None:
    day = now - now % _DAY
    asked = (
        select(func.coalesce(func.sum(CHECKS.c.exact + CHECKS.c.perceptual), 0))
        .where(CHECKS.c.organisation == key.organisation, CHECKS.c.key == key.id, CHECKS.c.hour >= day)
        .scalar_subquery()
    )
    if int(connection.execute(select(asked)).scalar_one()) + digests > key.digests_per_day:
        raise QuotaError(key.digests_per_day, day + _DAY - now)


def _count(database: Database, connection: Connection, key: HubKey, checked: Checked, hour: int) -> None:
    counts = database.insert(CHECKS).values(
        organisation=key.organisation, key=key.id, hour=hour, requests=1,
        exact=checked.exact, perceptual=checked.perceptual, detected=checked.detected,
    )  # fmt: skip
    added = {
        name: CHECKS.c[name] + counts.excluded[name]
        for name in ("requests", "exact", "perceptual", "detected")
    }
    places = [CHECKS.c.organisation, CHECKS.c.key, CHECKS.c.hour]
    connection.execute(counts.on_conflict_do_update(index_elements=places, set_=added))
    _count_month(database, connection, key.organisation, checked, hour)
    if not checked.detections:
        return
    # In one order, so that no two transactions wait for each other.
    rows = [
        {
            "organisation": key.organisation,
            "hour": hour,
            "list": name,
            "category": category,
            "digests": number,
        }
        for (name, category), number in sorted(checked.detections.items())
    ]
    found = database.insert(DETECTIONS).values(rows)
    connection.execute(
        found.on_conflict_do_update(
            index_elements=list(DETECTIONS.primary_key.columns),
            set_={"digests": DETECTIONS.c.digests + found.excluded.digests},
        )
    )


def _count_month(
    database: Database, connection: Connection, organisation: int, checked: Checked, hour: int
) -> None:
    by_category: Counter[str] = Counter()
    for (_, category), number in checked.detections.items():
        by_category[category] += number
    row = {"month": month_of(hour), "organisation": organisation}
    rows = [
        {**row, "category": "", "asked": checked.exact + checked.perceptual, "detected": checked.detected}
    ]
    rows += [{**row, "category": name, "asked": 0, "detected": n} for name, n in sorted(by_category.items())]
    counts = database.insert(CHECK_MONTHS).values(rows)
    added = {name: CHECK_MONTHS.c[name] + counts.excluded[name] for name in ("asked", "detected")}
    places = list(CHECK_MONTHS.primary_key.columns)
    connection.execute(counts.on_conflict_do_update(index_elements=places, set_=added))


def month_of(at: int) -> int:
    """Return the begin of the month of a time, both in seconds since 1970, UTC."""
    month = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0)
    return int(month.timestamp())


def detections_of(matches: Collection[Collection[tuple[str, str]]]) -> dict[tuple[str, str], int]:
    """Return the number of digests by list and category, from list and category of the entries of each digest
    that was detected."""
    return dict(Counter(place for of_digest in matches for place in set(of_digest)))


def keep_feedback(database: Database, key: HubKey, opinion: FeedbackRequest, now: int) -> None:
    """Keep an opinion in place of the organisation's former one on the entry; OpinionsError if it has given
    its opinion on too many entries in a day."""
    values = {"opinion": opinion.opinion, "reason": printable(opinion.reason)}
    own = FEEDBACK.c.organisation == key.organisation
    with database.transaction() as connection:
        same = select(FEEDBACK.c.opinion, FEEDBACK.c.reason).where(own, FEEDBACK.c.entry == opinion.entry)
        known = connection.execute(same).first()
        if known is not None and known._mapping == values:
            return
        # An opinion that is changed counts for the day on which it was given first.
        of_day = select(func.count()).select_from(FEEDBACK).where(own, FEEDBACK.c.first > now - _DAY)
        if known is None and connection.execute(of_day).scalar_one() >= OPINIONS_PER_DAY:
            raise OpinionsError(f"an organisation may have an opinion on {OPINIONS_PER_DAY} entries a day")
        row = {"organisation": key.organisation, "entry": opinion.entry, "first": now, "at": now, **values}
        kept = database.insert(FEEDBACK).values(row)
        places = list(FEEDBACK.primary_key.columns)
        connection.execute(kept.on_conflict_do_update(index_elements=places, set_={**values, "at": now}))
