"""Records of list versions: checksums and counts found on activation, so that opening need not read all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import xxhash

from hashscan.lists.columns import ColumnError
from hashscan.lists.durable import replace_file
from hashscan.model import CATEGORIES

RECORD_NAME = "checksums.json"
_SCHEMA = 1
_CHUNK = 1 << 20


class VerificationLevel(Enum):
    """The thoroughness of comparing a stored list's contents; signatures and manifest are always verified."""

    SIZES = "sizes"
    """Lengths and headers: for a single lookup."""
    CHECKSUMS = "checksums"
    """The recorded checksums: against decay, before a scan."""
    SIGNED = "signed"
    """The signed hashes and the meaning of every row: when a version is activated, and on request."""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """The record of one file of a version."""

    sum: str
    """xxh3_128 of the file."""
    content: str = ""
    """For a joined column, a fingerprint of its rows: see `JoinedColumn.content`."""


EntryCounts = dict[str, dict[str, int]]
"""Number of active entries by algorithm and category; categories without entries are left out."""


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """The files and counts of a version, as recorded on activation."""

    files: dict[str, RecordedFile]
    """Files by name."""
    counts: EntryCounts

    def check(self, name: str, path: Path) -> None:
        """Compare a file with its recorded checksum.

        Raises:
            ColumnError: the file has changed, or is not recorded.
            OSError: the file can't be read.
        """
        recorded = self.files.get(name)
        if recorded is None or recorded.sum != checksum(path):
            raise ColumnError(f"{name} has changed")


def write_record(folder: Path, record: VersionRecord) -> None:
    """Write the record of a version into its folder.

    Raises:
        OSError: the record can't be written.
    """
    files = {name: {"sum": file.sum, "content": file.content} for name, file in record.files.items()}
    document = {"schema": _SCHEMA, "files": files, "counts": record.counts}
    replace_file(folder / RECORD_NAME, json.dumps(document, indent=1).encode("ascii"))


def read_record(folder: Path) -> VersionRecord:
    """Read the record of a version.

    Raises:
        ColumnError: the file is not a valid record.
        OSError: the file can't be read.
    """
    try:
        document = json.loads((folder / RECORD_NAME).read_bytes())
    except ValueError as error:
        raise ColumnError(f"{RECORD_NAME} is not JSON") from error
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise ColumnError(f"{RECORD_NAME} is no record that this program can read")
    try:
        files = {
            str(name): RecordedFile(str(file["sum"]), str(file["content"]))
            for name, file in document["files"].items()
        }
        counts = {
            str(algorithm): {str(category): int(count) for category, count in of_algorithm.items()}
            for algorithm, of_algorithm in document["counts"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ColumnError(f"{RECORD_NAME} lacks files or counts") from error
    return VersionRecord(files, counts)


def counts_of_info(counts: EntryCounts) -> tuple[tuple[str, str, int], ...]:
    """Return the counts as `ListInfo` holds them: sorted by algorithm, then in the order of `CATEGORIES`."""
    return tuple(
        (algorithm, category, counts[algorithm][category])
        for algorithm in sorted(counts)
        for category in CATEGORIES
        if counts[algorithm].get(category)
    )


def checksum(path: Path) -> str:
    """Return the xxh3_128 of a file, which guards against decay, not against attackers.

    Raises:
        OSError: the file can't be read.
    """
    running = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            running.update(chunk)
    return str(running.hexdigest())
