"""Which files have a content, or had it when a sweep last came by."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hashscan.scan.state.listings import Listing, from_bytes, joined, wrapped
from hashscan.scan.state.reading import StateReader

THERE, CHANGED, GONE, UNKNOWN = "there", "changed", "gone", "unknown"
"""What is under a file's name today: the same, something else, nothing; or that can't be told."""


@dataclass(frozen=True, slots=True)
class KnownFinding:
    """What the last sweep that came by a finding said of it."""

    verdict: str
    because: str
    first: int
    """When it was found first, in seconds since 1970; likewise the others."""
    last: int
    gone: int | None
    """Since when it is gone."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file that is remembered."""

    path: bytes
    content: int
    identity: tuple[int, int, int, int] | None
    """Inode, size, mtime and ctime, cut to 64 signed bits; None where only a finding is left of it."""
    seen: int | None
    """When a sweep last checked its whole folder, in seconds since 1970."""
    finding: KnownFinding | None = None

    @property
    def presence(self) -> str:
        """What is under its name today."""
        if self.identity is None:
            return GONE
        if not self.path.startswith(b"/"):
            return UNKNOWN
        try:
            found = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return GONE
        except (OSError, ValueError):
            return UNKNOWN
        today = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        return THERE if tuple(map(wrapped, today)) == self.identity else CHANGED


class KnownFiles:
    """Those of one moment of the state."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._database = reader.database
        self._unplaced: dict[int, frozenset[int]] | None = None

    def having(self, contents: Sequence[int]) -> Iterator[KnownFile]:
        """The files with these contents, folder by folder, then findings of which nothing else is left.

        Raises:
            ValueError: the state is damaged.
        """
        wanted = frozenset(contents)
        met: set[bytes] = set()
        folders = self._folders(wanted)
        findings = self._findings(wanted)
        query = "SELECT path, id FROM folders WHERE id=?"
        paths = (row for folder in folders for row in self._database.execute(query, (folder,)))
        for path, number in sorted(paths):
            for file in self._of_folder(number, path, wanted):
                if file.path in findings:
                    met.add(file.path)
                yield file
        for path, (content, found) in sorted(findings.items()):
            if path not in met:
                yield KnownFile(path, content, None, None, found)

    def all(self) -> Iterator[KnownFile]:
        """Every file that is remembered, folder by folder.

        Raises:
            ValueError: the state is damaged.
        """
        for number, path in self._database.execute("SELECT id, path FROM folders ORDER BY path"):
            yield from self._of_folder(number, bytes(path), None)

    def _folders(self, wanted: frozenset[int]) -> set[int]:
        found: set[int] = set()
        for content in wanted:
            rows = self._database.execute("SELECT folder FROM places WHERE content=?", (content,))
            found.update(folder for (folder,) in rows)
        if self._unplaced is None:
            # They are put in places several at a time; until then somebody has to look.
            unplaced = self._database.execute("SELECT folder FROM unplaced").fetchall()
            self._unplaced = {
                folder: frozenset(self.listing(folder).contents.tolist()) for (folder,) in unplaced
            }
        found.update(folder for folder, contents in self._unplaced.items() if contents & wanted)
        return found

    def listing(self, folder: int) -> Listing:
        """All that is kept of a folder, what was read later behind."""
        parts: list[Listing] = []
        for query in (
            "SELECT listing FROM folders WHERE id=?",
            "SELECT listing FROM pieces WHERE folder=? ORDER BY id",
        ):
            parts.extend(from_bytes(blob) for (blob,) in self._database.execute(query, (folder,)))
        return joined(parts)

    def _of_folder(self, folder: int, path: bytes, wanted: Collection[int] | None) -> Iterator[KnownFile]:
        listing = self.listing(folder)
        if wanted is not None and not np.isin(listing.contents, list(wanted)).any():
            return
        row = self._database.execute("SELECT at FROM seen WHERE folder=?", (folder,)).fetchone()
        seen = None if row is None else int(row[0])
        # Of one name the last is the latest.
        last = {name: place for place, name in enumerate(listing.names.split(b"/") if len(listing) else ())}
        start = path if path.endswith(b"/") else path + b"/"
        for name, place in last.items():
            content = int(listing.contents[place])
            if wanted is None or content in wanted:
                inode, size, mtime, ctime = listing.identities[:, place].tolist()
                whole = start + name
                yield KnownFile(whole, content, (inode, size, mtime, ctime), seen, self._finding(whole))

    def _finding(self, path: bytes) -> KnownFinding | None:
        row = self._database.execute(
            "SELECT verdict, because, first, last, gone FROM findings WHERE path=?", (path,)
        ).fetchone()
        return None if row is None else KnownFinding(*row)

    def _findings(self, wanted: frozenset[int]) -> dict[bytes, tuple[int, KnownFinding]]:
        rows = self._database.execute(
            "SELECT path, content, verdict, because, first, last, gone FROM findings "
            "WHERE content IS NOT NULL"
        )
        return {
            bytes(path): (content, KnownFinding(*rest)) for path, content, *rest in rows if content in wanted
        }
