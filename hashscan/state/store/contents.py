"""Store the contents that were read, each with everything its verdict is derived from."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.container_kinds import is_opened
from hashscan.hashing.formats import FORMATS
from hashscan.lists.store import ListStore
from hashscan.locking import ClosedOnExit
from hashscan.matching.evaluation import FileTask, store_reply, take_undecodable
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ContainerKind, FileStat, Item, StoredContentData
from hashscan.state.store.columns import AppendedColumn
from hashscan.state.store.database import closed_on_failure, errors_explained, open_database
from hashscan.state.store.packing import NO_REPLY, Packed
from hashscan.state.store.profile import Profile, profile_of
from hashscan.state.store.stored_contents import (
    ABOUT_ROW,
    COLUMN_DIGESTS,
    DTYPES,
    FURTHER,
    NONE,
    NOTHING,
    Content,
    StoredContents,
    checksum_of,
    columns_folder,
    prefix_of,
)
from hashscan.state_dir import StateDir

LOW, ODD, CONFIRMED, LACKING, LIMITED = 1, 2, 4, 8, 16
"""Flags of a content. LOW: its picture's PDQ quality is too low to be matched. ODD: it was not checked in
full, for a stated reason. CONFIRMED: a fresh decoder has confirmed what is kept. LACKING: it is of a format
that an extra would decode. LIMITED: a decoder reached one of its limits or died of it, which other limits or
libraries may change.
"""

OPAQUE, HIT, STALE = 32, 64, 128
"""Additional flags in `attention`. OPAQUE: its kept data is lost, or has another meaning today. HIT: it came
near to an entry. STALE: it must be read again.
"""

QUIET = LOW | CONFIRMED
"""A content with no flag besides these has nothing to report."""

_BLOCK = 1 << 20
_LATEST_MAX = 10_000
_HEADS_MAX = 20_000
"""Maximum number of heads that are shared; pictures with others store them beside their other data."""

NOWHERE = Item(b"", FileStat(0, 0, 0, 0, 0, 0, 0))
"""Placeholder for the file of a content."""


def file_task_of(content: Content, item: Item) -> FileTask:
    """Return a file of this content, before it is matched with lists."""
    checked = FileTask(item, kind=content.kind, exact=content.exact)
    if reply := content.reply:
        # The reply was validated before it was stored, but is validated again: it was on a disk meanwhile.
        store_reply(checked, reply, content.profile.picture_names)
    elif content.kind is not None and content.kind.pillow is None:
        take_undecodable(checked)
    checked.confirmed = bool(content.flags & CONFIRMED)
    return checked


class Contents(StoredContents):
    """All contents of a state, for its only writer."""

    def __init__(self, database: sqlite3.Connection, folder: Path, wanted: Profile) -> None:
        """Open the columns."""
        found = database.execute("SELECT name, rows, synced FROM columns")
        rows = {name: (committed, synced) for name, committed, synced in found}
        beside = columns_folder(database, folder)
        columns = {
            name: AppendedColumn(beside / name, dtype, *rows.get(name, (0, 0)))
            for name, dtype in DTYPES.items()
        }
        self.wanted = wanted
        """The profile by which the scan would digest contents."""
        text = wanted.to_text()
        database.execute("INSERT OR IGNORE INTO profiles (text) VALUES (?)", (text,))
        super().__init__(database, columns)
        numbers = [i for i, profile in self.profiles.items() if profile.to_text() == text]
        if not numbers:
            raise ValueError("the database doesn't find what it has of profiles")
        self._profile = numbers[0]
        self._heads: dict[bytes, int] = {h: i for i, h in database.execute("SELECT id, heads FROM heads")}
        indexed = database.execute("SELECT value FROM meta WHERE key='indexed'").fetchone()
        self._waiting: dict[int, list[int]] = {}
        """Rows by the prefix of their SHA-256, for rows that are not in the database yet."""
        for start in range(0 if indexed is None else max(0, int(indexed[0])), self.rows, _BLOCK):
            for place, value in enumerate(self.columns["sha256"].read(start, _BLOCK)):
                self._waiting.setdefault(prefix_of(bytes(value)), []).append(start + place)
        self._latest: dict[StoredContentData, int] = {}
        """Rows of recent contents, since many equal files may follow each other."""
        self._appended: dict[int, tuple[StoredContentData, int, int]] = {}
        """Those of them that were appended: data, flags and time by row."""
        if self.rows > NONE:
            raise ValueError(f"there can't be {self.rows} contents")
        self._attention = np.zeros(max(1024, self.rows), np.uint8)
        self._opened = np.zeros(len(self._attention), bool)
        self._compute_attention()

    @property
    def attention(self) -> NDArray[np.uint8]:
        """All flags of each content, shape (rows,); a view that is valid until the next `add`."""
        return self._attention[: self.rows]

    def attention_of(self, contents: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the attention flags of some contents."""
        if contents.size and not 0 <= int(contents.min()) <= int(contents.max()) < self.rows:
            raise ValueError("something has a content that isn't there")
        return self._attention[contents]

    def were_opened(self, contents: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some contents are containers whose members are stored."""
        return self._opened[contents]

    def load(self, row: int) -> Content:
        """Return one content; a recent one is not read, as services are asked about each new content."""
        if row not in self._appended:
            return super().load(row)
        kept, flags, since = self._appended[row]
        exact = dict(zip(self.wanted.exact_names, kept.exact, strict=True))
        kind = FORMATS[kept.kind] if kept.kind >= 0 else None
        packed = None if kept.packed is None else Packed(*kept.packed)
        return Content(row, exact, kind, packed, self.profiles[self._profile], flags, since)

    def is_whole(self, row: int) -> bool:
        """Return False if a power cut has destroyed a content."""
        try:
            self.load(row)
        except ValueError:
            if self.attention[row] & STALE:
                return False
            raise
        return True

    def decoded(self, name: str) -> int:
        """Return the number of contents that are pictures of a format and were decoded in full."""
        kinds = [place for place, known in enumerate(FORMATS) if known.name == name]
        number = 0
        for start in range(0, self.rows, _BLOCK):
            about = self.columns["about"].read(start, min(_BLOCK, self.rows - start))
            number += int(np.count_nonzero(np.isin(about["kind"], kinds) & ((about["flags"] & ODD) == 0)))
        return number

    def sha256(self, row: int) -> bytes | None:
        """Return the digest of a content; None where a power cut has destroyed it."""
        return bytes(self.columns["sha256"].read(row, 1)[0]) if self.is_whole(row) else None

    def _compute_attention(self) -> None:
        """Set the attention flags of all contents, which say how far each can be used."""
        serves = np.zeros(1 << 16, bool)
        serves_pictures, same_extras, meant = serves.copy(), serves.copy(), serves.copy()
        same_limits, opens_more, samples_more = serves.copy(), serves.copy(), serves.copy()
        recognises = serves.copy()
        for number, by in self.profiles.items():
            if not 0 <= number < len(serves):
                raise ValueError(f"there is a profile {number}")
            serves[number] = by.serves(self.wanted)
            serves_pictures[number] = by.serves_pictures(self.wanted)
            recognises[number] = by.recognises == self.wanted.recognises
            same_extras[number] = by.extras == self.wanted.extras
            same_limits[number] = by.limits == self.wanted.limits
            opens_more[number] = self.wanted.opens not in {"", by.opens}
            samples_more[number] = self.wanted.videos not in {"", by.videos}
            meant[number] = by.means_the_same(self.wanted)
        openable = [
            place
            for place, known in enumerate(FORMATS)
            if known.pillow is not None or is_opened(known, tuple(ContainerKind))
        ]
        pictures = [place for place, known in enumerate(FORMATS) if not known.container]
        rows = [row for (row,) in self._database.execute("SELECT content FROM members")]
        self._opened[[row for row in rows if 0 <= row < self.rows]] = True
        for start in range(0, self.rows, _BLOCK):
            about = self.columns["about"].read(start, _BLOCK)
            profile, flags = about["profile"], about["flags"]
            good = np.where(about["kind"] >= 0, serves_pictures[profile], serves[profile])
            good &= same_extras[profile] | ((flags & LACKING) == 0)
            good &= same_limits[profile] | ((flags & LIMITED) == 0)
            opened = self._opened[start : start + len(about)]
            # Behind a picture may be what the recogniser tells.
            good &= recognises[profile] | (np.isin(about["kind"], pictures) & ~opened)
            # It may be a container that was not opened, and can be now.
            unopened = ((flags & ODD) != 0) & ~opened & np.isin(about["kind"], openable)
            good &= ~(opens_more[profile] & unopened)
            # There may be a video in any container.
            good &= ~(samples_more[profile] & opened)
            apart = np.where(good, 0, STALE) | np.where(meant[profile], 0, OPAQUE)
            self._attention[start : start + len(about)] = flags | apart.astype(np.uint8)
        for table in ("hits", "lost", "members", "objects", "findings"):
            query = f"SELECT min(content), max(content) FROM {table}"  # noqa: S608 - our own names
            for named in self._database.execute(query).fetchone():
                if named is not None and not (isinstance(named, int) and 0 <= named < self.rows):
                    raise ValueError(f"{table} names content {named!r} of {self.rows}")
        for table, flag in (("hits", HIT), ("lost", OPAQUE | STALE)):
            rows = [row for (row,) in self._database.execute(f"SELECT content FROM {table}")]  # noqa: S608
            self._attention[rows] |= flag

    def recover(self) -> int:
        """Find the contents that a power cut has destroyed, which are read again; return their number."""
        row = self._database.execute("SELECT synced FROM columns WHERE name='about'").fetchone()
        lost = []
        for number in range(row[0] if row else 0, self.rows):
            try:
                self.load(number)
            except ValueError:
                lost.append(number)
        self._database.executemany("INSERT OR IGNORE INTO lost VALUES (?)", [(number,) for number in lost])
        self._attention[lost] |= OPAQUE | STALE
        return len(lost)

    def add(self, kept: StoredContentData, flags: int, now: int) -> int:
        """Store the result of reading a file at `now` (s), unless an equal content exists; return its row."""
        exact = dict(zip(self.wanted.exact_names, kept.exact, strict=True))
        if kept.confirmed:
            flags |= CONFIRMED
        known_row = self._latest.get(kept)
        if known_row is not None:
            return known_row
        row = self._add(kept, exact, flags, now)
        if len(self._latest) >= _LATEST_MAX:
            self._latest.clear()
            self._appended.clear()
        self._latest[kept] = row
        return row

    def _add(self, kept: StoredContentData, exact: dict[str, bytes], flags: int, now: int) -> int:
        for row in self.find(exact["sha256"]):
            if self.attention[row] & STALE:
                continue
            known = self.load(row)
            if (
                known.exact.items() >= exact.items()
                and known.packed == kept.packed
                and (known.flags & CONFIRMED or not kept.confirmed)
                and kept.members in {None, self.members_record(row)}
            ):
                return row
        row = self.rows
        further = self._add_further(kept, exact, row)
        fields = self._profile, flags, kept.kind, max(0, min(now, NONE)), further
        crc = checksum_of(fields, exact)
        self.columns["about"].append(ABOUT_ROW.pack(*fields, crc))
        for name in COLUMN_DIGESTS:
            self.columns[name].append(exact[name])
        self._waiting.setdefault(prefix_of(exact["sha256"]), []).append(row)
        if row >= len(self._attention):
            self._attention = np.concatenate((self._attention, np.zeros(len(self._attention), np.uint8)))
            self._opened = np.concatenate((self._opened, np.zeros(len(self._opened), bool)))
        self._attention[row] = flags
        if kept.members is not None:
            self._database.execute("INSERT INTO members VALUES (?, ?)", (row, kept.members))
            self._opened[row] = True
        self._appended[row] = kept, flags, fields[3]
        return row

    def hit(self, row: int) -> None:
        """Record that a content came near to an entry of a list."""
        if not self._attention[row] & HIT:
            self._database.execute("INSERT OR IGNORE INTO hits VALUES (?)", (row,))
            self._attention[row] |= HIT

    def find(self, sha256: bytes) -> list[int]:
        prefix = prefix_of(sha256)
        found = self._database.execute("SELECT content FROM contents WHERE prefix=?", (prefix,))
        rows = [row for (row,) in found.fetchall()] + self._waiting.get(prefix, [])
        return [row for row in rows if bytes(self.columns["sha256"].read(row, 1)[0]) == sha256]

    def _add_further(self, kept: StoredContentData, exact: dict[str, bytes], row: int) -> int:
        """Store the data that has no column of its own; return its offset."""
        others = b"".join(
            bytes((len(name),)) + name.encode("ascii") + bytes((len(value),)) + value
            for name, value in exact.items()
            if name not in COLUMN_DIGESTS
        )
        if kept.packed is None and not others:
            return NOTHING
        first, heads, rest = kept.packed or NO_REPLY
        picture, known, elsewhere = NONE, NONE, b""
        if first and self.wanted.picture_names[heads[7]] == "pdq" and not any(heads[:6]) and heads[10] & 1:
            picture = self.columns["pdq"].rows
            self.columns["pdq"].append(first)
            self.columns["pictures"].append(row.to_bytes(4, "little"))
            elsewhere, first = first, b""
        if heads:
            known = self._known_heads(heads)
        at = self.columns["further"].rows
        beside = heads if known == NONE else b""
        record = FURTHER.pack(picture, known, len(first) + (len(beside) << 8), len(rest), len(others))
        body = first + beside + rest + others
        crc = zlib.crc32(elsewhere, zlib.crc32(body))
        self.columns["further"].append(record + body + crc.to_bytes(4, "little"))
        return int(at)

    def _known_heads(self, heads: bytes) -> int:
        number = self._heads.get(heads)
        if number is None:
            if len(self._heads) >= _HEADS_MAX:
                return NONE
            cursor = self._database.execute("INSERT INTO heads (heads) VALUES (?)", (heads,))
            assert cursor.lastrowid is not None
            number = self._heads[heads] = cursor.lastrowid
        return number

    def commit(self) -> None:
        """Write all rows to the operating system, and store their numbers in the open transaction."""
        for column in self.columns.values():
            column.flush()
        self._database.executemany(
            "INSERT INTO columns VALUES (?, ?, 0) ON CONFLICT (name) DO UPDATE SET rows=excluded.rows",
            [(name, column.rows) for name, column in self.columns.items()],
        )

    def sync(self) -> None:
        """Sync all rows to the disk, and index them and store their numbers in the open transaction."""
        # All at once and in order: one by one, each would change another page.
        self._database.executemany(
            "INSERT OR IGNORE INTO contents VALUES (?, ?)",
            [(prefix, row) for prefix in sorted(self._waiting) for row in self._waiting[prefix]],
        )
        self._waiting.clear()
        self._database.execute("INSERT OR REPLACE INTO meta VALUES ('indexed', ?)", (self.rows,))
        for column in self.columns.values():
            column.sync()
        self.commit()
        self._database.execute("UPDATE columns SET synced=rows")

    def close(self) -> None:
        for column in self.columns.values():
            column.close()


class WritableState(ClosedOnExit):
    """The state, opened by its only writer, with a transaction that has begun.

    Raises, in all methods:
        OutputError: the state can't be read or written, or is found damaged.
    """

    def __init__(self, state: StateDir, setup: WorkerSetup, notify: Callable[[str], None]) -> None:
        """Open the state folder, whose lock the caller holds."""
        self._database, self._folder, remark = open_database(state)
        if remark:
            notify(remark)
        with closed_on_failure(self._database), errors_explained(self._folder):
            self._database.execute("BEGIN IMMEDIATE")
            _forget_removed_services(self._database, state)
            self._contents = Contents(self._database, self._folder, profile_of(setup))

    def close(self) -> None:
        """Close the state; what was not committed is lost."""
        self._contents.close()
        if self._database.in_transaction:
            self._database.rollback()
        self._database.close()


def _forget_removed_services(database: sqlite3.Connection, state: StateDir) -> None:
    """Delete the answers of matching services that are no list of this machine any more."""
    identities = {key.partition(" ")[0] for (key,) in database.execute("SELECT DISTINCT service FROM asked")}
    identities |= {
        key.partition(" ")[0] for (key,) in database.execute("SELECT DISTINCT service FROM answers")
    }
    if not identities:
        return
    store = ListStore(state.lists)
    for name in store.names():
        try:
            identities.discard(store.folder(name).identity.read_text("ascii"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            # It can't be said whose answers these are.
            return
    for identity in identities:
        for table in ("asked", "answers"):
            database.execute(f"DELETE FROM {table} WHERE service LIKE ?", (f"{identity} %",))  # noqa: S608
        database.execute("DELETE FROM meta WHERE key LIKE ?", (f"service {identity} %",))
        database.execute("DELETE FROM meta WHERE key=?", (f"taken {identity}",))
