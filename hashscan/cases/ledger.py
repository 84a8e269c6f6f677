"""The ledger of a state folder: a SQLite database of scans, cases and their events, kept permanently.

Times are whole seconds since 1970. A case is one file, object or URL that somebody must act on, from its
first finding or notice until it is gone or the case is closed. If it comes back later, that is another case.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

from hashscan.errors import OutputError
from hashscan.locking import ClosedOnExit
from hashscan.state.store.database import means_damage
from hashscan.state.store.filesystems import NETWORK_TYPES, type_of
from hashscan.state_dir import StateDir

FORMAT = 1
"""Version of the schema; raised whenever another hashscan could misunderstand the stored data."""

SCHEMA = """
-- Import position of each state and each quarantine log: 'state IDENTITY' (the last imported scan, its start
-- and its UUID), 'log IDENTITY' (the last line, and the head of the log up to it), 'part UUID' (the scan of
-- one shard, which a merged report counts already).
CREATE TABLE followed (
  source TEXT PRIMARY KEY, number INTEGER NOT NULL, head TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- Scans: files and bytes are as in the report; verdicts, lists, targets and incomplete are JSON, as there.
-- ended: NULL if the scan was killed. known: 1 for a rescan of cached digests. whole: 1 if the scan ended and
-- was complete. reasons: number of files by verdict and reason, JSON as in the report.
CREATE TABLE scans (
  id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, known INTEGER NOT NULL, shard TEXT NOT NULL,
  started INTEGER NOT NULL, ended INTEGER, exit_code INTEGER, whole INTEGER NOT NULL,
  files INTEGER NOT NULL, bytes INTEGER NOT NULL,
  verdicts TEXT NOT NULL, lists TEXT NOT NULL, targets TEXT NOT NULL, incomplete TEXT NOT NULL,
  reasons TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX scans_started ON scans (started);

-- path: NULL if it is not known: no rule maps the notice's URL, or the details were pruned.
-- verdict: 'match', 'held', 'review', 'notice' if only a notice or an order reports the file, or 'inform' for
-- an order to provide information, which asks for no removal and has no path.
-- categories: names, sorted, separated by spaces. claimed: the categories that notices name.
-- noticed: time of the first notice or order. ordered: time of the first order to act. stated: the earliest
-- deadline that a notice states, or that its kind has.
-- how: how the file was removed ('gone', 'changed', 'quarantined'), 'refused' for an upload that was never
-- stored, 'cleared' if the case was closed because no list matches the file any more, or 'not_found' if a
-- person closed it because the file was never seen here.
-- witness: who saw the file last, at the time `seen` (a value of `Witness`); empty if nobody ever did. Then
-- `seen` is the time of the notice, and the file can't be seen gone.
-- previous: the earlier case of the same path.
-- began: start of the deadline if it is not the time of the finding: 'held' or 'review' became a match.
-- host: the machine of the file, as a report names it; for an object, the endpoint of its service. Empty for
-- this machine and for the provider's own service. Equal paths at two hosts are two cases.
CREATE TABLE cases (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  path BLOB, version TEXT NOT NULL DEFAULT '', host TEXT NOT NULL DEFAULT '', url TEXT NOT NULL DEFAULT '',
  verdict TEXT NOT NULL, because TEXT NOT NULL DEFAULT '',
  categories TEXT NOT NULL DEFAULT '', claimed TEXT NOT NULL DEFAULT '',
  customer TEXT NOT NULL DEFAULT '', sha256 BLOB, etag TEXT NOT NULL DEFAULT '',
  uid INTEGER, device INTEGER, inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER,
  found INTEGER NOT NULL, seen INTEGER NOT NULL, witness TEXT NOT NULL DEFAULT '', began INTEGER,
  noticed INTEGER, ordered INTEGER, stated INTEGER,
  told INTEGER, removed INTEGER, how TEXT NOT NULL DEFAULT '',
  closed INTEGER, why TEXT NOT NULL DEFAULT '', disputed INTEGER, dispute TEXT NOT NULL DEFAULT '',
  previous INTEGER, pruned INTEGER
);
CREATE UNIQUE INDEX cases_open ON cases (path, version, host)
  WHERE path IS NOT NULL AND removed IS NULL AND closed IS NULL;
CREATE INDEX cases_path ON cases (path, version, host) WHERE path IS NOT NULL;
CREATE INDEX cases_unmapped ON cases (url) WHERE path IS NULL AND url <> '';
CREATE INDEX cases_waiting ON cases (found) WHERE removed IS NULL AND closed IS NULL;
CREATE INDEX cases_found ON cases (found);
CREATE INDEX cases_removed ON cases (removed) WHERE removed IS NOT NULL;

-- The entries that match the file of a case, of all lists as they were last used; none for test entries.
CREATE TABLE matches (
  id INTEGER NOT NULL, list TEXT NOT NULL, entry TEXT NOT NULL, algorithm TEXT NOT NULL,
  variant TEXT NOT NULL, category TEXT NOT NULL, distance INTEGER NOT NULL,
  PRIMARY KEY (id, list, entry, algorithm, variant)
) WITHOUT ROWID;

-- The case of each finding of each state.
CREATE TABLE sightings (
  state TEXT NOT NULL, number INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (state, number)
) WITHOUT ROWID;

-- Events of a case, each with the person who caused it, if any; rows are never changed. Kinds: 'found',
-- 'noticed', 'verdict', 'cleared', 'told', 'removed', 'back', 'restored', 'closed', 'not_found', 'reopened',
-- 'disputed', 'checked' (a check saw nothing of a file that was never seen here), 'confirmed',
-- 'acknowledged', 'reviewed', 'assigned', 'noted', 'withheld' and 'lifted' (do-not-tell), 'suspected' (an
-- offence that threatens life) and 'authority_told' of it, 'answered' (the outcome was sent to the sender).
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL,
  words TEXT NOT NULL DEFAULT '', who TEXT NOT NULL DEFAULT ''
);
CREATE INDEX events_case ON events (id);
CREATE INDEX events_at ON events (at);

-- Events of the quarantine log, one row for each line of these kinds: 'moved', 'left', 'restored',
-- 'released', 'withdrawn', 'accused'. id: NULL if no case is known. host: as in cases.
CREATE TABLE custody (
  log TEXT NOT NULL, line INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, item TEXT NOT NULL,
  path BLOB, version TEXT NOT NULL, id INTEGER, host TEXT NOT NULL DEFAULT '', PRIMARY KEY (log, line)
) WITHOUT ROWID;
CREATE INDEX custody_at ON custody (at);
CREATE INDEX custody_item ON custody (item);
CREATE INDEX custody_case ON custody (id);
CREATE INDEX custody_loose ON custody (path) WHERE id IS NULL;

-- Notices and orders of others. digest: of the notice alone, so that it counts once. kind, role: values of
-- NoticeKind and SenderRole. basis: the law on which an order relies. acknowledge: time until which the
-- sender is to be told of the receipt, NULL if never. answered: time of the answer to an order to provide
-- information.
CREATE TABLE notices (
  number INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, kind TEXT NOT NULL,
  role TEXT NOT NULL, sender TEXT NOT NULL, reference TEXT NOT NULL, member_state TEXT NOT NULL,
  basis TEXT NOT NULL, received INTEGER NOT NULL, imported INTEGER NOT NULL,
  acknowledge INTEGER, acknowledged INTEGER, answered INTEGER
);
CREATE INDEX notices_received ON notices (received);

-- Decisions of people on cases; a later one supersedes, and no row is ever changed. event: the event with its
-- time and reason. decision: a value of `Decision`. who: the person. kinds: JSON, the list and algorithm of
-- each entry that matched the file then.
CREATE TABLE reviews (
  event INTEGER PRIMARY KEY, id INTEGER NOT NULL, decision TEXT NOT NULL, who TEXT NOT NULL,
  kinds TEXT NOT NULL
);
CREATE INDEX reviews_case ON reviews (id);
CREATE TRIGGER reviews_no_update BEFORE UPDATE ON reviews
  BEGIN SELECT raise(ABORT, 'decisions are never changed'); END;
CREATE TRIGGER reviews_no_delete BEFORE DELETE ON reviews
  BEGIN SELECT raise(ABORT, 'decisions are never deleted'); END;
CREATE TRIGGER reviews_no_replace BEFORE INSERT ON reviews
  WHEN EXISTS (SELECT 1 FROM reviews WHERE event=new.event)
  BEGIN SELECT raise(ABORT, 'decisions are never changed'); END;

-- Who works on a case; the events 'assigned' keep who did before.
CREATE TABLE assignees (id INTEGER PRIMARY KEY, who TEXT NOT NULL);

-- Cases of which the customer may not be told before a time (do-not-tell), by order of an authority.
CREATE TABLE withheld (
  id INTEGER PRIMARY KEY, until INTEGER NOT NULL, reason TEXT NOT NULL, who TEXT NOT NULL
);

-- What notices name, one row for each file. digest: of the item and the path, so that a repeated one is
-- recognised. item: digest of the item alone. notice: its number. stated: the deadline in the notice.
-- category: the one that the notice names; empty if it names none.
CREATE TABLE notice_items (
  digest BLOB PRIMARY KEY, item BLOB NOT NULL, notice INTEGER NOT NULL, id INTEGER NOT NULL,
  url TEXT NOT NULL, stated INTEGER, category TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX notice_items_case ON notice_items (id);
CREATE INDEX notice_items_item ON notice_items (item);
CREATE INDEX notice_items_notice ON notice_items (notice);

-- Further fields of notices of the public form. subject: what the content shows, 'child_sexual_abuse' or
-- 'other'. name: of the sender. explanation: why it is illegal.
CREATE TABLE notice_texts (
  notice INTEGER PRIMARY KEY, subject TEXT NOT NULL, name TEXT NOT NULL, explanation TEXT NOT NULL
) WITHOUT ROWID;

-- Refused uploads, one row for each case of one: content that one owner has sent to one door, however often.
-- reference: the text that the uploader was shown. address: of the first client. name: as the client gave it,
-- escaped. digests: JSON, hexadecimal by algorithm. number: how often it was refused. kept: name of the file
-- with the encrypted content, if it is kept.
CREATE TABLE refusals (
  reference TEXT PRIMARY KEY, id INTEGER NOT NULL, door TEXT NOT NULL, address TEXT NOT NULL,
  name TEXT NOT NULL, digests TEXT NOT NULL, number INTEGER NOT NULL, kept TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX refusals_case ON refusals (id);

-- Checks of uploads, counted. at: begin of a quarter of an hour, since the days of all time zones consist of
-- such. verdict: 'unchecked' for an upload that could not be checked. outcome: 'allow', 'refuse' or 'error';
-- 'asked' for digests, whose asker decides.
CREATE TABLE checks (
  at INTEGER NOT NULL, door TEXT NOT NULL, verdict TEXT NOT NULL, outcome TEXT NOT NULL,
  number INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (at, door, verdict, outcome)
) WITHOUT ROWID;

-- The last references of refusals by test entries, which make no case.
CREATE TABLE test_refusals (number INTEGER PRIMARY KEY, reference TEXT NOT NULL UNIQUE);

-- Notices of hubs. notice: `item` of the table notice_items; empty if there is no case. said: the last state
-- that the hub was told. trouble: why it could not be used. withdrawn: time since when nothing more is told.
CREATE TABLE hub_notices (
  hub TEXT NOT NULL, number INTEGER NOT NULL, notice BLOB NOT NULL, said TEXT NOT NULL DEFAULT '',
  trouble TEXT NOT NULL DEFAULT '', withdrawn INTEGER, PRIMARY KEY (hub, number)
) WITHOUT ROWID;

-- Mails of mailboxes, each written together with its notices. mailbox: user, host, port and folder. digest:
-- of what stays the same when the server numbers the mails anew. reference: the Message-ID. reason: a value
-- of `MailReason`, empty if its notices are imported; detail: the same in words. waits: 1 until a person has
-- dealt with a mail without notices. marks: 1 until it is flagged or moved as set.
CREATE TABLE mails (
  number INTEGER PRIMARY KEY AUTOINCREMENT, mailbox TEXT NOT NULL, validity INTEGER NOT NULL,
  uid INTEGER NOT NULL, digest BLOB NOT NULL, sender TEXT NOT NULL, reference TEXT NOT NULL,
  fetched INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, waits INTEGER NOT NULL,
  marks INTEGER NOT NULL, UNIQUE (mailbox, validity, uid)
);
CREATE INDEX mails_digest ON mails (mailbox, digest, validity);
CREATE INDEX mails_waiting ON mails (number) WHERE waits;
CREATE INDEX mails_marked ON mails (mailbox, validity) WHERE marks;

-- Further facts of notices that came by mail. authentication: the Authentication-Results, as found. pictures:
-- digests of the attached pictures, JSON.
CREATE TABLE notice_mails (
  notice INTEGER PRIMARY KEY, authentication TEXT NOT NULL, pictures TEXT NOT NULL
);

-- Looks at the URL of a case from outside, each at one server (`outside.looking.Look`).
CREATE TABLE web_looks (
  id INTEGER NOT NULL, at INTEGER NOT NULL, server TEXT NOT NULL, fresh INTEGER NOT NULL,
  outcome TEXT NOT NULL, cause TEXT NOT NULL, status INTEGER, PRIMARY KEY (id, at, server, fresh)
) WITHOUT ROWID;
-- The content that the URL of a case had at the first look that could fetch it.
CREATE TABLE web_baselines (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, sha256 BLOB NOT NULL, pdq BLOB
);
-- Runs that could fetch content of others, with the words of their mandate; written before the first request.
CREATE TABLE mandated_runs (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, command TEXT NOT NULL, who TEXT NOT NULL,
  mandated_by TEXT NOT NULL, legal_basis TEXT NOT NULL, until TEXT NOT NULL, urls INTEGER NOT NULL
);
CREATE TRIGGER mandated_runs_no_update BEFORE UPDATE ON mandated_runs
  BEGIN SELECT raise(ABORT, 'runs are never changed'); END;
CREATE TRIGGER mandated_runs_no_delete BEFORE DELETE ON mandated_runs
  BEGIN SELECT raise(ABORT, 'runs are never deleted'); END;

-- Alerts, and the keys of all alerted events; a key outlives its alert (deduplication).
CREATE TABLE alerts (id INTEGER PRIMARY KEY AUTOINCREMENT, made INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE alert_keys (key TEXT PRIMARY KEY, alert INTEGER NOT NULL) WITHOUT ROWID;
-- The number up to which all events of a kind were alerted.
CREATE TABLE alert_marks (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
-- Kinds of channels for which an alert waits.
CREATE TABLE alert_waits (alert INTEGER, kind TEXT, PRIMARY KEY (alert, kind)) WITHOUT ROWID;
CREATE TABLE alert_sent (
  alert INTEGER, channel TEXT, label TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (alert, channel)
) WITHOUT ROWID;
-- Channels whose last delivery failed, and the time before which they are not retried.
CREATE TABLE alert_channels (
  channel TEXT PRIMARY KEY, label TEXT NOT NULL, failures INTEGER NOT NULL, again INTEGER NOT NULL,
  error TEXT NOT NULL
) WITHOUT ROWID;
"""

MATCH_KEYS = ("list", "entry", "algorithm", "variant", "category", "distance")
MATCHES_QUERY = f"SELECT {', '.join(MATCH_KEYS)} FROM matches WHERE id=?"  # noqa: S608 - our own names

_BUSY_MS = 600_000
"""Timeout in ms: the first import of a million findings takes a minute or more, and others wait for it."""


class LedgerError(OutputError):
    """An error for a ledger that can't be read or written."""


class OtherLedgerError(LedgerError):
    """An error for a ledger that another version of hashscan has written."""

    advice = "Use that version, or another --state folder."


class DamagedLedgerError(LedgerError):
    """An error for a damaged ledger."""

    advice = (
        "Put ledger.sqlite back from a backup. Without one, move it away with its -wal and -shm: findings "
        "become cases again, but notices, and records of notifications, are lost."
    )


class Ledger(ClosedOnExit):
    """The database, for one process; other processes may use it at the same time.

    Raises, in all methods:
        LedgerError: the ledger can't be read or written.
        DamagedLedgerError: the ledger is damaged; it is not changed.
    """

    def __init__(self, state: StateDir, busy_ms: int = _BUSY_MS) -> None:
        """Open the ledger of a state folder, and create it if it doesn't exist.

        Args:
            busy_ms: the time for which a method waits while another process writes.

        Raises:
            OtherLedgerError: another version wrote the ledger, so it is not changed.
        """
        self.path = state.ledger
        with self._explained():
            state.make()
            kind = type_of(os.fsencode(state))
            if kind in NETWORK_TYPES:
                raise LedgerError(
                    f"the state folder {state} lies on a network filesystem ({kind}), where the ledger "
                    "would be damaged sooner or later",
                    advice="Name a --state folder on a disk of this machine.",
                )
            # Created here and not by SQLite, which would let other users read it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(self.path, isolation_level=None)
            try:
                self._begin(busy_ms)
            except BaseException:
                self._database.close()
                raise

    def _begin(self, busy_ms: int) -> None:
        database = self._database
        database.execute(f"PRAGMA busy_timeout = {busy_ms}")
        database.execute("PRAGMA journal_mode = WAL")
        # The times of notifications must survive a power cut: they are stored nowhere else.
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA cache_size = -32768")
        if not self._version():
            database.execute("BEGIN IMMEDIATE")
            # Another process may have made it.
            if not self._version():
                for statement in _statements(SCHEMA):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            database.execute("COMMIT")
        if self._version() != FORMAT:
            raise OtherLedgerError(f"{self.path} was written by another version of hashscan")

    def _version(self) -> int:
        return int(self._database.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make all changes in the block or none of them; other processes can't write meanwhile."""
        with self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read one snapshot of the database in the block."""
        with self._explained():
            self._database.execute("BEGIN")
            try:
                yield self._database
            finally:
                self._database.execute("ROLLBACK")

    def rows(self, query: str, *parameters: object) -> Iterator[Any]:
        """Yield the rows of a query."""
        with self._explained():
            # No `yield from`: if the caller stops early, it closes the cursor when the database may be closed
            # already.
            for row in self._database.execute(query, parameters):  # noqa: UP028
                yield row

    def one(self, query: str, *parameters: object) -> Any:
        """Return the first row of a query; None if there is none."""
        with self._explained():
            return self._database.execute(query, parameters).fetchone()

    def add_function(self, name: str, arguments: int, function: Any) -> None:
        """Add a deterministic function for use in queries."""
        self._database.create_function(name, arguments, function, deterministic=True)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if means_damage(error):
                raise DamagedLedgerError(f"the ledger {self.path} is damaged: {error}") from error
            raise LedgerError(f"can't use the ledger {self.path}: {error}") from error
        except OSError as error:
            raise LedgerError(f"can't use the ledger {self.path}: {error.strerror or error}") from error


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one; executed together they would end a transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


_COMPLETIONS_MAX = 100
_COMPLETION_TIMEOUT = 0.2
"""Timeout in seconds; a user who presses a key does not wait longer."""


def waiting_cases(state: StateDir) -> list[tuple[int, str, str]]:
    """Return the oldest open cases.

    The ledger is not created, updated or waited for. If it can't be read, the result is empty.

    Returns:
        For each case its number, its customer and its categories.
    """
    address = f"file:{quote(os.fsencode(state.ledger))}?mode=ro"
    query = (
        "SELECT id, customer, categories FROM cases WHERE removed IS NULL AND closed IS NULL "
        "ORDER BY found, id LIMIT ?"
    )
    try:
        with closing(sqlite3.connect(address, timeout=_COMPLETION_TIMEOUT, uri=True)) as database:
            return [
                (int(n), str(who), str(what)) for n, who, what in database.execute(query, (_COMPLETIONS_MAX,))
            ]
    except sqlite3.Error:
        return []
