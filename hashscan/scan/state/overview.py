"""What a state holds, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hashscan.scan.state.listings import from_bytes
from hashscan.scan.state.reading import StateReader


@dataclass(slots=True)
class FilesystemCounts:
    """Of one filesystem."""

    name: bytes
    folders: int = 0
    files: int = 0
    bytes: int = 0
    """All their sizes together."""


@dataclass(frozen=True, slots=True)
class TargetCounts:
    """Of one target, as it was swept with one shard and one choice of what is left out."""

    target: bytes
    shard: str
    files: int | None
    """How many the last complete sweep met; None where there was none."""
    complete: int | None
    """When that ended, in seconds since 1970."""


@dataclass(slots=True)
class Overview:
    """All of it."""

    contents: int
    pictures: int
    findings: int
    """Those that stand."""
    gone: int
    """Findings whose files are gone."""
    last_begun: int | None
    """When the last sweep began, in seconds since 1970."""
    filesystems: list[FilesystemCounts] = field(default_factory=list)
    targets: list[TargetCounts] = field(default_factory=list)

    @property
    def files(self) -> int:
        """On all filesystems together."""
        return sum(each.files for each in self.filesystems)


def overview_of(reader: StateReader) -> Overview:
    """Count what is remembered; a file that was read again since its folder was, counts twice until it is."""
    database = reader.database
    (findings, gone) = database.execute("SELECT count(*) - count(gone), count(gone) FROM findings").fetchone()
    (begun,) = database.execute("SELECT max(started) FROM sweeps").fetchone()
    found = Overview(reader.contents.rows, reader.columns["pdq"].rows, findings, gone, begun)
    counts = {
        number: FilesystemCounts(bytes(name))
        for number, name in database.execute("SELECT id, name FROM filesystems ORDER BY name")
    }
    for filesystem, listing in database.execute("SELECT filesystem, listing FROM folders"):
        counts[filesystem].folders += 1
        _add(counts[filesystem], listing)
    pieces = "SELECT filesystem, pieces.listing FROM pieces JOIN folders ON folder=folders.id"
    for filesystem, listing in database.execute(pieces):
        _add(counts[filesystem], listing)
    found.filesystems = [each for each in counts.values() if each.folders]
    found.targets = [
        TargetCounts(bytes(target), shard, files, ended)
        for target, shard, files, ended in database.execute(
            "SELECT target, shard, files, (SELECT max(ended) FROM sweeps WHERE sweeps.id=scopes.sweep) "
            "FROM scopes ORDER BY target, shard, id"
        )
    ]
    return found


def _add(counts: FilesystemCounts, blob: bytes) -> None:
    listing = from_bytes(blob)
    counts.files += len(listing)
    counts.bytes += int(np.maximum(listing.identities[1], 0).sum())
