"""Warn of items that stay in quarantine although all their list entries were withdrawn, from a cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashscan.errors import LockedError, OutputError
from hashscan.lists.storage.atomic_files import output_errors, replace_file
from hashscan.lists.storage.layout import ListFolder
from hashscan.quarantine.log_checkpoint import EMPTY_CHECKPOINT, read_checkpoint
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir
from hashscan.text import plural

_CACHE_FILE = "compared.json"


def active_version(state: StateDir, name: str) -> str | None:
    """Return the name of a list's active version; None if there is none."""
    with output_errors(f"the list {name!r} can't be read"):
        active = ListFolder(state.lists / name).active()
    return None if active is None else active.name


def write_cache(state: StateDir, marks: Mapping[str, str | None], withdrawn: tuple[str, ...]) -> None:
    """Write the result of a comparison beside the log, with the log size and list versions it is valid for.

    The file is only a cache; the log holds the data.
    """
    folder = state.quarantine
    with output_errors("the quarantine can't be written"):
        size = (folder / "log.jsonl").stat().st_size
        document = {"log": size, "lists": marks, "withdrawn": withdrawn}
        replace_file(folder / _CACHE_FILE, json.dumps(document).encode())


def cached_withdrawn(state: StateDir) -> tuple[str, ...] | None:
    """Return the cached ids of withdrawn items; None if the log or a list has changed since.

    Raises:
        OutputError: the log or a list can't be read.
    """
    folder = state.quarantine
    with output_errors("the quarantine can't be read"):
        try:
            size = (folder / "log.jsonl").stat().st_size
        except FileNotFoundError:
            # If the log was lost, the next process that opens the quarantine will detect that.
            return () if (read_checkpoint(state) or EMPTY_CHECKPOINT) == EMPTY_CHECKPOINT else None
        document = _read_cache(folder)
    if document.get("log") != size:
        return None
    if any(active_version(state, name) != mark for name, mark in document["lists"].items()):
        return None
    return tuple(document["withdrawn"])


def last_known(state: StateDir) -> tuple[str, ...]:
    """Return the last cached ids of withdrawn items, whatever has changed since."""
    try:
        return tuple(_read_cache(state.quarantine).get("withdrawn", ()))
    except OSError:
        return ()


def _read_cache(folder: Path) -> dict[str, Any]:
    """Return the content of the cache file; empty if it is missing or malformed: it can be made again."""
    try:
        document = json.loads((folder / _CACHE_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    sound = (
        isinstance(document, dict)
        and isinstance(document.get("lists"), dict)
        and isinstance(document.get("withdrawn"), list)
        and all(isinstance(name, str) for name in document["withdrawn"])
    )
    return document if sound else {}


_NAMED = 10
"""Number of items that an alert names; `quarantine list` shows all."""


@dataclass(frozen=True, slots=True)
class WithdrawnItems:
    """An alert about withdrawn items, given after each change of lists and by each scan."""

    items: tuple[str, ...]
    """Ids of the items that no list entry supports any more."""
    trouble: str = ""
    """Error message if the ids may be out of date."""

    @property
    def words(self) -> tuple[str, ...]:
        """Lines of the alert."""
        lines = []
        if self.trouble:
            lines.append(
                f"WARNING: the items in quarantine could not be compared with the lists: {self.trouble}; "
                "the next scan, pull or quarantine command tries again"
            )
        if self.items:
            names = ", ".join(self.items[:_NAMED])
            more = f" and {len(self.items) - _NAMED} more" if len(self.items) > _NAMED else ""
            lines.append(
                f"WARNING: {plural(len(self.items), 'item')} in quarantine: no entry matches any more, "
                "because the "
                f"entries were withdrawn: {names}{more}; see `hashscan quarantine list --withdrawn`, restore "
                "with `hashscan quarantine restore --withdrawn`"
            )
        return tuple(lines)


def withdrawn_items(state: StateDir, quarantine: Quarantine | None = None) -> WithdrawnItems:
    """Return the items that are withdrawn by the current lists; use the cache if nothing has changed.

    Errors are reported in the alert and not raised, so that pulling lists, scanning and restoring don't fail
    because of them.

    Args:
        state: the state folder.
        quarantine: its quarantine, if this process has it open.
    """
    try:
        found = cached_withdrawn(state)
        if found is not None:
            return WithdrawnItems(found)
        # Lists need numpy, which only this comparison uses.
        from hashscan.quarantine.withdrawal_check import find_withdrawn

        if quarantine is not None:
            return WithdrawnItems(find_withdrawn(quarantine))
        with Quarantine(state) as opened:
            return WithdrawnItems(find_withdrawn(opened))
    except (LockedError, OutputError) as error:
        return WithdrawnItems(last_known(state), str(error))
