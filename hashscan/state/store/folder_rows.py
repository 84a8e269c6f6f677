"""Store the folders of the state, with their listings; check whether folders and files are gone."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Collection, Sequence

from hashscan.sources.base import full_path
from hashscan.sources.filesystem.ctime import is_trusted_by_option
from hashscan.sources.filesystem.safe_open import LIST_FLAGS, PASS_FLAGS, open_absolute, stat_child
from hashscan.sources.shards import shard_of
from hashscan.state.store.filesystems import kind_of, name_of
from hashscan.state.store.listings import Listing, from_bytes, joined

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def is_folder_gone(path: bytes) -> bool:
    """Return True if the folder no longer exists; one that is reached by a symlink is another folder."""
    try:
        os.close(open_absolute(path, PASS_FLAGS))
    except OSError as error:
        return error.errno in _GONE
    return False


def is_file_gone(path: bytes) -> bool:
    """Return True if the file no longer exists; one that is reached by a symlink is another file."""
    folder, name = os.path.split(path)
    try:
        descriptor = open_absolute(folder, PASS_FLAGS)
    except OSError as error:
        return error.errno in _GONE
    try:
        return not stat.S_ISREG(stat_child(descriptor, name).st_mode)
    except OSError as error:
        return error.errno in _GONE
    finally:
        os.close(descriptor)


def files_in(path: bytes) -> frozenset[bytes] | None:
    """Return the names of a folder's files, empty if it is gone; None where that can't be determined."""
    try:
        descriptor = open_absolute(path, LIST_FLAGS)
    except OSError as error:
        return frozenset() if error.errno in _GONE else None
    try:
        with os.scandir(descriptor) as entries:
            return frozenset(os.fsencode(one.name) for one in entries if one.is_file(follow_symlinks=False))
    except OSError:
        return None
    finally:
        os.close(descriptor)


class FolderRows:
    """The folder rows of one shard."""

    def __init__(self, database: sqlite3.Connection, shard: str, on_trust: Collection[str] = ()) -> None:
        """Start without known filesystems. The shard is '' or INDEX/COUNT; `on_trust` are names of filesystem
        types whose ctimes are trusted by the operator's option."""
        self._database = database
        self._on_trust = on_trust
        self._is_on_trust: dict[int, bool] = {}
        self._shard = shard
        self._filesystems: dict[int, int | None] = {}
        self._in_pieces = {row for (row,) in database.execute("SELECT DISTINCT folder FROM pieces")}
        """Folders with pieces; few, so that most folders need no lookup."""

    def filesystem(self, path: bytes, device: int) -> int | None:
        """Return the number of the filesystem that a folder's files are on; None if unknown."""
        if device not in self._filesystems:
            name = name_of(path, device)
            if name is None:
                return None
            self._database.execute("INSERT OR IGNORE INTO filesystems (name) VALUES (?)", (name,))
            found = self._database.execute("SELECT id FROM filesystems WHERE name=?", (name,)).fetchone()
            self._filesystems[device] = found[0]
        return self._filesystems[device]

    def is_on_trust(self, path: bytes, device: int) -> bool:
        """Return True if the type of the filesystem that a folder's files are on is trusted by option."""
        if not self._on_trust:
            return False
        if device not in self._is_on_trust:
            self._is_on_trust[device] = is_trusted_by_option(kind_of(path, device), self._on_trust)
        return self._is_on_trust[device]

    @property
    def filesystems(self) -> set[int]:
        return {number for number in self._filesystems.values() if number is not None}

    def find(self, path: bytes, filesystem: int) -> tuple[int | None, Listing, bool]:
        """Return the row of a folder, if there is one; its stored listing, with later pieces at the end; and
        True if that was assembled from several parts."""
        found: int | None = None
        listings: list[Listing] = []
        rows = self._database.execute(
            "SELECT id, shard, listing FROM folders WHERE path=? AND filesystem=?", (path, filesystem)
        )
        for number, shard, listing in rows.fetchall():
            # Listings that were read with another division into shards are used as well.
            if shard == self._shard:
                found = number
            listings.append(from_bytes(listing))
            if number not in self._in_pieces:
                continue
            listings.extend(self._pieces(number))
        return found, joined(listings), len(listings) > 1

    def _pieces(self, folder: int) -> list[Listing]:
        rows = self._database.execute("SELECT listing FROM pieces WHERE folder=? ORDER BY id", (folder,))
        return [from_bytes(piece) for (piece,) in rows]

    def find_or_insert(self, path: bytes, filesystem: int) -> int:
        """Return the row of a folder; insert an empty one if there is none."""
        found = self._database.execute(
            "SELECT id FROM folders WHERE path=? AND shard=? AND filesystem=?",
            (path, self._shard, filesystem),
        ).fetchone()
        if found is not None:
            return int(found[0])
        cursor = self._database.execute(
            "INSERT INTO folders (path, shard, filesystem, listing) VALUES (?, ?, ?, ?)",
            (path, self._shard, filesystem, joined([]).to_bytes()),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def add_piece(self, folder: int, listing: Listing) -> None:
        """Append files to the stored listing of a folder."""
        self._in_pieces.add(folder)
        self._database.execute("INSERT OR IGNORE INTO unplaced VALUES (?)", (folder,))
        self._database.execute(
            "INSERT INTO pieces (folder, listing) VALUES (?, ?)", (folder, listing.to_bytes())
        )

    def write(self, folder: int, listing: Listing) -> None:
        self._put(folder, listing)
        self._take_over(folder)

    def _put(self, folder: int, listing: Listing) -> None:
        self._database.execute("INSERT OR IGNORE INTO unplaced VALUES (?)", (folder,))
        self._database.execute("UPDATE folders SET listing=? WHERE id=?", (listing.to_bytes(), folder))
        self._database.execute("DELETE FROM pieces WHERE folder=?", (folder,))

    def _take_over(self, folder: int) -> None:
        """Drop what scans with another division into shards have stored of a folder's files in this shard."""
        others = self._database.execute(
            "SELECT other.id, other.path, other.shard, other.listing FROM folders AS own "
            "JOIN folders AS other ON other.path=own.path AND other.filesystem=own.filesystem "
            "AND other.id<>own.id WHERE own.id=?",
            (folder,),
        ).fetchall()
        index, _, count = self._shard.partition("/")
        for number, path, shard, stored in others:
            if count and shard.partition("/")[2] == count:
                continue
            if not count:
                self._drop([(number,)])
                continue
            kept = joined([from_bytes(stored), *self._pieces(number)])
            names = kept.names.split(b"/") if len(kept) else []
            self._put(
                number,
                kept.select(
                    [
                        place
                        for place, name in enumerate(names)
                        if shard_of(full_path(path, b"", name), int(count)) != int(index)
                    ]
                ),
            )

    def index_contents(self) -> None:
        """Update the table `places`, which says in which folders each content is."""
        pairs: set[tuple[int, int]] = set()
        for (folder,) in self._database.execute("SELECT folder FROM unplaced").fetchall():
            for query in (
                "SELECT listing FROM folders WHERE id=?",
                "SELECT listing FROM pieces WHERE folder=?",
            ):
                for (listing,) in self._database.execute(query, (folder,)):
                    pairs.update((content, folder) for content in from_bytes(listing).contents.tolist())
        # All at once and in order: one by one, each would change another page.
        self._database.executemany("INSERT OR IGNORE INTO places VALUES (?, ?)", sorted(pairs))
        self._database.execute("DELETE FROM unplaced")

    def store_checked(self, folders: list[tuple[int, int, int, int, int]]) -> None:
        """Store for each folder the scope, scan, turn and time of its check."""
        self._database.executemany(
            "INSERT INTO seen VALUES (?, ?, ?, ?, ?) ON CONFLICT (folder) DO UPDATE SET "
            "scope=excluded.scope, scan=excluded.scan, turn=excluded.turn, at=excluded.at",
            folders,
        )

    def last_turn(self, folder: int) -> tuple[int, int] | None:
        """Return the scope and turn in which a folder was checked last."""
        row = self._database.execute("SELECT scope, turn FROM seen WHERE folder=?", (folder,)).fetchone()
        return None if row is None else (row[0], row[1])

    def checked_in(self, path: bytes, scan: int) -> bool | None:
        """Return True if a scan has checked a folder to its end; None if it is gone, or was not kept."""
        kept = self._database.execute(
            "SELECT filesystem, coalesce(scan, 0) AS scan FROM folders LEFT JOIN seen ON folder=id "
            "WHERE path=?",
            (path,),
        ).fetchall()
        if any(last >= scan for _, last in kept):
            return True
        # Rows that another scope has left prove nothing, if the filesystem is there.
        return False if any(number not in self.filesystems for number, _ in kept) else None

    def delete_gone(
        self, scope: int, scan: int, beneath: Callable[[bytes], bool], *, closed: bool, everywhere: bool
    ) -> int:
        """Delete the folders of a target that its complete scan shows to be gone; return their number.
        Folders that the scan did not meet, and that its own scope checked last, are gone, unless some folders
        could not be entered (`closed`). Other folders may only be excluded now: they are looked up on the
        disk, and so are the files of this shard in them. Unless `everywhere`, those on filesystems that are
        not mounted stay."""
        rows = self._unmet(scan)
        there = self.filesystems | self._mounted(rows)
        gone = [
            (number,)
            for number, path, filesystem, last in rows
            if beneath(path)
            and (everywhere or filesystem in there)
            and ((last == scope and not closed) or is_folder_gone(path) or self._lose_files(number, path))
        ]
        self._drop(gone)
        return len(gone)

    def _lose_files(self, folder: int, path: bytes) -> bool:
        """Delete the files of a folder that are gone; return True if none of the stored ones still exists."""
        shard, stored = self._database.execute(
            "SELECT shard, listing FROM folders WHERE id=?", (folder,)
        ).fetchone()
        kept = joined([from_bytes(stored), *self._pieces(folder)])
        # Only the scan of the folder's own shard looks on the disk.
        if not len(kept) or (self._shard and shard != self._shard):
            return False
        there = files_in(path)
        if there is None:
            return False
        left = [place for place, name in enumerate(kept.names.split(b"/")) if name in there]
        if left and len(left) < len(kept):
            self._put(folder, kept.select(left))
        return not left

    def _drop(self, folders: Sequence[tuple[int]]) -> None:
        # Rows in `places` stay: a reader that follows one sees that the folder or the file is not there.
        for statement in (
            "DELETE FROM folders WHERE id=?",
            "DELETE FROM pieces WHERE folder=?",
            "DELETE FROM seen WHERE folder=?",
        ):
            self._database.executemany(statement, folders)

    def _unmet(self, scan: int) -> list[tuple[int, bytes, int, int]]:
        """Return row, path, filesystem and last scope of all folders that a scan has not checked fully."""
        query = (
            "SELECT id, path, filesystem, scope FROM seen JOIN folders ON id=folder WHERE scan<? "
            "UNION ALL SELECT id, path, filesystem, 0 FROM folders WHERE id NOT IN (SELECT folder FROM seen)"
        )
        return self._database.execute(query, (scan,)).fetchall()

    def _mounted(self, rows: Sequence[tuple[int, bytes, int, int]]) -> set[int]:
        """Return the filesystems that are mounted although a scan met no file on them."""
        paths: dict[int, set[bytes]] = {}
        for _, path, number, _ in rows:
            if number not in self.filesystems:
                known = paths.setdefault(number, set())
                # All folders of a mount lie beneath one mount point, so the first and last path suffice to
                # find it.
                paths[number] = {min({*known, path}), max({*known, path})}
        return {
            number for number, some in paths.items() if any(self._nearest(path) == number for path in some)
        }

    def _nearest(self, path: bytes) -> int | None:
        """Return the filesystem that a folder is on, or would be on if it existed."""
        while True:
            try:
                descriptor = open_absolute(path, PASS_FLAGS)
            except OSError:
                if path == os.path.dirname(path):
                    return None
                path = os.path.dirname(path)
                continue
            device = os.fstat(descriptor).st_dev
            os.close(descriptor)
            return self.filesystem(path, device)
