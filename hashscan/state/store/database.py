"""Open or create the database of the state, or set it aside where it is damaged."""

from __future__ import annotations

import os
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import UnionType
from typing import Any

from hashscan.errors import OutputError
from hashscan.state.store.columns import DamagedColumnError
from hashscan.state.store.filesystems import NETWORK_TYPES, type_of
from hashscan.state_dir import StateDir

FORMAT = 1
"""Version of the format; raised whenever another hashscan could misunderstand what is stored."""
FILE = "state.sqlite"
MARK = "damaged"
_BUSY_MS = 30_000
_PAGES_IN_MEMORY = -32_768  # SQLite counts negative cache sizes in KiB
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE filesystems (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE TABLE profiles (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE heads (id INTEGER PRIMARY KEY, heads BLOB NOT NULL UNIQUE);
-- Columns: number of valid rows, and number of rows that are known to be on the disk.
CREATE TABLE columns (name TEXT PRIMARY KEY, rows INTEGER NOT NULL, synced INTEGER NOT NULL) WITHOUT ROWID;
-- Contents by the first eight bytes of their SHA-256, as a signed number, up to the row `indexed`.
CREATE TABLE contents (prefix INTEGER, content INTEGER, PRIMARY KEY (prefix, content)) WITHOUT ROWID;
-- Folders with stored files, one row for each filesystem; a shard is '' or INDEX/COUNT.
CREATE TABLE folders (
  id INTEGER PRIMARY KEY, path BLOB NOT NULL, shard TEXT NOT NULL, filesystem INTEGER NOT NULL,
  listing BLOB NOT NULL,
  UNIQUE (path, shard, filesystem)
);
-- Files of a folder that were read since its listing was written.
CREATE TABLE pieces (id INTEGER PRIMARY KEY, folder INTEGER NOT NULL, listing BLOB NOT NULL);
CREATE INDEX pieces_folder ON pieces (folder);
-- The last complete check of a folder: scan and turn of the scope, and time in seconds since 1970.
CREATE TABLE seen (
  folder INTEGER PRIMARY KEY, scope INTEGER NOT NULL, scan INTEGER NOT NULL, turn INTEGER NOT NULL,
  at INTEGER NOT NULL
);
-- Objects as they were listed when they were read, and the scan and scope that listed them last.
CREATE TABLE objects (
  store INTEGER, key BLOB, version TEXT, etag TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
  content INTEGER NOT NULL, scope INTEGER NOT NULL, scan INTEGER NOT NULL, PRIMARY KEY (store, key, version)
) WITHOUT ROWID;
CREATE INDEX objects_content ON objects (content);
-- Folders whose contents are not all in places yet.
CREATE TABLE unplaced (folder INTEGER PRIMARY KEY);
CREATE TABLE places (content INTEGER, folder INTEGER, PRIMARY KEY (content, folder)) WITHOUT ROWID;
-- What is in containers that were opened; see `store.members`.
CREATE TABLE members (content INTEGER PRIMARY KEY, members BLOB NOT NULL);
CREATE TABLE hits (content INTEGER PRIMARY KEY);
-- Contents that were lost in a power failure before they were on the disk.
CREATE TABLE lost (content INTEGER PRIMARY KEY);
-- Number of contents that were compared with the entries of a part of a list, from the first on.
CREATE TABLE matched (part TEXT PRIMARY KEY, contents INTEGER NOT NULL) WITHOUT ROWID;
-- Matching services: contents that were asked about, and when, in hours since 1970; see `queries.answers`.
CREATE TABLE asked (
  id INTEGER PRIMARY KEY, service TEXT NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
  hour INTEGER NOT NULL
);
-- The entries that a service has named for a content, as JSON.
CREATE TABLE answers (
  service TEXT, content INTEGER, answer TEXT NOT NULL, PRIMARY KEY (service, content)
) WITHOUT ROWID;
-- Scopes: a target with its shard and its exclusions.
CREATE TABLE scopes (
  id INTEGER PRIMARY KEY, target BLOB NOT NULL, shard TEXT NOT NULL, options TEXT NOT NULL,
  turn INTEGER NOT NULL, scan INTEGER NOT NULL, files INTEGER, UNIQUE (target, shard, options)
);
-- Folders beneath a target that a scan did not reach before it ended; the next scan begins with them.
CREATE TABLE left_over (
  scope INTEGER, place INTEGER, folder BLOB NOT NULL, PRIMARY KEY (scope, place)
) WITHOUT ROWID;
-- Scans: settings and outcome; targets, lists and verdicts as in reports.
CREATE TABLE scans (
  id INTEGER PRIMARY KEY, started INTEGER NOT NULL, ended INTEGER, exit_code INTEGER,
  uuid TEXT NOT NULL DEFAULT '', known INTEGER NOT NULL DEFAULT 0, shard TEXT NOT NULL DEFAULT '',
  targets TEXT NOT NULL DEFAULT '[]', lists TEXT NOT NULL DEFAULT '[]', verdicts TEXT NOT NULL DEFAULT '{}',
  incomplete TEXT NOT NULL DEFAULT '[]', files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
  reasons TEXT NOT NULL DEFAULT '{}'
);
-- Findings, also ended ones. scan: the scan that reported it last. gone: since when the file is gone or
-- harmless; ending: which of these. A file that is found again is a new finding. touched: the scan that
-- changed the row last. endpoint: of the service that holds an object; empty for the provider's own.
CREATE TABLE findings (
  id INTEGER PRIMARY KEY,
  path BLOB NOT NULL, version TEXT NOT NULL, content INTEGER, verdict TEXT NOT NULL, because TEXT NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, scan INTEGER NOT NULL, gone INTEGER,
  touched INTEGER NOT NULL DEFAULT 0, ending TEXT NOT NULL DEFAULT '',
  matches TEXT NOT NULL DEFAULT '[]', customer TEXT NOT NULL DEFAULT '', sha256 BLOB, uid INTEGER,
  device INTEGER, inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, etag TEXT NOT NULL DEFAULT '',
  endpoint TEXT NOT NULL DEFAULT '', breaker TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX findings_standing ON findings (path, version, endpoint) WHERE gone IS NULL;
CREATE INDEX findings_path ON findings (path, version);
CREATE INDEX findings_touched ON findings (touched);
"""

_TYPES: Mapping[str, type | UnionType] = {"INTEGER": int, "TEXT": str, "BLOB": bytes}


def _tables() -> Iterator[tuple[str, dict[str, type | UnionType]]]:
    """Yield each table of the schema with the types of the values in its columns."""
    schema = re.sub("--.*", "", _SCHEMA)
    for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\)(?: WITHOUT ROWID)?;", schema, re.DOTALL):
        columns: dict[str, type | UnionType] = {}
        key = "".join(re.findall(r"PRIMARY KEY \((.*?)\)", body)).split(", ")
        for definition in re.sub(r"(PRIMARY KEY|UNIQUE) \(.*?\)", "", body).split(","):
            name, _, rest = definition.strip().partition(" ")
            kind = _TYPES.get(rest.partition(" ")[0], int | str)
            if name:
                columns[name] = kind if name in key or " " in rest or not rest else kind | None
        yield table, columns


TABLES = dict(_tables())
"""Type of the values in each column; SQLite itself does not check it."""
_KINDS: dict[str, type | UnionType] = {}
"""Type of the values by column name alone."""
for _columns in TABLES.values():
    for _column, _kind in _columns.items():
        _KINDS[_column] = _KINDS.get(_column, _kind) | _kind


class OtherStateError(OutputError):
    """A state that another version of hashscan has written."""

    advice = "Use that version, or another --state folder."


def open_database(state: StateDir) -> tuple[sqlite3.Connection, Path, str]:
    """Open the state in a folder, whose lock the caller holds; create it if there is none.

    Returns:
        The database, the folder with the columns, and a message if a damaged state was set aside, else an
        empty one.

    Raises:
        OtherStateError: another version has written it, so it must not be changed.
        OutputError: it can't be read or written, or is on a network filesystem.
    """
    kind = type_of(os.fsencode(state))
    if kind in NETWORK_TYPES:
        raise OutputError(
            f"the state folder {state} lies on a network filesystem ({kind}), where the state "
            "of scans would be damaged sooner or later",
            advice="Name a --state folder on a disk of this machine.",
        )
    folder, remark = state.scans, ""
    try:
        if (folder / MARK).exists():
            remark = _set_aside(folder, "it was found damaged by the last scan")
        try:
            return _open(folder), folder, remark
        except (sqlite3.DatabaseError, DamagedColumnError, ValueError) as error:
            if isinstance(error, sqlite3.OperationalError) and not means_damage(error):
                raise
            remark = _set_aside(folder, str(error))
            return _open(folder), folder, remark
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"can't use the state of scans in {folder}: {error}") from error


def _open(folder: Path) -> sqlite3.Connection:
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / FILE
    # Created here and not by SQLite, whose files others may read.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA page_size = 8192")
        database.execute("PRAGMA journal_mode = WAL")
        # Each commit survives a crash of this process. What a power cut may destroy is read again.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA cache_size = {_PAGES_IN_MEMORY}")
        if not _has_tables(database, path):
            database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        database.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (str(uuid.uuid4()),))
        database.row_factory = checked_row
        database.execute("SELECT count(*) FROM columns").fetchone()
    except BaseException:
        database.close()
        raise
    return database


def _has_tables(database: sqlite3.Connection, path: Path) -> bool:
    """Return False if nothing was stored yet.

    Raises:
        OtherStateError: another version has written it.
    """
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found not in {0, FORMAT}:
        raise OtherStateError(f"{path} was written by another version of hashscan")
    return bool(found)


def open_snapshot(folder: Path) -> tuple[sqlite3.Connection, bool]:
    """Open a read-only view of the database at this moment; return it, and False if it has no tables yet.

    Raises:
        OtherStateError: another version has written it.
    """
    name = (folder / FILE).absolute().as_uri()
    database = sqlite3.connect(f"{name}?mode=ro", uri=True, isolation_level=None)
    with closed_on_failure(database):
        database.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        database.execute("BEGIN")
        return database, _has_tables(database, folder / FILE)


def checked_row(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row unchanged, if its values have the types that hashscan writes."""
    for value, (column, *_) in zip(row, cursor.description, strict=True):
        if not isinstance(value, _KINDS.get(column, object)):
            raise ValueError(f"column {column!r} has a value of the wrong type")
    return row


def means_damage(error: sqlite3.Error) -> bool:
    """Return True if the data itself is damaged, rather than the disk full or a permission missing."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


def _set_aside(folder: Path, why: str) -> str:
    aside = folder.with_name(
        f"{folder.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    )
    folder.rename(aside)
    return f"the state of earlier scans can't be used ({why}) and is kept as {aside}; all is read again"


@contextmanager
def closed_on_failure(database: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


@contextmanager
def errors_explained(folder: Path) -> Iterator[None]:
    """Turn errors of the state, while it is in use, into one that ends the command."""
    try:
        yield
    except (sqlite3.DatabaseError, DamagedColumnError, ValueError) as error:
        if not isinstance(error, sqlite3.Error) or means_damage(error):
            with suppress(OSError):
                (folder / MARK).touch(mode=0o600)
            raise OutputError(
                f"the state of scans in {folder} is damaged: {error}",
                advice="Scan again: it is set aside then, and everything is read again.",
            ) from error
        raise OutputError(f"can't write the state of scans in {folder}: {error}") from error
    except OSError as error:
        raise OutputError(f"can't write the state of scans in {folder}: {error.strerror}") from error
