"""Cache the result of the last comparison with the hash lists, valid until the log or a list changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hashscan.lists.durable import output_errors, replace_file
from hashscan.lists.layout import ListFolder
from hashscan.quarantine.log_checkpoint import EMPTY_CHECKPOINT, read_checkpoint
from hashscan.quarantine.store import folder_of

_FILE = "compared.json"


def active_version(state: Path, name: str) -> str | None:
    """Return the name of a list's active version; None if there is none."""
    with output_errors(f"the list {name!r} can't be read"):
        active = ListFolder(state / "lists" / name).active()
    return None if active is None else active.name


def write_cache(state: Path, marks: Mapping[str, str | None], withdrawn: tuple[str, ...]) -> None:
    """Write the result of a comparison beside the log, with the log size and list versions it is valid for.

    The file is only a cache; the log holds the data.
    """
    folder = folder_of(state)
    with output_errors("the quarantine can't be written"):
        size = (folder / "log.jsonl").stat().st_size
        document = {"log": size, "lists": marks, "withdrawn": withdrawn}
        replace_file(folder / _FILE, json.dumps(document).encode())


def cached_withdrawn(state: Path) -> tuple[str, ...] | None:
    """Return the cached ids of withdrawn items; None if the log or a list has changed since.

    Raises:
        OutputError: the log or a list can't be read.
    """
    folder = folder_of(state)
    with output_errors("the quarantine can't be read"):
        try:
            size = (folder / "log.jsonl").stat().st_size
        except FileNotFoundError:
            # If the log was lost, the next process that opens the quarantine will detect that.
            return () if (read_checkpoint(state) or EMPTY_CHECKPOINT) == EMPTY_CHECKPOINT else None
        document = _read(folder)
    if document.get("log") != size:
        return None
    if any(active_version(state, name) != mark for name, mark in document["lists"].items()):
        return None
    return tuple(document["withdrawn"])


def last_known(state: Path) -> tuple[str, ...]:
    """Return the last cached ids of withdrawn items, whatever has changed since."""
    try:
        return tuple(_read(folder_of(state)).get("withdrawn", ()))
    except OSError:
        return ()


def _read(folder: Path) -> dict[str, Any]:
    """Return the content of the cache file; empty if it is missing or malformed: it can be made again."""
    try:
        document = json.loads((folder / _FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    sound = (
        isinstance(document, dict)
        and isinstance(document.get("lists"), dict)
        and isinstance(document.get("withdrawn"), list)
        and all(isinstance(name, str) for name in document["withdrawn"])
    )
    return document if sound else {}
