"""Keep the API keys of organisations: rights, detail of answers, quotas, expiry, rotation and revocation.

A key has 256 random bits, so that its SHA-256 can't be searched for, and needs neither salt nor stretching;
only the SHA-256 is stored. Keys are read from the database for every request, so that a revoked one is
refused by all nodes at once.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Collection
from typing import Any, Literal, get_args

from msgspec import Struct
from sqlalchemy import Connection, Row, and_, case, insert, not_, or_, select, update

from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.organisations import organisation_named
from hashscan.hub.storage.tables import KEYS, ORGANISATIONS
from hashscan.service.doors.http.keys import PREFIX, digest_of

Right = Literal["check", "report", "cases"]
RIGHTS: tuple[Right, ...] = get_args(Right)
"""check: ask about digests; report: send reports of scans; cases: fetch notices and answer them."""
Detail = Literal["answer", "category", "entry"]
DETAILS: tuple[Detail, ...] = get_args(Detail)
"""The content of an answer about a digest: that it is listed; also its category; also entry and distance."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_REPLACED = re.compile(r"(.+)\.old-[0-9]+", re.ASCII)
_DAY = 86_400
MINUTE = 60
DIGESTS_PER_DAY, REQUESTS_PER_MINUTE = 10_000_000, 600
"""Limits of a key that is given none of its own."""


class HubKey(Struct, frozen=True):
    """A key, without the key itself."""

    id: int
    organisation: int
    name: str
    rights: tuple[Right, ...]
    detail: Detail
    digests_per_day: int
    """Quota; 0 for none."""
    requests_per_minute: int
    """0 for any number."""
    created: int
    expires: int | None
    revoked: int | None
    used: int | None
    """Begin of the day of its last use."""
    organisation_name: str

    @property
    def replaced_by(self) -> str:
        found = _REPLACED.fullmatch(self.name)
        return found[1] if found else ""

    @property
    def actor(self) -> str:
        return f"key {self.organisation_name}/{self.name}"


def _of(row: Row[Any]) -> HubKey:
    keys = row._mapping
    values = {name: keys[name] for name in HubKey.__struct_fields__}
    return HubKey(**{**values, "rights": tuple(values["rights"].split())})


_QUERY = select(KEYS, ORGANISATIONS.c.name.label("organisation_name")).join(ORGANISATIONS)


def keys_of(connection: Connection, organisation: str | None = None) -> list[HubKey]:
    """Return the keys of an organisation, or of all, by organisation and name."""
    query = _QUERY.order_by(ORGANISATIONS.c.name, KEYS.c.name)
    if organisation is not None:
        query = query.where(KEYS.c.organisation == organisation_named(connection, organisation).id)
    return [_of(row) for row in connection.execute(query)]


def find_key(connection: Connection, secret: str, now: int) -> HubKey | None:
    """Return the valid key that a client has sent; None if there is none.

    The database compares in varying time, but only digests, whose preimages nobody can choose.
    """
    valid = and_(
        KEYS.c.sha256 == bytes.fromhex(digest_of(secret)),
        KEYS.c.revoked.is_(None),
        ORGANISATIONS.c.closed.is_(None),
    )
    row = connection.execute(_QUERY.where(valid)).first()
    if row is None or (row.expires is not None and row.expires <= now):
        return None
    return _of(row)


def note_use(connection: Connection, key: HubKey, now: int) -> None:
    """Record the day on which a key was used."""
    day = now - now % _DAY
    if key.used != day:
        connection.execute(update(KEYS).where(KEYS.c.id == key.id).values(used=day))


def count_requests(connection: Connection, key: HubKey, now: int, number: int = 1) -> bool:
    """Count requests (at once, at most the limit) of a key whose requests are limited; return False if they
    are too many in this minute. The count is in the database, so that the limit holds over all nodes. The
    minutes before and after are the same to it where nodes differ about the time: a count of theirs is
    continued, unless it is over."""
    minute = now - now % MINUTE
    same = KEYS.c.minute.in_((minute, minute + MINUTE))
    counted = (
        update(KEYS)
        .where(
            KEYS.c.id == key.id, or_(not_(same), KEYS.c.minute_requests + number <= key.requests_per_minute)
        )
        .values(
            minute=case((same, KEYS.c.minute), else_=minute),
            minute_requests=case((same, KEYS.c.minute_requests + number), else_=number),
        )
    )
    return bool(connection.execute(counted).rowcount)


def add_key(
    connection: Connection,
    actor: str,
    organisation: str,
    name: str,
    rights: Collection[Right],
    *,
    detail: Detail = "entry",
    digests_per_day: int = DIGESTS_PER_DAY,
    requests_per_minute: int = REQUESTS_PER_MINUTE,
    expires: int | None = None,
) -> str:
    """Make a key, and return it, to be shown once.

    Args:
        digests_per_day: quota; 0 for none.
        requests_per_minute: rate; 0 for any.

    Raises:
        UsageError: the name is not valid or taken, or there is no such organisation.
    """
    owner = organisation_named(connection, organisation)
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name that a key can have",
            advice="Use up to 64 letters, digits, dots, hyphens and underscores.",
        )
    if _REPLACED.fullmatch(name):
        raise UsageError(f"{name!r} names a key that was replaced", advice="Choose another name.")
    taken = and_(KEYS.c.organisation == owner.id, KEYS.c.name == name)
    if connection.execute(select(KEYS.c.id).where(taken)).first():
        raise UsageError(
            f"{organisation} already has a key {name}", advice="Choose another name, or rotate that key."
        )
    secret = PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        insert(KEYS).values(
            organisation=owner.id,
            name=name,
            sha256=bytes.fromhex(digest_of(secret)),
            rights=" ".join(right for right in RIGHTS if right in rights),
            detail=detail,
            digests_per_day=digests_per_day,
            requests_per_minute=requests_per_minute,
            created=int(time.time()),
            expires=expires,
        )
    )
    record(connection, actor, "key.add", owner.id, {"name": name, "rights": sorted(rights), "detail": detail})
    return secret


def key_named(connection: Connection, organisation: str, name: str) -> HubKey:
    """Return a key."""
    owner = organisation_named(connection, organisation)
    row = connection.execute(_QUERY.where(KEYS.c.organisation == owner.id, KEYS.c.name == name)).first()
    if row is None:
        raise UsageError(f"{organisation} has no key {name}", advice="See `hashscan hub key list`.")
    return _of(row)


def rotate_key(connection: Connection, actor: str, organisation: str, name: str, overlap: int) -> str:
    """Make a new key in place of one, and return it; the old one is valid for another while.

    The old key is renamed to `NAME.old-TIME`.

    Args:
        overlap: seconds for which the old key stays valid.

    Raises:
        UsageError: there is no such key, or it is revoked or replaced.
    """
    old = key_named(connection, organisation, name)
    if old.replaced_by:
        raise UsageError(
            f"the key {name} was replaced already", advice=f"Rotate the key {old.replaced_by} instead."
        )
    if old.revoked is not None:
        raise UsageError(f"the key {name} is revoked", advice="Make a new one: `hashscan hub key add`.")
    now = int(time.time())
    ends = now + overlap if old.expires is None else min(old.expires, now + overlap)
    taken = {each.name for each in keys_of(connection, organisation)}
    renamed = next(new for at in itertools.count(now) if (new := f"{name}.old-{at}") not in taken)
    connection.execute(update(KEYS).where(KEYS.c.id == old.id).values(name=renamed, expires=ends))
    record(
        connection, actor, "key.rotate", old.organisation, {"name": name, "old": renamed, "overlap": overlap}
    )
    return add_key(
        connection,
        actor,
        organisation,
        name,
        old.rights,
        detail=old.detail,
        digests_per_day=old.digests_per_day,
        requests_per_minute=old.requests_per_minute,
        expires=old.expires,
    )


def revoke_key(connection: Connection, actor: str, organisation: str, name: str) -> None:
    """Refuse a key from the next request on, and those that it has replaced.

    Raises:
        UsageError: there is no such key.
    """
    key = key_named(connection, organisation, name)
    of_name = [each for each in keys_of(connection, organisation) if name in {each.name, each.replaced_by}]
    for each in of_name:
        if each.revoked is None:
            connection.execute(update(KEYS).where(KEYS.c.id == each.id).values(revoked=int(time.time())))
            record(connection, actor, "key.revoke", key.organisation, {"name": each.name})
