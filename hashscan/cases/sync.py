"""Update the ledger from the scan state, the quarantine (custody) log, the journals of uploads, and the spool
of the form."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from hashscan.cases.form_spool import follow_form
from hashscan.cases.ledger import Ledger, LedgerError
from hashscan.cases.tracker import CaseLocation, CaseTracker
from hashscan.cases.uploads import follow_uploads
from hashscan.errors import OutputError
from hashscan.hash_chain import EMPTY
from hashscan.quarantine.items import Item, apply_line
from hashscan.quarantine.log_checkpoint import read_checkpoint
from hashscan.quarantine.restored import quarantine_states
from hashscan.quarantine.store import read_lines
from hashscan.state.findings.history import History, ScanRecord
from hashscan.state_dir import StateDir

_KINDS = frozenset({"moved", "left", "restored", "released", "withdrawn", "accused"})


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The result of a sync."""

    new: int
    troubles: tuple[OutputError, ...]
    """Errors for which the state, the custody log, a journal or the spool was not read; the others were."""


def sync(ledger: Ledger, state: StateDir) -> SyncResult:
    """Update the ledger in transactions: if the process is killed, the next sync does the rest.

    Raises:
        OutputError: the ledger can't be written.
    """
    new, troubles = 0, []
    # Quarantine log first: a file restored from it is no new finding of the scan that meets it there.
    for follow in (_follow_quarantines, _follow_state, follow_uploads, follow_form):
        try:
            new += follow(ledger, state)
        except LedgerError:
            raise
        except OutputError as error:
            troubles.append(error)
    return SyncResult(new, tuple(troubles))


def _follow_state(ledger: Ledger, state: StateDir) -> int:
    with History(state) as now:
        if not now.identity or now.last < _next(ledger, now):
            return 0
    # Read again under the lock: otherwise the later of two processes could undo the update of the other.
    with ledger.transaction() as database, History(state) as history:
        since = _next(ledger, history)
        for scanned in history.scans(since):
            # A scan that was killed before it began its report has no name of its own.
            name = scanned.uuid or f"{history.identity}/{scanned.number}"
            ended = None if scanned.exit_code is None else scanned.ended
            store_scan(database, scanned._replace(uuid=name, ended=ended), keep_id=True)
        tracker = CaseTracker(database)
        for found in history.findings(since):
            tracker.take_finding(history.identity, found)
        last_final = history.last_final
        database.execute(
            "INSERT OR REPLACE INTO followed VALUES (?, ?, ?)",
            (f"state {history.identity}", last_final, history.mark(last_final)),
        )
        return tracker.begun


def _next(ledger: Ledger, history: History) -> int:
    """Return the first scan of a state that is not in the ledger; 1 if an older state was restored."""
    row = ledger.one("SELECT number, head FROM followed WHERE source=?", f"state {history.identity}")
    if row is None or history.mark(row[0]) != row[1]:
        return 1
    return int(row[0]) + 1


def store_scan(database: sqlite3.Connection, scan: ScanRecord, *, keep_id: bool) -> None:
    """Store a scan; unless `keep_id`, one that the ledger has already gets a new id, so that it is alerted
    again."""
    whole = scan.exit_code is not None and scan.incomplete == "[]"
    database.execute(
        "INSERT OR REPLACE INTO scans (id, uuid, known, shard, started, ended, exit_code, whole, files, "
        "bytes, verdicts, lists, targets, incomplete, reasons) "
        "VALUES ((SELECT id FROM scans WHERE uuid=?1 AND ?15), "
        "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        (
            scan.uuid, int(scan.known), scan.shard, scan.started, scan.ended, scan.exit_code, int(whole),
            scan.files, scan.bytes, scan.verdicts, scan.lists, scan.targets, scan.incomplete,
            scan.reasons, keep_id,
        ),
    )  # fmt: skip


def _follow_quarantines(ledger: Ledger, state: StateDir) -> int:
    return sum(_follow_custody(ledger, one) for one in quarantine_states(state))


def _follow_custody(ledger: Ledger, state: StateDir) -> int:
    checkpoint = read_checkpoint(state)
    if checkpoint is None or not checkpoint.head.count:
        return 0
    if ledger.one("SELECT 1 FROM followed WHERE head=?", str(checkpoint.head)) is not None:
        return 0
    with ledger.transaction() as database:
        tracker, items = CaseTracker(database), dict[str, Item]()
        log, since, reached = "", 0, EMPTY
        for line, reached in read_lines(state):
            if not log:
                log = reached.digest
                row = ledger.one("SELECT number FROM followed WHERE source=?", f"log {log}")
                since = 0 if row is None else row[0]
            apply_line(items, line)
            kind = line["type"]
            if kind not in _KINDS or reached.count <= since:
                continue
            item = items[line["item"]]
            if not item.of_another:
                at = int(datetime.fromisoformat(line["time"]).timestamp())
                host = (item.record.get("endpoint") or "") if item.is_object else ""
                place = CaseLocation(item.path, item.version, host=host)
                tracker.take_custody(log, reached.count, at, kind, item.id, place)
        if log:
            position = (f"log {log}", reached.count, str(reached))
            database.execute("INSERT OR REPLACE INTO followed VALUES (?, ?, ?)", position)
        return tracker.begun
