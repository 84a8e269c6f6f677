"""Import a report into the ledger: of a cluster, of merged shards, or of another machine."""

from __future__ import annotations

import hashlib
import json
import socket
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hashscan.cases.ledger import Ledger
from hashscan.cases.sync import store_scan
from hashscan.cases.tracker import NOTICE, CaseTracker
from hashscan.errors import UsageError
from hashscan.reports.records import Record, path_bytes
from hashscan.reports.report import last_record, read_report
from hashscan.state.findings.coverage import Coverage
from hashscan.state.findings.findings import GONE
from hashscan.state.findings.history import FindingRecord, ScanRecord
from hashscan.state.store.listings import wrapped

_OF_LISTS = ("name", "state", "version", "entries", "expires", "made")
_UNCHECKED = frozenset({"unreadable", "undecoded", "skipped", "standing"})


@dataclass(frozen=True, slots=True)
class ReportImportResult:
    """The counts of an import."""

    findings: int
    new: int
    removed: int
    """Number of cases from earlier reports of the same scan whose files this report doesn't contain."""
    known: bool = False
    """True if the report was imported before, so that nothing was done."""


def import_report(ledger: Ledger, path: Path) -> ReportImportResult:
    """Import a report in JSON Lines, complete or partial: all of it, or nothing if the process is killed.

    Cases from earlier reports of the same scan (same machine, targets, options) end if a complete report
    doesn't contain them any more and could use all lists that matched them. Cases with a notice go on.

    Raises:
        UsageError: the file is not a report, or is damaged.
        LedgerError: the ledger can't be written.
    """
    with ledger.transaction() as database:
        try:
            return _import(database, path)
        except (ValueError, OverflowError) as error:
            raise UsageError(
                f"{path} is not a valid report: {error}", advice="Name reports in JSON Lines."
            ) from error


def _import(database: sqlite3.Connection, report: Path) -> ReportImportResult:
    records = read_report(report)
    scan = next(records)
    parts = [part["uuid"] for part in scan.get("merged", {}).get("from", [])]
    if _is_known(database, scan["uuid"], report):
        return ReportImportResult(0, 0, 0, known=True)
    started = _seconds(scan["started"])
    scope, host, lists = _scope(scan), _host(scan), json.dumps(scan["lists"])
    tracker = CaseTracker(database)
    findings = 0
    summary: Record | None = None
    for record in records:
        if record["type"] == "summary":
            summary = record
        elif record["type"] == "finding":
            findings += 1
            found = _finding(record, started, lists)
            name = f"{scope}/{_name(found.path, found.version)}"
            tracker.take_finding(name, found, _host_of(record, host, scan), reported=True)
        elif record["type"] in _UNCHECKED:
            path = path_bytes(record)
            # Such a file may have vanished before it was read, so this is no sighting.
            database.execute(
                "UPDATE cases SET seen=max(seen, ?) WHERE path=? AND host=? AND removed IS NULL",
                (started, path, _host_of(record, host, scan)),
            )
    removed = 0
    if summary is not None and not summary["incomplete"] and "ended" in summary and _sees_all(scan):
        removed = _end_missing(database, tracker, scope, scan, summary)
    # The merged report contains the counts of all parts, whichever is imported first.
    database.executemany("DELETE FROM scans WHERE uuid=?", [(name,) for name in parts])
    database.executemany(
        "INSERT OR IGNORE INTO followed VALUES (?, 0, '')", [(_part(name),) for name in parts]
    )
    store_scan(database, _scan_record(scan, summary or {}, started), keep_id=False)
    return ReportImportResult(findings, tracker.begun, removed)


def _is_known(database: sqlite3.Connection, uuid: str, path: Path) -> bool:
    if database.execute("SELECT 1 FROM followed WHERE source=?", (_part(uuid),)).fetchone():
        return True
    row = database.execute("SELECT ended FROM scans WHERE uuid=?", (uuid,)).fetchone()
    if row is None or row[0] is not None:
        return row is not None
    # A report that was imported while the scan ran is not complete.
    last = last_record(path)
    return last is None or last["type"] != "summary"


def _part(uuid: str) -> str:
    return f"part {uuid}"


def _host(scan: Record) -> str:
    """Return the machine that scanned the files; empty if it is this one."""
    parts = scan.get("merged", {}).get("from", [])
    hosts = [str(part.get("host", "")) for part in parts] or [str(scan.get("host", ""))]
    # Shards of one scan read the same storage; whichever is imported first, its files keep their machine.
    return "" if socket.gethostname() in hosts else min(hosts)


def _host_of(record: Record, host: str, scan: Record) -> str:
    """Return the machine of a file, or the endpoint of an object's service; empty for the provider's own."""
    if record["path"].startswith("/"):
        return host
    return str(record.get("endpoint") or scan.get("selection", {}).get("endpoint") or "")


def _scope(scan: Record) -> str:
    """Return a key for reports on the same files with the same options."""
    about = [scan.get(key) for key in ("host", "targets", "selection", "inventory", "shard")]
    return f"report {hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]}"


def _name(path: bytes, version: str) -> str:
    """Return the name of a file within a scope: a sha256, so that nobody can give two files the same name."""
    return hashlib.sha256(path + b"\0" + version.encode("utf-8", errors="surrogatepass")).hexdigest()


def _sees_all(scan: Record) -> bool:
    return not scan.get("known") and "files_from" not in scan and "inventory" not in scan


def _end_missing(
    database: sqlite3.Connection, tracker: CaseTracker, scope: str, scan: Record, summary: Record
) -> int:
    """End the cases whose files a complete report should contain but doesn't; return how many are removed.

    A report doesn't list clean files, so a file that is gone and one that the lists clear look the same.
    """
    ended, coverage = _seconds(summary["ended"]), Coverage.of_record(scan)
    missing = database.execute(
        "SELECT DISTINCT cases.id FROM sightings JOIN cases USING (id) WHERE state>? AND state<? "
        "AND removed IS NULL AND closed IS NULL AND seen<?",
        (f"{scope}/", f"{scope}0", _seconds(scan["started"])),
    ).fetchall()
    removed = 0
    for (number,) in missing:
        case = tracker.case(number)
        if coverage.unanswered(tracker.matches(number)):
            continue
        if case.noticed is None:
            tracker.remove(number, ended, GONE)
            removed += 1
        elif case.verdict != NOTICE:
            tracker.end_without_match(case, ended)
    return removed


def _finding(record: Record, at: int, lists: str) -> FindingRecord:
    def number(key: str) -> int | None:
        return wrapped(record[key]) if key in record else None

    sha256 = record.get("digests", {}).get("sha256")
    return FindingRecord(
        0,
        path_bytes(record),
        record.get("version", ""),
        record["verdict"],
        record["because"],
        at,
        at,
        None,
        "",
        json.dumps(record.get("matches", [])),
        record.get("customer", ""),
        None if sha256 is None else bytes.fromhex(sha256),
        number("uid"),
        number("device"),
        number("inode"),
        number("size"),
        number("mtime_ns"),
        number("ctime_ns"),
        record.get("etag", ""),
        lists,
    )


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _scan_record(scan: Record, summary: Record, started: int) -> ScanRecord:
    part = scan.get("shard")
    return ScanRecord(
        number=0,
        uuid=scan["uuid"],
        known=bool(scan.get("known")),
        shard=f"{part['index']}/{part['count']}" if part else "",
        started=started,
        ended=_seconds(summary["ended"]) if "ended" in summary else None,
        exit_code=summary.get("exit_code"),
        targets=json.dumps(scan["targets"]),
        lists=json.dumps([{key: info.get(key) for key in _OF_LISTS} for info in scan["lists"]]),
        verdicts=json.dumps(summary.get("verdicts", {})),
        incomplete=json.dumps(summary.get("incomplete", [])),
        files=summary.get("files", 0),
        bytes=summary.get("bytes", 0),
        reasons=json.dumps(summary.get("reasons", {})),
    )
