"""Count what a state holds: contents, files, objects, findings, targets, and answers of matching services."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hashscan.state.store.listings import from_bytes
from hashscan.state.store.reading import NoStateError, StateReader
from hashscan.state_dir import StateDir

if TYPE_CHECKING:
    from hashscan.lists.services.settings import StoredService


@dataclass(slots=True)
class FilesystemCounts:
    """The counts of one filesystem."""

    name: bytes
    folders: int = 0
    files: int = 0
    bytes: int = 0
    """Sum of their sizes."""


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """The counts of one container of objects."""

    container: bytes
    endpoint: str
    """URL of the service; empty for the provider's own."""
    objects: int
    bytes: int
    """Sum of their sizes."""


@dataclass(frozen=True, slots=True)
class TargetCounts:
    """The counts of one target, as it was scanned with one shard and one set of exclusions."""

    target: bytes
    shard: str
    files: int | None
    """Number that the last complete scan met; None if there was none."""
    complete: int | None
    """Time when that scan ended, in seconds since 1970."""


@dataclass(slots=True)
class Overview:
    """The counts of a whole state."""

    contents: int
    pictures: int
    findings: int
    gone: int
    last_begun: int | None
    """Time when the last scan began, in seconds since 1970."""
    filesystems: list[FilesystemCounts] = field(default_factory=list)
    stores: list[StoreCounts] = field(default_factory=list)
    targets: list[TargetCounts] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Number of files on all filesystems."""
        return sum(each.files for each in self.filesystems)

    @property
    def objects(self) -> int:
        """Number of objects in all containers."""
        return sum(each.objects for each in self.stores)


def overview_of(reader: StateReader) -> Overview:
    """Count what the state holds.

    A file that was read again after its folder was stored counts twice until the folder is stored again.

    Raises:
        ValueError: the state is damaged.
    """
    rows = reader.rows
    ((findings, gone),) = rows("SELECT count(*) - count(gone), count(gone) FROM findings", (int, int))
    ((begun,),) = rows("SELECT max(started) FROM scans", (int | None,))
    found = Overview(reader.contents.rows, reader.columns["pdq"].rows, findings, gone, begun)
    counts = {
        number: FilesystemCounts(name)
        for number, name in rows("SELECT id, name FROM filesystems ORDER BY name", (int, bytes))
    }
    for query, folders in (
        ("SELECT filesystem, listing FROM folders", 1),
        ("SELECT filesystem, pieces.listing FROM pieces JOIN folders ON folder=folders.id", 0),
    ):
        for filesystem, listing in rows(query, (int, bytes)):
            if filesystem not in counts:
                raise ValueError("a folder is on a filesystem that isn't there")
            counts[filesystem].folders += folders
            _add(counts[filesystem], listing)
    found.filesystems = [each for each in counts.values() if each.folders]
    query = (
        "SELECT name, count(*), sum(max(size, 0)) FROM objects JOIN filesystems ON id=store "
        "GROUP BY store ORDER BY name"
    )
    for name, number, size in rows(query, (bytes, int, int)):
        container, _, endpoint = name.partition(b"\n")
        found.stores.append(StoreCounts(container, endpoint.decode(errors="replace"), number, size))
    query = (
        "SELECT target, shard, files, (SELECT max(ended) FROM scans WHERE scans.id=scopes.scan) "
        "FROM scopes ORDER BY target, shard, id"
    )
    found.targets = [TargetCounts(*row) for row in rows(query, (bytes, str, int | None, int | None))]
    return found


def _add(counts: FilesystemCounts, blob: bytes) -> None:
    listing = from_bytes(blob)
    counts.files += len(listing)
    counts.bytes += int(np.maximum(listing.identities[1], 0).sum())


class ServiceProgress(NamedTuple):
    """The progress of one service."""

    contents: int
    """Contents in the state."""
    answered: int
    """Those that have an answer, however old."""
    hours: float | None
    """Time that the others take at the rate of the last scan; None where that is not known."""
    refused: tuple[str, ...]
    """Algorithms that the service should take, and did not take in the last scan."""


def taken_before(database: sqlite3.Connection, service: StoredService) -> frozenset[str]:
    key = f"taken {service.identity}"
    row = database.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return frozenset() if row is None else frozenset(json.loads(row[0]))


def remember_taken(database: sqlite3.Connection, service: StoredService, algorithms: Collection[str]) -> None:
    row = f"taken {service.identity}", json.dumps(sorted(algorithms))
    database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)


def algorithms_taken(state: StateDir, services: Sequence[StoredService]) -> dict[str, frozenset[str]]:
    """Return the algorithms that services have ever taken, by identity; nothing before the first scan.

    Raises:
        OutputError: the state is damaged or can't be read.
    """
    try:
        with StateReader(state) as reader:
            return {service.identity: taken_before(reader.database, service) for service in services}
    except NoStateError:
        return {}


def progress_of(state: StateDir, service: StoredService) -> ServiceProgress | None:
    """Return how far a service has answered; None before the first scan.

    Raises:
        OutputError: the state is damaged or can't be read.
    """
    try:
        with StateReader(state) as reader:
            rows = reader.contents.rows
            answered = np.zeros(rows, bool)
            mine = f"{service.identity} %"
            ranges = reader.database.execute("SELECT first, count FROM asked WHERE service LIKE ?", (mine,))
            for first, count in ranges:
                answered[first : first + count] = True
            found = reader.database.execute(
                "SELECT value FROM meta WHERE key LIKE ?", (f"service {mine}",)
            ).fetchone()
            known = {} if found is None else json.loads(found[0])
            rate = known.get("rate")
            refused: tuple[str, ...] = ()
            if "algorithms" in known:
                refused = service.refused(known["algorithms"], taken_before(reader.database, service))
    except NoStateError:
        return None
    done = int(np.count_nonzero(answered))
    return ServiceProgress(rows, done, (rows - done) / rate / 3600 if rate else None, refused)


class NamedEntry(NamedTuple):
    """An entry that a service has named in an answer."""

    algorithm: str
    category: str


def entry_named_by(state: StateDir, service: StoredService, entry_id: str) -> NamedEntry | None:
    """Return an entry of a matching service, as a stored answer names it; None if none does.

    Raises:
        OutputError: the state is damaged or can't be read.
    """
    try:
        with StateReader(state) as reader:
            mine = (f"{service.identity} %",)
            for (answer,) in reader.database.execute("SELECT answer FROM answers WHERE service LIKE ?", mine):
                for algorithm, _, _, entry, category, _ in json.loads(answer):
                    if entry == entry_id:
                        return NamedEntry(algorithm, category)
    except NoStateError:
        pass
    return None
