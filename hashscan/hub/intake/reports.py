"""Take in the reports of scans, each record exactly once, and make servers, scans and cases of them.

The number of records that were received is in the scan's row, and changes in the same transaction as what
they bring about. While a transaction runs, no other one changes the same server, so that two senders of one
report, or of two of the same server, take turns.

A case is a file of a server: one is open at most. A finding opens it, or is noted in the one that is there.
It ends in two ways:

 * the record of its finding says that the scan has moved the file into quarantine;
 * a complete report of the same scope (targets and options) as the last one that named the file does not
   name it. It was not cut short by anything (`incomplete` is empty), and could use all lists that the case
   names. The case ends as `gone` if those lists were the same then, byte for byte, and as `missing` if they
   were not: then the file may be there, and match no more.

A report that is older than a complete one of its scope (sent late, or by hand) changes no case, and none that
a later one has named while both come in.

The hub's own time counts for cases, since a server's may be wrong; the scan's row has both. A scan that says
that it began after the hub has heard of it counts as begun then: otherwise a server whose time was wrong once
would have no later report taken in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.exc import IntegrityError

from hashscan.hub.intake.case_rows import CaseRows, began_later
from hashscan.hub.intake.records import Finding, Kept, Place
from hashscan.hub.storage.database import Database, DatabaseError
from hashscan.hub.storage.tables import SCANS, SERVERS
from hashscan.hub_api import ReportBegin, ReportState
from hashscan.model import USABLE_STATES
from hashscan.reports.schema import ListFields, ScanRecord, SummaryRecord
from hashscan.schema import InvalidDocumentError, decode_json, encode_json
from hashscan.timefmt import parse_zoned

SERVERS_MAX = 10_000
"""Most servers of an organisation."""
_ENDED_AT_ONCE = 1000
"""Cases that one transaction ends."""
_INCOMPLETE_MAX = 100
_LATER_MAX = 1000
"""Scans that began later and are looked for; a scan changes no case that one of them has named."""
_FILES_MAX = 10**12
"""Largest number of files of a scan, so that a sum of millions fits a column."""


class MissingReportError(Exception):
    """A report that the organisation has not begun."""


class OutOfOrderError(Exception):
    """A part before which records are missing."""

    def __init__(self, state: ReportState) -> None:
        super().__init__("records are missing")
        self.state = state


class TooManyServersError(Exception):
    """An organisation that can have no further server."""


def begin_report(
    database: Database, organisation: int, uuid: str, begin: ReportBegin, now: int
) -> ReportState:
    """Prepare to receive a report; one that was begun before stays as it is."""
    with database.transaction() as connection:
        known = _row(connection, organisation, uuid)
        if known is not None:
            return _state(known)
        server = server_named(database, connection, organisation, begin.host, now)
        row = {"organisation": organisation, "uuid": uuid, "server": server}
        times = {"started": now, "received": now}
        connection.execute(
            database.insert(SCANS).values(**row, **times, scope=begin.scope).on_conflict_do_nothing()
        )
        found = _row(connection, organisation, uuid)
        assert found is not None
        return _state(found)


def server_named(database: Database, connection: Connection, organisation: int, host: str, now: int) -> int:
    """Return the id of a server that reports now; it is added if it is new, and is not silent any more."""
    known = (SERVERS.c.organisation == organisation) & (SERVERS.c.name == host)
    seen = update(SERVERS).where(known).values(seen=now, silent=None, alerted=None).returning(SERVERS.c.id)
    found = connection.execute(seen).scalar()
    if found is None:
        count = select(func.count()).where(SERVERS.c.organisation == organisation)
        if connection.execute(count).scalar_one() >= SERVERS_MAX:
            raise TooManyServersError
        new = database.insert(SERVERS).values(organisation=organisation, name=host, first=now, seen=now)
        connection.execute(new.on_conflict_do_nothing())
        found = connection.execute(seen).scalar_one()
    return int(found)


def report_state(database: Database, organisation: int, uuid: str) -> ReportState:
    """Return how much of a report was received; MissingReportError if the organisation has not begun it."""
    with database.reading() as connection:
        return _state(_required(_row(connection, organisation, uuid)))


def receive_records(
    database: Database, organisation: int, uuid: str, first: int, records: Sequence[Kept], now: int
) -> ReportState:
    """Take in the records of a part, as `decode_records` returns them, the first of which has this index in
    the report, passing over those received before. MissingReportError: the organisation has not begun the
    report; OutOfOrderError: records before them are missing; InvalidDocumentError: they are not those of this
    report, and none was taken in."""
    for tries in (1, 0):
        try:
            with database.transaction() as connection:
                scan = _locked(database, connection, organisation, uuid)
                if first > scan.records:
                    raise OutOfOrderError(_state(scan))
                fresh = records[scan.records - first :]
                if fresh:
                    _take(database, connection, scan, fresh, now)
            break
        except DatabaseError as error:
            # Another route has opened a case of the same file just now.
            if not (tries and isinstance(error.__cause__, IntegrityError)):
                raise
    while True:
        # In several transactions, since a scan may end any number of cases.
        with database.transaction() as connection:
            scan = _locked(database, connection, organisation, uuid)
            if scan.complete or scan.exit_code < 0 or _finish(database, connection, scan, now):
                return _state(_required(_row(connection, organisation, uuid)))


def _take(
    database: Database, connection: Connection, scan: Row[Any], records: Sequence[Kept], now: int
) -> None:
    """Store what records bring about, and count them."""
    values: dict[str, Any] = {"records": scan.records + len(records)}
    if scan.exit_code >= 0:
        raise InvalidDocumentError("the report has ended before these records")
    for place, record in enumerate(records, scan.records):
        if isinstance(record, ScanRecord) is not (place == 0):
            raise InvalidDocumentError(f"record {place}: the first record, and no other, is that of the scan")
        if isinstance(record, SummaryRecord) and place < values["records"] - 1:
            raise InvalidDocumentError(f"record {place}: there are records after the summary")
    if isinstance(records[0], ScanRecord):
        values |= _scan_values(records[0], scan.uuid)
    if isinstance(records[-1], SummaryRecord):
        values |= _summary_values(records[-1])
    seen = [record for record in records if isinstance(record, Finding | Place)]
    later = _later_of_scope(connection, scan, min(values.get("started", scan.started), scan.received))
    if not any(complete for _, complete in later):
        cases = CaseRows(database, connection, scan.organisation, scan.server, now)
        cases.take(scan.uuid, seen, {uuid for uuid, _ in later})
    mine = (SCANS.c.organisation == scan.organisation) & (SCANS.c.uuid == scan.uuid)
    connection.execute(update(SCANS).where(mine).values(**values))
    silence = {"silent": None, "alerted": None}
    connection.execute(update(SERVERS).where(SERVERS.c.id == scan.server).values(seen=now, **silence))


def _later_of_scope(connection: Connection, scan: Row[Any], begun: int) -> list[tuple[str, bool]]:
    """Return the scans of the same scope that began later, and which of them are complete.

    A complete one has said already what this scan says of files.
    """
    if not scan.scope:
        return []
    query = select(SCANS.c.uuid, SCANS.c.complete).where(
        SCANS.c.server == scan.server, SCANS.c.scope == scan.scope, began_later(begun, scan.uuid)
    )
    return [
        (row.uuid, row.complete)
        for row in connection.execute(query.order_by(SCANS.c.complete.desc()).limit(_LATER_MAX))
    ]


def _scan_values(record: ScanRecord, uuid: str) -> dict[str, Any]:
    if record.uuid != uuid:
        raise InvalidDocumentError("record 0: it has the uuid of another scan")
    return {
        "version": record.version[:100],
        "started": _seconds(record.started),
        "lists": encode_json([_list_values(one) for one in record.lists]).decode(),
    }


def _list_values(one: ListFields) -> dict[str, Any]:
    return {
        "name": one.name,
        "version": one.version,
        "entries": one.entries,
        "state": one.state.value,
        "fingerprint": one.fingerprint,
        "made": one.made,
    }


def _summary_values(record: SummaryRecord) -> dict[str, Any]:
    verdicts = record.verdicts
    return {
        "ended": None if record.ended is msgspec.UNSET else _seconds(record.ended),
        "exit_code": record.exit_code,
        "files": min(record.files or sum(verdicts.values()), _FILES_MAX),
        "bytes": record.bytes,
        "findings": min(sum(verdicts.get(name, 0) for name in ("match", "held", "review")), 1 << 62),
        "verdicts": encode_json(verdicts).decode(),
        "reasons": encode_json(record.reasons).decode(),
        "incomplete": encode_json(record.incomplete[:_INCOMPLETE_MAX]).decode(),
    }


def _finish(database: Database, connection: Connection, scan: Row[Any], now: int) -> bool:
    """End some of the cases that a report ends; return True if none is left, and the report is complete."""
    lists = {one["name"]: one for one in decode_json(scan.lists.encode())}
    usable = {name for name, one in lists.items() if one["state"] in USABLE_STATES}
    if scan.scope and scan.ended is not None and not decode_json(scan.incomplete.encode()):
        cases = CaseRows(database, connection, scan.organisation, scan.server, now)
        if cases.end_missing(scan, {name: lists[name] for name in usable}, _ENDED_AT_ONCE):
            return False
    mine = (SCANS.c.organisation == scan.organisation) & (SCANS.c.uuid == scan.uuid)
    connection.execute(update(SCANS).where(mine).values(complete=True, finished=now))
    later = began_later(min(scan.started, scan.received), scan.uuid) & SCANS.c.complete
    newest = select(SCANS.c.uuid).where(SCANS.c.server == scan.server, later).limit(1)
    if connection.execute(newest).first() is None:
        connection.execute(update(SERVERS).where(SERVERS.c.id == scan.server).values(scan=scan.uuid))
    return True


def _row(connection: Connection, organisation: int, uuid: str) -> Row[Any] | None:
    mine = (SCANS.c.organisation == organisation) & (SCANS.c.uuid == uuid)
    return connection.execute(select(SCANS).where(mine)).first()


def _locked(database: Database, connection: Connection, organisation: int, uuid: str) -> Row[Any]:
    """Return the row of a scan after all other transactions about its server have ended."""
    scan = _required(_row(connection, organisation, uuid))
    if database.is_sqlite:
        return scan
    mine = select(SERVERS.c.id).where(SERVERS.c.id == scan.server)
    connection.execute(mine.with_for_update(key_share=True))
    return _required(_row(connection, organisation, uuid))


def _required(row: Row[Any] | None) -> Row[Any]:
    if row is None:
        raise MissingReportError
    return row


def _state(row: Row[Any]) -> ReportState:
    return ReportState(row.records, row.complete)


def _seconds(text: str) -> int:
    """Return a time that the schema has checked, in seconds since 1970."""
    time = parse_zoned(text)
    assert time is not None
    return int(time.timestamp())
