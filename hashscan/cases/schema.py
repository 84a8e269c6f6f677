"""The tables of the ledger.

Times are whole seconds since 1970. A case is one file, object or URL that somebody must act on, from its
first finding or notice until it is gone or the case is closed. If it comes back later, that is another case.
"""

from __future__ import annotations

FORMAT = 1
"""Version of the schema; raised whenever an older hashscan could misunderstand the stored data."""

SCHEMA = """
-- Import position of each state and each quarantine log: 'state IDENTITY' (the last imported scan, its start
-- and its UUID), 'log IDENTITY' (the last line, and the head of the log up to it), 'part UUID' (the scan of
-- one shard, which a merged report counts already).
CREATE TABLE followed (
  source TEXT PRIMARY KEY, number INTEGER NOT NULL, head TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- Scans: files and bytes are as in the report; verdicts, lists, targets and incomplete are JSON, as there.
-- ended: NULL if the scan was killed. known: 1 for a rescan of cached digests. whole: 1 if the scan ended and
-- was complete.
CREATE TABLE sweeps (
  id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, known INTEGER NOT NULL, shard TEXT NOT NULL,
  started INTEGER NOT NULL, ended INTEGER, exit_code INTEGER, whole INTEGER NOT NULL,
  files INTEGER NOT NULL, bytes INTEGER NOT NULL,
  verdicts TEXT NOT NULL, lists TEXT NOT NULL, targets TEXT NOT NULL, incomplete TEXT NOT NULL
);
CREATE INDEX sweeps_started ON sweeps (started);

-- path: NULL if it is not known: no rule maps the notice's URL, or the details were pruned.
-- verdict: 'match', 'held', 'review', or 'notice' if only a notice reports the file.
-- categories: names, sorted, separated by spaces. claimed: the categories that notices name.
-- noticed: time of the first notice. stated: the deadline in the notice.
-- how: how the file was removed ('gone', 'changed', 'quarantined'), or 'cleared' if the case was closed
-- because no list matches the file any more.
-- previous: the earlier case of the same path.
-- began: start of the deadline if it is not the time of the finding: 'held' or 'review' became a match.
-- host: the machine of the file, as a report names it; empty for this machine and for objects. Equal paths on
-- two machines are two cases.
CREATE TABLE cases (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  path BLOB, version TEXT NOT NULL DEFAULT '', host TEXT NOT NULL DEFAULT '', url TEXT NOT NULL DEFAULT '',
  verdict TEXT NOT NULL, because TEXT NOT NULL DEFAULT '',
  categories TEXT NOT NULL DEFAULT '', claimed TEXT NOT NULL DEFAULT '',
  customer TEXT NOT NULL DEFAULT '', sha256 BLOB, etag TEXT NOT NULL DEFAULT '',
  uid INTEGER, device INTEGER, inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER,
  found INTEGER NOT NULL, seen INTEGER NOT NULL, began INTEGER,
  noticed INTEGER, stated INTEGER,
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
-- 'noticed', 'verdict', 'cleared', 'told', 'removed', 'back', 'restored', 'closed', 'reopened', 'disputed',
-- 'checked'.
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL,
  words TEXT NOT NULL DEFAULT '', who TEXT NOT NULL DEFAULT ''
);
CREATE INDEX events_case ON events (id);
CREATE INDEX events_at ON events (at);

-- Events of the quarantine log, one row for each line of these kinds: 'moved', 'left', 'restored',
-- 'released', 'withdrawn', 'accused'. id: NULL if no case is known.
CREATE TABLE custody (
  log TEXT NOT NULL, line INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, item TEXT NOT NULL,
  path BLOB, version TEXT NOT NULL, id INTEGER, PRIMARY KEY (log, line)
) WITHOUT ROWID;
CREATE INDEX custody_at ON custody (at);
CREATE INDEX custody_item ON custody (item);
CREATE INDEX custody_case ON custody (id);
CREATE INDEX custody_loose ON custody (path) WHERE id IS NULL;

-- Notices from others, one row for each file of a notice. notice: digest of the notice alone, so that it
-- counts once. digest: digest of the notice and the path, so that a repeated notice is recognised.
CREATE TABLE notices (
  digest BLOB PRIMARY KEY, notice BLOB NOT NULL, id INTEGER NOT NULL,
  received INTEGER NOT NULL, imported INTEGER NOT NULL,
  sender TEXT NOT NULL, reference TEXT NOT NULL, url TEXT NOT NULL, stated INTEGER
) WITHOUT ROWID;
CREATE INDEX notices_case ON notices (id);
"""
