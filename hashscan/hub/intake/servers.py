"""See the servers of all organisations, and raise an alert about each that sends no more reports."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Struct, structs
from sqlalchemy import Connection, Row, case, func, select, update

from hashscan.alerts.alert import Alert, Kind
from hashscan.alerts.dispatcher import DeliveryResult, Notifier
from hashscan.cases.ledger import Ledger
from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.organisations import organisation_named
from hashscan.hub.checks.near_queries import chains
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, NEAR_QUERIES, ORGANISATIONS, SCANS, SERVERS, SETTINGS
from hashscan.model import CATEGORIES
from hashscan.schema import decode_json
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES, AlertSettings
from hashscan.state_dir import StateDir
from hashscan.text import printable
from hashscan.timefmt import format_utc_seconds

_NAME = "servers"
"""Key of the row in the table of settings."""
_DAY = 86_400
_LOCK = 7263950171
"""Number of PostgreSQL's lock for the node that raises alerts."""
_SINGLE_MAX = 5
"""Most servers of an organisation that have an alert each."""
_NAMED = 20
_REASONS = "Scans may not run, may not end, or may not reach the hub. See: hashscan hub server list"
_PROBED = (
    "Somebody may be recovering listed digests from the hub's answers. Such digests are answered slowly. See "
    "the organisation's page, and revoke the key: hashscan hub key revoke"
)


class ServerState(Struct, frozen=True, kw_only=True):
    """A server, and its last scan whose report is complete. Times are seconds since 1970."""

    id: int
    organisation: str
    name: str
    first: int
    """The hub's time of its first report."""
    seen: int
    """The hub's time of its last report, or part of one."""
    silent_after: int
    """Seconds without a report after which it counts as silent."""
    silent: bool
    scan: str = ""
    """The scan's uuid; empty if there is none. Then the fields below say nothing."""
    started: int = 0
    """By the server's own time."""
    ended: int | None = None
    """By the server's own time."""
    received: int = 0
    """By the hub's time: when all of its report was there."""
    version: str = ""
    exit_code: int = -1
    files: int = 0
    findings: int = 0
    undecoded: float = 0.0
    """Share of its files that are `undecoded`, from 0 to 1."""
    lists: Mapping[str, int] = {}
    """Versions of the lists that it used, by name."""
    incomplete: tuple[dict[str, str], ...] = ()
    """The reasons why it is incomplete; see `shortcomings.Shortcoming`."""
    open_cases: int = 0

    def scan_age(self, now: int) -> int:
        """Return the seconds since the report of the last scan was there."""
        return max(now - self.received, 0)


def servers(connection: Connection, now: int, organisation: int | None = None) -> list[ServerState]:
    """Return the servers of an organisation, or of all, by organisation and name."""
    default = server_defaults(connection).silent_after
    is_open = CASES.c.removed.is_(None) & CASES.c.closed.is_(None)
    cases = select(func.count()).where(CASES.c.server == SERVERS.c.id, is_open).scalar_subquery()
    own = (SCANS.c.organisation == SERVERS.c.organisation) & (SCANS.c.uuid == SERVERS.c.scan)
    query = (
        select(SERVERS, ORGANISATIONS.c.name.label("owner"), SCANS, cases.label("open_cases"))
        .join(ORGANISATIONS, ORGANISATIONS.c.id == SERVERS.c.organisation)
        .outerjoin(SCANS, own)
        .order_by(ORGANISATIONS.c.name, SERVERS.c.name)
    )
    if organisation is not None:
        query = query.where(SERVERS.c.organisation == organisation)
    return [_state_of(row, default, now) for row in connection.execute(query)]


def _state_of(row: Row[Any], default: int, now: int) -> ServerState:
    found: Any = row._mapping
    after = found[SERVERS.c.silent_after] or default
    about = {
        "id": found[SERVERS.c.id], "organisation": row.owner, "name": found[SERVERS.c.name],
        "first": found[SERVERS.c.first], "seen": found[SERVERS.c.seen], "silent_after": after,
        "silent": found[SERVERS.c.seen] + after < now, "open_cases": row.open_cases,
    }  # fmt: skip
    if found[SCANS.c.uuid] is None:
        return ServerState(**about)
    verdicts = decode_json(found[SCANS.c.verdicts].encode())
    return ServerState(
        **about,
        scan=found[SCANS.c.uuid],
        started=found[SCANS.c.started],
        ended=found[SCANS.c.ended],
        received=found[SCANS.c.finished],
        version=found[SCANS.c.version],
        exit_code=found[SCANS.c.exit_code],
        files=found[SCANS.c.files],
        findings=found[SCANS.c.findings],
        undecoded=verdicts.get("undecoded", 0) / max(sum(verdicts.values()), 1),
        lists={one["name"]: one["version"] for one in decode_json(found[SCANS.c.lists].encode())},
        incomplete=tuple(decode_json(found[SCANS.c.incomplete].encode())),
    )


def set_silent_after(connection: Connection, actor: str, organisation: str, name: str, seconds: int) -> None:
    """Set the time without a report after which a server counts as silent; 0 for that of all servers.

    Raises:
        UsageError: there is no such server.
    """
    owner = organisation_named(connection, organisation).id
    own = (SERVERS.c.organisation == owner) & (SERVERS.c.name == name)
    # What is known about its silence was found by the former time.
    changed = update(SERVERS).where(own).values(silent_after=seconds, silent=None, alerted=None)
    if not connection.execute(changed).rowcount:
        raise UsageError(
            f"{organisation} has no server {printable(name)!r}", advice="See `hashscan hub server list`."
        )
    record(connection, actor, "server.change", owner, {"server": name, "silent_after": seconds})


def raise_silence(
    database: Database, state: StateDir, alerts: AlertSettings, now: int | None = None
) -> tuple[list[str], DeliveryResult | None]:
    """Find the servers that have fallen silent, and raise an alert about each, once for each silence.

    An alert is raised about each new chain of close queries, too.

    The alerts lie in the outbox of the state folder before the database says that they were raised; they are
    delivered if there is a channel, and otherwise wait for one. Only one node at a time does this.

    Returns:
        The names of the servers, and the result of deliveries; None where there is no channel.

    Raises:
        DatabaseError: the database can't be used.
        LockedError: another process delivers alerts, and takes long; the alerts are kept.
        LedgerError: the alerts can't be stored.
    """
    at = int(time.time()) if now is None else now
    notifier = Notifier(alerts, DEFAULT_DEADLINES, lambda: at)
    with Ledger(state) as ledger:
        found: list[str] = []
        with database.transaction() as connection:
            if database.is_sqlite or _locked(connection):
                silent = _fallen_silent(connection, at)
                made = [*_alerts(silent), *_probed(connection, at)]
                found = [f"{row.owner}/{row.name}" for row in silent]
                if made and notifier.channels:
                    kinds = {channel.kind for channel in notifier.channels}
                    notifier.builder(ledger).build_all(at, kinds, others=made)
                elif made:
                    notifier.store(ledger, made)
                told = update(SERVERS).where(SERVERS.c.silent.is_not(None), SERVERS.c.alerted.is_(None))
                connection.execute(told.values(alerted=at))
        return found, notifier.deliver(ledger, state) if notifier.channels else None


def _locked(connection: Connection) -> bool:
    query = "SELECT pg_try_advisory_xact_lock(%s)"
    return bool(connection.exec_driver_sql(query, (_LOCK,)).scalar())


def _fallen_silent(connection: Connection, now: int) -> list[Row[Any]]:
    """Note which servers are silent, and return those about which no alert was raised."""
    default = server_defaults(connection).silent_after
    after = case((SERVERS.c.silent_after > 0, SERVERS.c.silent_after), else_=default)
    silent = update(SERVERS).where(SERVERS.c.silent.is_(None), SERVERS.c.seen + after < now)
    connection.execute(silent.values(silent=now))
    query = (
        select(SERVERS, ORGANISATIONS.c.name.label("owner"))
        .join(ORGANISATIONS)
        .where(SERVERS.c.silent.is_not(None), SERVERS.c.alerted.is_(None), ORGANISATIONS.c.closed.is_(None))
        .order_by(SERVERS.c.id)
    )
    return list(connection.execute(query).all())


def _alerts(silent: Sequence[Row[Any]]) -> Iterator[Alert]:
    """Yield an alert about each server, or one about many of an organisation, so that they hide no others."""
    for owner, group in groupby(sorted(silent, key=lambda row: row.owner), lambda row: row.owner):
        rows = list(group)
        if len(rows) <= _SINGLE_MAX:
            yield from map(_alert, rows)
            continue
        names = ", ".join(printable(row.name) for row in rows[:_NAMED])
        yield Alert(
            Kind.SILENT,
            tuple(map(_key, rows)),
            f"{len(rows)} servers of {owner} are silent",
            (f"Among them: {names}.", _REASONS),
        )


def _alert(row: Row[Any]) -> Alert:
    last = format_utc_seconds(row.seen)
    subject = f"server {printable(row.name)} of {row.owner} is silent"
    return Alert(Kind.SILENT, (_key(row),), subject, (f"Its last report came at {last}.", _REASONS))


def _probed(connection: Connection, now: int) -> Iterator[Alert]:
    """Note that an alert is raised about each new chain of close queries, and yield one by organisation."""
    rows = [row for row in chains(connection) if row.alerted is None]
    connection.execute(
        update(NEAR_QUERIES)
        .where(NEAR_QUERIES.c.flagged.is_not(None), NEAR_QUERIES.c.alerted.is_(None))
        .values(alerted=now)
    )
    for owner, group in groupby(sorted(rows, key=lambda row: row.organisation_name), _owner):
        own = list(group)
        keys = ", ".join(sorted({printable(row.key) for row in own}))
        yield Alert(
            Kind.PROBED,
            tuple(f"hub probed {row.organisation} {row.list} {row.entry} {row.flagged}" for row in own),
            f"keys of {owner} ask about entries bit by bit",
            (f"Keys: {keys}; entries: {len(own)}.", _PROBED),
        )


def _owner(row: Row[Any]) -> str:
    return str(row.organisation_name)


def _key(row: Row[Any]) -> str:
    return f"hub silent {row.id} {row.seen}"


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
