"""What was found when a version of a list was put in use, so that later openings need not read it all."""

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


class Thoroughness(Enum):
    """How the contents of a stored list are compared; signatures and manifest always are."""

    SIZES = "sizes"
    """Lengths and headers: for a single question."""
    CHECKSUMS = "checksums"
    """The recorded checksums: against decay, before a sweep."""
    SIGNED = "signed"
    """The signed hashes and the meaning of every row: when a version is put in use, and when asked for."""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file of a version."""

    sum: str
    """Its xxh3_128."""
    content: str = ""
    """For a joined column, what tells its rows from all others: see `JoinedColumn.content`."""


Counts = dict[str, dict[str, int]]
"""Active entries by algorithm and category; categories without entries are left out."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was found."""

    files: dict[str, RecordedFile]
    """By name."""
    counts: Counts

    def check(self, name: str, path: Path) -> None:
        """Compare a file with its checksum.

        Raises:
            ColumnError: it has changed.
            OSError: it can't be read.
        """
        recorded = self.files.get(name)
        if recorded is None or recorded.sum != checksum(path):
            raise ColumnError(f"{name} has changed")


def write_record(folder: Path, record: Record) -> None:
    """Record a version in its folder.

    Raises:
        OSError: it can't be written.
    """
    files = {name: {"sum": file.sum, "content": file.content} for name, file in record.files.items()}
    document = {"schema": _SCHEMA, "files": files, "counts": record.counts}
    replace_file(folder / RECORD_NAME, json.dumps(document, indent=1).encode("ascii"))


def read_record(folder: Path) -> Record:
    """Read what was recorded of a version.

    Raises:
        ColumnError: it is no record.
        OSError: it can't be read.
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
    return Record(files, counts)


def counts_of_info(counts: Counts) -> tuple[tuple[str, str, int], ...]:
    """The counts as `ListInfo` has them: by algorithm, then in the order of the vocabulary."""
    return tuple(
        (algorithm, category, counts[algorithm][category])
        for algorithm in sorted(counts)
        for category in CATEGORIES
        if counts[algorithm].get(category)
    )


def checksum(path: Path) -> str:
    """xxh3_128 of a file: against decay, not against people.

    Raises:
        OSError: it can't be read.
    """
    running = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            running.update(chunk)
    return str(running.hexdigest())
