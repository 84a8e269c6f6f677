"""Find the files and objects that have a content, or had it when a scan last met them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, NamedTuple

from hashscan.sources.base import full_path
from hashscan.sources.filesystem.safe_open import stat_absolute
from hashscan.state.findings.findings import Place
from hashscan.state.store.listings import Listing, from_bytes, joined, wrapped
from hashscan.state.store.reading import StateReader

Presence = Literal["there", "changed", "gone", "unknown"]
"""Today's state of a path: the same file, another one, nothing, or not known."""


@dataclass(frozen=True, slots=True)
class KnownFinding:
    """A finding as the last scan that met it recorded it."""

    verdict: str
    because: str
    first: int
    """Time of the first detection, in seconds since 1970, as the other times."""
    last: int
    gone: int | None
    """Time since when the file is gone or harmless."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file or an object in the state."""

    path: bytes
    content: int
    identity: tuple[int, int, int, int] | None
    """Inode, size, mtime and ctime, cut to 64 signed bits; None where only a finding is left of it. Inode and
    ctime of an object are 0."""
    seen: int | None
    """Time when a scan last checked its whole folder, or last met the object, in seconds since 1970."""
    finding: KnownFinding | None = None
    version: str = ""
    etag: str = ""
    endpoint: str = ""
    """URL of the service that holds an object; empty for the provider's own, and for files."""

    @property
    def place(self) -> Place:
        return Place(self.path, self.version, self.endpoint)

    @property
    def presence(self) -> Presence:
        """Today's state of its path."""
        if not self.path.startswith(b"/"):
            return "unknown"
        try:
            found = stat_absolute(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return "gone"
        except (OSError, ValueError):
            return "unknown"
        if self.identity is None:
            return "unknown"
        today = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        return "there" if tuple(map(wrapped, today)) == self.identity else "changed"


class ListedFolder(NamedTuple):
    """The files of a folder, as scans have listed them."""

    names: frozenset[bytes]
    seen: int | None
    """Time when a scan last checked the whole folder, in seconds since 1970; None if none has."""
    filesystems: frozenset[bytes]
    """Names of the filesystems on which the files were."""


_FINDING = "SELECT path, version, endpoint, content, verdict, because, first, last, gone FROM findings"
_FINDING_KINDS = (bytes, str, str, int | None, str, str, int, int, int | None)
_OBJECT = (
    "SELECT name, key, version, etag, size, mtime, content, coalesce(ended, started) FROM objects "
    "JOIN filesystems ON filesystems.id=store LEFT JOIN scans ON scans.id=scan"
)
_OBJECT_KINDS = (bytes, bytes, str, str, int, int, int, int | None)


class KnownFiles:
    """The files and objects in one snapshot of the state.

    Raises, in all methods:
        ValueError: the state is damaged.
    """

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._unplaced: dict[int, frozenset[int]] | None = None
        self._pieces: frozenset[int] | None = None

    def having(self, contents: Sequence[int]) -> Iterator[KnownFile]:
        """Yield files by folder, then objects with these contents, then their findings without a file."""
        wanted = frozenset(contents)
        left = {key: (content, found) for key, content, found in self._findings() if content in wanted}
        query = "SELECT path, id FROM folders WHERE id=?"
        paths = [
            row for folder in self._folders(wanted) for row in self._reader.rows(query, (bytes, int), folder)
        ]
        known = [
            file
            for path, number in sorted(paths)
            for file in self._of_folder(number, path, self._listing(number), self._seen(number), wanted)
        ]
        for content in sorted(wanted):
            known += map(_object, self._reader.rows(f"{_OBJECT} WHERE content=?", _OBJECT_KINDS, content))
        for file in known:
            left.pop(file.place, None)
            found = self._finding(file)
            yield file if found is None else replace(file, finding=found)
        for place, (content, finding) in sorted(left.items()):
            assert content is not None
            yield KnownFile(place.path, content, None, None, finding, place.version, endpoint=place.endpoint)

    def listed(self, folder: bytes) -> ListedFolder:
        """Return what scans have listed in a folder."""
        names, times, filesystems = set[bytes](), list[int](), set[bytes]()
        query = (
            "SELECT folders.id, name FROM folders JOIN filesystems ON filesystems.id=filesystem WHERE path=?"
        )
        for number, filesystem in self._reader.rows(query, (int, bytes), folder):
            seen, listing = self._seen(number), self._listing(number)
            if seen is not None and len(listing):
                names.update(listing.names.split(b"/"))
                times.append(seen)
                filesystems.add(filesystem)
        return ListedFolder(frozenset(names), min(times, default=None), frozenset(filesystems))

    def object_seen(self, url: bytes) -> int | None:
        """Return when a scan last met an object, in any version; None if none has met it."""
        times: list[int] = []
        for store, name in self._reader.rows("SELECT id, name FROM filesystems", (int, bytes)):
            start = full_path(name.partition(b"\n")[0], b"", b"x")[:-1]
            if url.startswith(start):
                rows = self._reader.rows(
                    f"{_OBJECT} WHERE store=? AND key=?", _OBJECT_KINDS, store, url.removeprefix(start)
                )
                times += [seen for *_, seen in rows if seen is not None]
        return max(times, default=None)

    def all(self) -> Iterator[KnownFile]:
        """Yield every file in the state, folder by folder, then every object."""
        findings = {key: found for key, _, found in self._findings()}
        for file in chain(self._all_files(), self._all_objects()):
            found = findings.get(file.place)
            yield file if found is None else replace(file, finding=found)

    def _all_files(self) -> Iterator[KnownFile]:
        query = "SELECT id, path, listing, at FROM folders LEFT JOIN seen ON folder=id ORDER BY path"
        for number, path, blob, seen in self._reader.rows(query, (int, bytes, bytes, int | None)):
            listing = self._listing(number) if self._in_pieces(number) else from_bytes(blob)
            yield from self._of_folder(number, path, listing, seen)

    def _all_objects(self) -> Iterator[KnownFile]:
        yield from map(_object, self._reader.rows(f"{_OBJECT} ORDER BY store, key, version", _OBJECT_KINDS))

    def _in_pieces(self, folder: int) -> bool:
        if self._pieces is None:
            found = self._reader.rows("SELECT DISTINCT folder FROM pieces", (int,))
            self._pieces = frozenset(number for (number,) in found)
        return folder in self._pieces

    def _folders(self, wanted: frozenset[int]) -> set[int]:
        found: set[int] = set()
        for content in wanted:
            rows = self._reader.rows("SELECT folder FROM places WHERE content=?", (int,), content)
            found.update(folder for (folder,) in rows)
        if self._unplaced is None:
            # Several folders are added to `places` at a time; until then their listings must be searched.
            unplaced = list(self._reader.rows("SELECT folder FROM unplaced", (int,)))
            self._unplaced = {
                folder: frozenset(self._listing(folder).contents.tolist()) for (folder,) in unplaced
            }
        found.update(folder for folder, contents in self._unplaced.items() if contents & wanted)
        return found

    def _listing(self, folder: int) -> Listing:
        """Return everything that is stored of a folder; files that were read later come last."""
        parts: list[Listing] = []
        for query in (
            "SELECT listing FROM folders WHERE id=?",
            "SELECT listing FROM pieces WHERE folder=? ORDER BY id",
        ):
            parts.extend(from_bytes(blob) for (blob,) in self._reader.rows(query, (bytes,), folder))
        return joined([part for part in parts if len(part)])

    def _seen(self, folder: int) -> int | None:
        for (at,) in self._reader.rows("SELECT at FROM seen WHERE folder=?", (int,), folder):
            return int(at)
        return None

    def _of_folder(
        self,
        folder: int,
        path: bytes,
        listing: Listing,
        seen: int | None,
        wanted: frozenset[int] | None = None,
    ) -> Iterator[KnownFile]:
        if not len(listing):
            return
        names = listing.names.split(b"/")
        contents, identities = listing.contents.tolist(), listing.identities.T.tolist()
        places: Iterable[int] = range(len(names))
        if self._in_pieces(folder):
            # Of several entries with one name, the last is the latest.
            places = {name: place for place, name in enumerate(names)}.values()
        start = path if path.endswith(b"/") else path + b"/"
        for place in places:
            if wanted is not None and contents[place] not in wanted:
                continue
            inode, size, mtime, ctime = identities[place]
            yield KnownFile(start + names[place], contents[place], (inode, size, mtime, ctime), seen)

    def _finding(self, file: KnownFile) -> KnownFinding | None:
        query = f"{_FINDING} WHERE path=? AND version=? AND endpoint=? ORDER BY id DESC LIMIT 1"
        for row in self._reader.rows(query, _FINDING_KINDS, *file.place):
            return KnownFinding(*row[4:])
        return None

    def _findings(self) -> Iterator[tuple[Place, int | None, KnownFinding]]:
        # Of several findings of one file, the last is the latest.
        for row in self._reader.rows(f"{_FINDING} ORDER BY id", _FINDING_KINDS):
            yield Place(*row[:3]), row[3], KnownFinding(*row[4:])


def _object(row: tuple[Any, ...]) -> KnownFile:
    name, key, version, etag, size, mtime, content, seen = row
    container, _, endpoint = name.partition(b"\n")
    url = full_path(container, b"", key)
    return KnownFile(url, content, (0, size, mtime, 0), seen, None, version, etag, endpoint.decode())
