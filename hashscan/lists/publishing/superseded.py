"""Removes published files that no version names any more, once no pull can still need them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hashscan.lists.durable import replace_file, sync_folder
from hashscan.lists.repository import METADATA, TARGETS

SUPERSEDED_NAME = "superseded.json"
KEPT_FOR = timedelta(days=2)
"""Time for which a file stays after the newest version ceased to name it; a longer pull must start again."""
_SCHEMA = 1
_TIME = "%Y-%m-%dT%H:%M:%S%z"
_ROOT = re.compile(r"\d+\.root\.json", re.ASCII)


def prune(
    work: Path, repository: Path, metadata: Collection[str], targets: Collection[str], now: datetime
) -> None:
    """Remove files that have not been named for `KEPT_FOR`; the caller holds the lock.

    The time at which each file ceased to be named is stored in the working folder. For a file of unknown age
    the time starts now.

    Args:
        work: the working folder.
        repository: the published folder.
        metadata: names of the metadata files of the newest version; roots stay in any case.
        targets: names of its files in the folder of targets.
        now: UTC.

    Raises:
        OSError: a folder can't be read or written.
    """
    unnamed = {f"{METADATA}/{name}" for name in _names(repository / METADATA) if not _ROOT.fullmatch(name)}
    unnamed |= {f"{TARGETS}/{name}" for name in _names(repository / TARGETS)}
    unnamed -= {f"{METADATA}/{name}" for name in metadata} | {f"{TARGETS}/{name}" for name in targets}
    known = _read(work / SUPERSEDED_NAME)
    since = {name: known.get(name, now) for name in sorted(unnamed)}
    expired = [name for name, ceased in since.items() if now - ceased >= KEPT_FOR]
    for name in expired:
        (repository / name).unlink()
        del since[name]
    if expired:
        sync_folder(repository / METADATA)
        sync_folder(repository / TARGETS)
    if since != known:
        document = {
            "schema": _SCHEMA,
            "since": {name: ceased.strftime(_TIME) for name, ceased in since.items()},
        }
        replace_file(work / SUPERSEDED_NAME, json.dumps(document, indent=1).encode("ascii") + b"\n")


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def _read(path: Path) -> dict[str, datetime]:
    """Read the time since when each file is not named; empty if unreadable, which only keeps files longer."""
    try:
        document: Any = json.loads(path.read_bytes())
        if document["schema"] != _SCHEMA:
            return {}
        return {str(name): datetime.strptime(time, _TIME) for name, time in document["since"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}
