"""Reports of simulated servers, and a stand-in for the scans that write them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.intake.records import decode_records
from hashscan.hub.intake.reports import begin_report, receive_records
from hashscan.hub.storage.database import Database
from hashscan.hub_api import MATCHES_MAX, ReportBegin, ReportState

SCOPE = "5" * 64
NOW = 1_796_000_000
_SCANS = count()


def scan_record(name: str, **changed: Any) -> dict[str, Any]:
    """The first record of a report."""
    lists = [{"name": "national", "state": "fresh", "version": 3, "entries": 9, "fingerprint": "aa"}]
    return {
        "type": "scan", "schema": 1, "uuid": name, "version": "0.1.0", "host": "web1",
        "started": "2026-11-28T22:00:00+00:00", "targets": [], "lists": lists, "excepted": [],
        "breaker": {"owners": 3, "files": 100}, "sandbox": {"mode": "auto"}, "fail_on": "match",
        "strict": False, **changed,
    }  # fmt: skip


def finding(path: str, **changed: Any) -> dict[str, Any]:
    """A record of a match."""
    match = {
        "list": "national", "entry": "e-1", "algorithm": "pdq", "category": "A1", "distance": 4,
        "threshold": 31,
    }  # fmt: skip
    return {
        "type": "finding", "schema": 1, "path": path, "verdict": "match", "because": "exact", "size": 5,
        "matches": [match], **changed,
    }  # fmt: skip


def long_matches() -> list[dict[str, Any]]:
    """As many matches as a record may have, so that few records fill a part of a report."""
    match = {"list": "national", "algorithm": "pdq", "category": "A1", "distance": 4, "threshold": 31}
    return [{**match, "entry": f"{number:0100}"} for number in range(MATCHES_MAX)]


def summary(**changed: Any) -> dict[str, Any]:
    """The last record of a report."""
    passed = {"folders": 1, "links": 0, "specials": 0, "excluded_folders": 0}
    return {
        "type": "summary", "schema": 1, "verdicts": {"match": 1, "undecoded": 2, "clean": 7}, "reasons": {},
        "folders_not_entered": {}, "passed": passed, "empty_targets": 0, "test_findings": 0,
        "low_quality_pictures": 0, "bytes": 10, "unchanged": 0, "incomplete": [],
        "only_test_entries": False, "exit_code": 1, "ended": "2026-11-28T23:00:00+00:00", **changed,
    }  # fmt: skip


def report(*records: Mapping[str, Any], **of_summary: Any) -> tuple[str, list[Mapping[str, Any]]]:
    """A whole report, with its uuid; each scan begins a second after the one before."""
    name = str(uuid.uuid4())
    started = datetime(2026, 11, 28, 22, tzinfo=UTC) + timedelta(seconds=next(_SCANS))
    return name, [scan_record(name, started=started.isoformat()), *records, summary(**of_summary)]


def lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Records as JSON Lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def organisation(database: Database, name: str = "hoster") -> int:
    """An organisation, by its id."""
    with database.transaction() as connection:
        return add_organisation(connection, "cli test", name).id


def push(
    database: Database,
    owner: int,
    name: str,
    records: Sequence[Mapping[str, Any]],
    *,
    host: str = "web1",
    scope: str = SCOPE,
    now: int = NOW,
    at: int = 0,
) -> ReportState:
    """Send records from the index `at` on, as a server does."""
    begin_report(database, owner, name, ReportBegin(host, scope), now)
    return receive_records(database, owner, name, at, decode_records(lines(records), at), now)
