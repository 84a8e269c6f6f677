"""Keep what holds for all servers: when one counts as silent, and the time that a case may take."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct, structs
from sqlalchemy import Connection, select

from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import SETTINGS
from hashscan.model import CATEGORIES

_NAME = "servers"
"""Key of the row in the table of settings."""
_DAY = 86_400


class ServerDefaults(Struct, frozen=True):
    """Times in seconds, for servers and cases that have none of their own."""

    silent_after: int = 2 * _DAY
    """Time without a report after which a server counts as silent."""
    deadline: int = 0
    """Time for a match; 0 for no deadline."""
    review_deadline: int = 0
    """Time for a finding that a person has to review first; 0 for no deadline."""
    deadlines: dict[str, int] = {}
    """Time for a match of a category, instead of `deadline`."""

    def deadline_of(self, verdict: str, categories: str, found: int) -> int | None:
        """Return the time at which a case should have ended; None for no deadline."""
        if verdict != "match":
            return found + self.review_deadline if self.review_deadline else None
        own = [self.deadlines[name] for name in categories.split() if name in self.deadlines]
        seconds = min(own, default=self.deadline)
        return found + seconds if seconds else None


_decode = msgspec.json.Decoder(ServerDefaults).decode


def server_defaults(connection: Connection) -> ServerDefaults:
    """Return what holds for all servers."""
    value = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.name == _NAME)).scalar()
    return ServerDefaults() if value is None else _decode(value)


def change_defaults(
    database: Database,
    actor: str,
    *,
    silent_after: int | None = None,
    deadline: int | None = None,
    review_deadline: int | None = None,
    deadlines: Mapping[str, int | None] | None = None,
) -> ServerDefaults:
    """Change what is given, for servers and cases from now on; return the result.

    Args:
        deadlines: time by category; None to take that of all categories again.

    Raises:
        UsageError: there is no such category.
        DatabaseError: the database can't be written.
    """
    if unknown := sorted(set(deadlines or {}) - set(CATEGORIES)):
        raise UsageError(f"there is no category {unknown[0]!r}", advice=f"There is {', '.join(CATEGORIES)}.")
    given = {"silent_after": silent_after, "deadline": deadline, "review_deadline": review_deadline}
    with database.transaction() as connection:
        before = server_defaults(connection)
        changed = {name: value for name, value in given.items() if value is not None}
        merged = {**before.deadlines, **(deadlines or {})}
        kept = {name: value for name, value in merged.items() if value is not None}
        after = structs.replace(before, **changed, deadlines=kept)
        if after != before:
            value = msgspec.json.encode(after).decode()
            row = database.insert(SETTINGS).values(name=_NAME, value=value)
            row = row.on_conflict_do_update(index_elements=[SETTINGS.c.name], set_={"value": value})
            connection.execute(row)
            record(connection, actor, "server.defaults", None, structs.asdict(after))
    return after
