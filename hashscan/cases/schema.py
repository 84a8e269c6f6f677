"""The tables of the ledger.

Times are whole seconds since 1970. A case is one file, object or URL that somebody must act on, from its
first finding or notice until it is gone or the case is closed. If it comes back later, that is another case.
"""

from __future__ import annotations

FORMAT = 1
"""Version of the schema; raised whenever an older hashscan could misunderstand the stored data."""

SCHEMA = """
-- How far the ledger has followed each state and each custody log: 'state IDENTITY' (the last sweep that was
-- taken over, when it began and its name), 'log IDENTITY' (the last line, and the head of the log up to it),
-- 'part UUID' (a sweep that the report of several counts already).
CREATE TABLE followed (
  source TEXT PRIMARY KEY, number INTEGER NOT NULL, head TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- Every sweep: files and bytes are those of its report; verdicts, lists, targets and incomplete are JSON in
-- the words of reports. Ended is NULL where it was killed; known is 1 where no file was looked at. Whole: it
-- came to its end and nothing is said in incomplete.
CREATE TABLE sweeps (
  id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, known INTEGER NOT NULL, shard TEXT NOT NULL,
  started INTEGER NOT NULL, ended INTEGER, exit_code INTEGER, whole INTEGER NOT NULL,
  files INTEGER NOT NULL, bytes INTEGER NOT NULL,
  verdicts TEXT NOT NULL, lists TEXT NOT NULL, targets TEXT NOT NULL, incomplete TEXT NOT NULL
);
CREATE INDEX sweeps_started ON sweeps (started);

-- Path is NULL where none is known: a notice whose URL no rule maps, or details that were pruned. Verdict is
-- 'match', 'held', 'review', or 'notice' where only somebody else says so. Categories: words, sorted, with
-- spaces between; claimed: those that notices name. Noticed: when a notice of somebody else's came first;
-- stated: the deadline that it names. How: in which way it was removed ('gone', 'changed', 'quarantined'),
-- or 'cleared' where it is closed since no list accuses it any more. Previous: the case that the same path
-- had before. Began: since when somebody must act, where that is not when it was found: what was held or for
-- review became a match. Host: the machine on which the file lies, as a report says; empty where
-- it is this one, or an object. Equal paths on two machines are two cases.
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

-- The entries that speak against a case, of all lists that did when they were last in use; none for tests.
CREATE TABLE matches (
  id INTEGER NOT NULL, list TEXT NOT NULL, entry TEXT NOT NULL, algorithm TEXT NOT NULL,
  variant TEXT NOT NULL, category TEXT NOT NULL, distance INTEGER NOT NULL,
  PRIMARY KEY (id, list, entry, algorithm, variant)
) WITHOUT ROWID;

-- Which finding of which state is which case.
CREATE TABLE sightings (
  state TEXT NOT NULL, number INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (state, number)
) WITHOUT ROWID;

-- What happened to a case, and who did it where it was a person; nothing of it is ever changed: 'found',
-- 'noticed', 'verdict', 'cleared', 'told', 'removed', 'back', 'restored', 'closed', 'reopened', 'disputed',
-- 'checked'.
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL,
  words TEXT NOT NULL DEFAULT '', who TEXT NOT NULL DEFAULT ''
);
CREATE INDEX events_case ON events (id);
CREATE INDEX events_at ON events (at);

-- What the custody log says of things that are in quarantine, a row each line of these kinds: 'moved',
-- 'left', 'restored', 'released', 'withdrawn', 'accused'. Id is NULL where no case is known for it.
CREATE TABLE custody (
  log TEXT NOT NULL, line INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, item TEXT NOT NULL,
  path BLOB, version TEXT NOT NULL, id INTEGER, PRIMARY KEY (log, line)
) WITHOUT ROWID;
CREATE INDEX custody_at ON custody (at);
CREATE INDEX custody_item ON custody (item);
CREATE INDEX custody_case ON custody (id);
CREATE INDEX custody_loose ON custody (path) WHERE id IS NULL;

-- Notices of others, a row for each file that one is about. Notice: digest of it alone, so that it counts
-- once; digest: of it and the path, so that one that comes twice is known.
CREATE TABLE notices (
  digest BLOB PRIMARY KEY, notice BLOB NOT NULL, id INTEGER NOT NULL,
  received INTEGER NOT NULL, imported INTEGER NOT NULL,
  sender TEXT NOT NULL, reference TEXT NOT NULL, url TEXT NOT NULL, stated INTEGER
) WITHOUT ROWID;
CREATE INDEX notices_case ON notices (id);
"""
