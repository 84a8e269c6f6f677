"""Prune what is no longer needed, and export everything that a hub keeps about an organisation."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, false, func, not_, or_, select, update

from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.organisations import organisation_named
from hashscan.hub.storage.tables import (
    AUDIT,
    CASES,
    CONTRADICTED,
    EVENTS,
    KEYS,
    METADATA,
    NOTICES,
    ORGANISATIONS,
    OUTBOX,
    REQUESTS,
    SESSIONS,
    USERS,
)

REQUESTS_SECONDS = 48 * 3600
"""Seconds after which a repeated request is no longer recognised."""
SESSION_SECONDS = 86_400
"""Seconds without use after which a session is deleted; it is not valid by then."""
_SECRET = frozenset({"sha256", "password", "totp", "totp_step", "csrf"})
"""Columns of keys, users and sessions that are exported to nobody."""


def prune(connection: Connection, actor: str, before: int, now: int) -> dict[str, int]:
    """Delete details of cases and notices that ended before a time, and what is kept for hours only.

    Times, verdicts and categories of cases stay, so that figures do not change. Cases that still are open,
    and those whose content was seen after their removal was said, stay as they are.

    Args:
        before: seconds since 1970.
        now: seconds since 1970.

    Returns:
        Number of pruned rows by table.
    """
    # The content of some that are said to be removed was seen since.
    is_there = func.coalesce(CONTRADICTED, false())
    ended = and_(or_(CASES.c.removed < before, CASES.c.closed < before), not_(is_there))
    old = select(CASES.c.id).where(ended)
    events = connection.execute(
        update(EVENTS)
        .where(EVENTS.c.case.in_(old), or_(EVENTS.c.words != "", EVENTS.c.who != ""))
        .values(words="", who="")
    )
    cases = connection.execute(
        update(CASES).where(ended, CASES.c.place != b"").values(
            path="", path_b64="", customer="", url="", entries="", sha256="", size=0, reason="",
            decided_by="", seconded_by="", place=b"", moved=CASES.c.moved + 1,
        )
    )  # fmt: skip
    over = or_(NOTICES.c.removed < before, NOTICES.c.closed < before, NOTICES.c.withdrawn < before)
    notices = connection.execute(
        update(NOTICES)
        .where(over, or_(NOTICES.c.url != "", NOTICES.c.path != ""))
        .values(url="", path="", host="", how="")
    )
    requests = prune_requests(connection, now)
    sessions = connection.execute(delete(SESSIONS).where(SESSIONS.c.seen < now - SESSION_SECONDS))
    pruned = OUTBOX.c.notice.in_(select(NOTICES.c.id).where(over))
    outbox = connection.execute(
        delete(OUTBOX).where(or_(OUTBOX.c.sent < before, OUTBOX.c.failed < before, pruned))
    )
    counts = {
        "cases": cases.rowcount, "events": events.rowcount, "notices": notices.rowcount,
        "requests": requests, "sessions": sessions.rowcount, "outbox": outbox.rowcount,
    }  # fmt: skip
    record(connection, actor, "hub.prune", None, {"before": before, "pruned": counts})
    return counts


def prune_requests(connection: Connection, now: int) -> int:
    """Delete the keys of requests that are too old to be repeated; return their number."""
    return connection.execute(delete(REQUESTS).where(REQUESTS.c.at < now - REQUESTS_SECONDS)).rowcount


def export(connection: Connection, organisation: str) -> Iterator[dict[str, Any]]:
    """Yield everything that is kept about an organisation: the table, and the row by column.

    Digests of keys, passwords and sessions are left out.

    Raises:
        UsageError: there is no such organisation.
    """
    owner = organisation_named(connection, organisation).id
    for table in METADATA.sorted_tables:
        condition = _about(table, owner)
        if condition is None:
            continue
        columns = [column for column in table.columns if not _is_secret(table, column.name)]
        for row in connection.execute(select(*columns).where(condition).order_by(*table.primary_key.columns)):
            # Names of columns may be of a type of SQLAlchemy's own, which is not JSON.
            yield {
                "table": str(table.name),
                "row": {str(key): _plain(value) for key, value in row._mapping.items()},
            }


def remains(connection: Connection, owner: int) -> dict[str, int]:
    """Return the number of rows about an organisation by table, of those that have any; not the audit log."""
    counts = {}
    for table in METADATA.sorted_tables:
        condition = _about(table, owner)
        if condition is not None and table is not AUDIT:
            count = connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one()
            if count:
                counts[table.name] = int(count)
    return counts


def _about(table: Table, owner: int) -> Any:
    """Return the condition for rows about an organisation; None for a table without such."""
    if table is ORGANISATIONS:
        return table.c.id == owner
    if "organisation" in table.c:
        return table.c.organisation == owner
    parents = {
        EVENTS: ("case", CASES),
        REQUESTS: ("key", KEYS),
        SESSIONS: ("user", USERS),
    }
    if table not in parents:
        return None
    column, parent = parents[table]
    return table.c[column].in_(select(parent.c.id).where(parent.c.organisation == owner))


def _is_secret(table: Table, column: str) -> bool:
    return column in _SECRET and table in (KEYS, USERS, SESSIONS, REQUESTS)


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
