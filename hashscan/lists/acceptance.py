"""Keep what a person has accepted of a list, and which of its entries are newer than that.

A list, hub or service can be wrong or hostile, so that few files are moved because of it before a person has
accepted it (`matching.list_limits`). An acceptance holds for what was accepted: the trusted root of a signed
list, the address and the key's file of a service. It lies in the list's folder, and goes with it.

Entries that come after the acceptance are recorded, with the day on which they came, until the next one. An
entry with another digest or category is one that came, whatever its id.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import weakref
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from hashscan.atomic_files import PRIVATE_FILE, replace_file
from hashscan.errors import HashscanError
from hashscan.lists.storage.layout import DEMO, ListFolder
from hashscan.lists.storage.local_list import read_exchange_source
from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.lists.storage.video_frames import parse_id
from hashscan.model import STAY_DOWN_LIST
from hashscan.schema import Count, Text, Time, decode_file, decode_json, encode_file, encode_json

WINDOW = timedelta(days=30)
"""Time for which an entry is new, and after which files that were moved count no more."""
ADDED_MAX = 1_000_000
"""Most entries that are recorded one by one; with more of them, all entries of the list are new."""
OWN_LISTS = frozenset({DEMO, STAY_DOWN_LIST})
"""Lists that need no acceptance: the one that comes with the program, and that of confirmed contents."""

_DAY = 86_400
_ALL = "*"
"""Algorithm and id of the row that stands for all entries."""


class Acceptance(Struct, frozen=True):
    """A person's word that a list may move files."""

    source: Text
    """The source that was accepted; see `source_of`."""
    time: Time
    by: Text
    files: Count
    """Files that the list matched then, and those that were moved because of it in the `WINDOW` before."""


def source_of(folder: ListFolder) -> str:
    """Return 64 hex digits that tell the origin of a list from any other; empty if it can't be read."""
    known: list[object] = []
    try:
        if folder.source.exists():
            known = ["signed", hashlib.sha256(folder.root.read_bytes()).hexdigest()]
        elif folder.service.exists():
            # Not as settings of a service: scans without one don't load what TLS needs.
            service = decode_json(folder.service.read_bytes())
            known += [service.get(key) for key in ("url", "adapter", "key_file", "ca_file")]
        elif (exchange := read_exchange_source(folder)) is not None:
            known = ["exchange", exchange.exchange, exchange.environment, exchange.credentials]
        else:
            known = ["local"]
        identity = folder.identity.read_text("ascii") if folder.identity.exists() else ""
    except (AttributeError, HashscanError, OSError, ValueError):
        return ""
    return hashlib.sha256(encode_json([*known, identity])).hexdigest()


def read_acceptance(folder: ListFolder, source: str) -> Acceptance | None:
    """Return the acceptance of a list with this source; None if it was not accepted, or another was.

    One in the future is none: the clock was set back, so that later moves would not count as later.
    """
    try:
        found = decode_file(folder.accepted.read_bytes(), Acceptance)
        is_past = datetime.fromisoformat(found.time) <= datetime.now(UTC)
    except (OSError, TypeError, ValueError):
        return None
    return found if is_past and source and found.source == source else None


def accept(folder: ListFolder, by: str, files: int) -> Acceptance:
    """Store the acceptance of a list as it is now; the caller holds the list's lock.

    Raises:
        OSError: the list's folder can't be written.
    """
    # Before: what is left of the record is of no use without an acceptance.
    folder.accepted.unlink(missing_ok=True)
    folder.added.with_name(f"{folder.added.name}-journal").unlink(missing_ok=True)
    folder.added.unlink(missing_ok=True)
    record_added(folder, ())
    accepted = Acceptance(source_of(folder), datetime.now(UTC).isoformat(), by, files)
    replace_file(folder.accepted, encode_file(accepted))
    return accepted


def record_added(folder: ListFolder, entries: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Record entries, ids by algorithm, that come with the version that is about to be activated."""
    today = int(time.time()) // _DAY
    try:
        os.close(os.open(folder.added, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE))
        with closing(sqlite3.connect(folder.added)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS added (algorithm TEXT, entry TEXT, day INTEGER, "
                "PRIMARY KEY (algorithm, entry)) WITHOUT ROWID"
            )
            (number,) = database.execute("SELECT count(*) FROM added").fetchone()
            for algorithm, ids in entries:
                rows = [(algorithm, _whole(algorithm, name), today) for name in ids]
                number += len(rows)
                if number > ADDED_MAX:
                    database.execute("DELETE FROM added")
                    database.execute("INSERT INTO added VALUES (?, ?, ?)", (_ALL, _ALL, today))
                    return
                database.executemany("INSERT OR REPLACE INTO added VALUES (?, ?, ?)", rows)
    except sqlite3.Error as error:
        raise OSError(f"{folder.added}: {error}") from error


def _whole(algorithm: str, name: str) -> str:
    """Return the id of the video that a frame belongs to, as matches name it; other ids as they are."""
    frame = parse_id(name) if algorithm == VPDQ else None
    return name if frame is None else frame.video


class NewEntries:
    """The entries of a list that came lately."""

    def __init__(self, path: Path, *, ever: bool) -> None:
        """Open the record of a list; without one, or with a damaged one, all entries are new.

        Args:
            ever: True if entries stay new until the list is accepted again.
        """
        self._database: sqlite3.Connection | None = None
        self._oldest = 0 if ever else int(time.time()) // _DAY - WINDOW.days
        try:
            self._database = sqlite3.connect(path.as_uri() + "?mode=ro", uri=True)
            weakref.finalize(self, self._database.close)
            self._all = self._has(_ALL, _ALL)
        except sqlite3.Error:
            self._all = True

    def __contains__(self, entry: tuple[str, str]) -> bool:
        """Return True if an entry, given by algorithm and id, is new, or if that can't be known."""
        if self._all or self._database is None:
            return self._all
        try:
            return self._has(*entry)
        except sqlite3.Error:
            return True

    def _has(self, algorithm: str, name: str) -> bool:
        assert self._database is not None
        query = "SELECT 1 FROM added WHERE algorithm=? AND entry=? AND day>=?"
        return self._database.execute(query, (algorithm, name, self._oldest)).fetchone() is not None
