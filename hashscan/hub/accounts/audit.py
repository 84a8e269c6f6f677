"""Record who did what at a hub: an append-only log in the database, whose lines form a hash chain.

The database refuses to change or delete a line. A copy of the head, kept elsewhere, shows if somebody has
done so all the same, or has cut lines off: `hashscan hub audit verify --head`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from hashscan.errors import OutputError
from hashscan.hash_chain import EMPTY, BrokenChainError, Line, LogHead, chained, parse_line
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import AUDIT

_AT_A_TIME = 1000


class BrokenAuditError(OutputError):
    """An error for a line of the audit log that was changed or is missing."""

    advice = "Keep the database as it is, and compare it with a backup."

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"audit log, line {number}: {why}")
        self.number = number
        """Number of the first bad line, from 1."""


def record(
    connection: Connection,
    actor: str,
    action: str,
    organisation: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Append a line, in the transaction that makes the change.

    Args:
        actor: `cli USER`, `user NAME`, `key ORGANISATION/NAME` or `hub`.
        action: what was done, such as `key.revoke`.
        organisation: the one that it concerns, whose members see the line.
        details: JSON values; nobody's secrets.
    """
    if connection.dialect.name != "sqlite":
        # SQLite has one writer at a time; here, two would take the same number.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7263950168)")
    last = connection.execute(select(AUDIT.c.line).order_by(AUDIT.c.number.desc()).limit(1)).scalar()
    at = int(time.time())
    line = {"at": at, "actor": actor, "action": action, "organisation": organisation, **(details or {})}
    raw, head = chained(line, EMPTY if last is None else _head_of(last))
    values = (head.count, at, actor, action, organisation, raw.decode("ascii"))
    connection.execute(insert(AUDIT).values(values))


def read_audit(
    database: Database, known: LogHead | None = None, organisation: int | None = None
) -> Iterator[tuple[Line, LogHead]]:
    """Yield the lines from the first, each with the head up to it, after checking the chain.

    Args:
        known: a head that the log must contain.
        organisation: the only one whose lines are yielded; all are checked.

    Raises:
        BrokenAuditError: a line was changed, or lines are missing.
        DatabaseError: the database can't be read.
    """
    head = EMPTY
    while True:
        query = select(AUDIT).order_by(AUDIT.c.number).limit(_AT_A_TIME)
        if head.count:  # else from the first, whatever its number is
            query = query.where(AUDIT.c.number > head.count)
        with database.reading() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            number = head.count + 1
            try:
                line, head = parse_line(row.line.encode("ascii", "replace"), head)
            except BrokenChainError as error:
                raise BrokenAuditError(number, str(error)) from None
            same = row.number, row.at, row.actor, row.action, row.organisation
            if same != (number, *(line.get(key) for key in ("at", "actor", "action", "organisation"))):
                raise BrokenAuditError(number, "its columns are not those of the line")
            if known is not None and known.count == number and known != head:
                raise BrokenAuditError(number, "it is not the line that was written, says the head")
            if organisation in {None, row.organisation}:
                yield line, head
        if len(rows) < _AT_A_TIME:
            break
    if known is not None and known.count > head.count:
        raise BrokenAuditError(head.count + 1, f"it is missing; the log had {known.count} lines or more")


def _head_of(line: str) -> LogHead:
    """Return the head up to the last line, without checking it against the one before."""
    raw = line.encode("ascii")
    return LogHead(json.loads(raw)["n"], hashlib.sha256(raw).hexdigest())
