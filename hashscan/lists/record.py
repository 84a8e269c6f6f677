"""What was found when a version of a list was put in use, so that later openings need not read it all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import xxhash

from hashscan.lists.columns import ColumnError
from hashscan.lists.durable import replace_file

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
class Record:
    """What was found."""

    sums: dict[str, str]
    """xxh3_128 of each file by its name."""
    categories: frozenset[str]
    """The categories that occur."""

    def check(self, name: str, path: Path) -> None:
        """Compare a file with its checksum.

        Raises:
            ColumnError: it has changed.
            OSError: it can't be read.
        """
        if self.sums.get(name) != checksum(path):
            raise ColumnError(f"{name} has changed")


def write_record(folder: Path, files: Iterable[Path], categories: Iterable[str]) -> None:
    """Record a version's files and categories in its folder.

    Raises:
        OSError: it can't be written.
    """
    document = {
        "schema": _SCHEMA,
        "files": {path.name: checksum(path) for path in files},
        "categories": sorted(categories),
    }
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
    sums, categories = document.get("files"), document.get("categories")
    if not isinstance(sums, dict) or not isinstance(categories, list):
        raise ColumnError(f"{RECORD_NAME} lacks files or categories")
    return Record(
        {str(name): str(value) for name, value in sums.items()}, frozenset(str(name) for name in categories)
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
