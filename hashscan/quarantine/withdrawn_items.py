"""Warn of items that stay in quarantine although all their list entries were withdrawn, from a cache."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hashscan.atomic_files import output_errors, replace_file
from hashscan.errors import LockedError, OutputError
from hashscan.lists.storage.layout import ListFolder
from hashscan.quarantine.log_checkpoint import EMPTY_CHECKPOINT, read_checkpoint
from hashscan.quarantine.store import Quarantine
from hashscan.schema import InvalidDocumentError, decode_json, encode_json, validated
from hashscan.state_dir import StateDir
from hashscan.text import plural

_CACHE_FILE = "compared.json"


@dataclass(frozen=True)
class _Cache:
    """The result of a comparison, and the log size and list versions for which it is valid."""

    log: int
    lists: dict[str, str | None]
    withdrawn: tuple[str, ...]


def _active_version(state: StateDir, name: str) -> str | None:
    """Return the name of a list's active version; None if there is none."""
    with output_errors(f"the list {name!r} can't be read"):
        active = ListFolder(state.lists / name).active()
    return None if active is None else active.name


def _write_cache(state: StateDir, marks: dict[str, str | None], withdrawn: tuple[str, ...]) -> None:
    """Write the result of a comparison with the list versions `marks`; the data itself is in the log."""
    folder = state.quarantine
    with output_errors("the quarantine can't be written"):
        cache = _Cache((folder / "log.jsonl").stat().st_size, marks, withdrawn)
        replace_file(folder / _CACHE_FILE, encode_json(cache))


def cached_withdrawn(state: StateDir) -> tuple[str, ...] | None:
    """Return the cached ids of withdrawn items; None if the log or a list has changed since."""
    folder = state.quarantine
    with output_errors("the quarantine can't be read"):
        try:
            size = (folder / "log.jsonl").stat().st_size
        except FileNotFoundError:
            # If the log was lost, the next process that opens the quarantine will detect that.
            return () if (read_checkpoint(state) or EMPTY_CHECKPOINT) == EMPTY_CHECKPOINT else None
        cache = _read_cache(folder)
    if cache is None or cache.log != size:
        return None
    if any(_active_version(state, name) != mark for name, mark in cache.lists.items()):
        return None
    return cache.withdrawn


def last_known(state: StateDir) -> tuple[str, ...]:
    """Return the last cached ids of withdrawn items, whatever has changed since."""
    try:
        cache = _read_cache(state.quarantine)
    except OSError:
        cache = None
    return () if cache is None else cache.withdrawn


def _read_cache(folder: Path) -> _Cache | None:
    """Return the content of the cache file; None if it is missing or malformed: it can be made again."""
    try:
        return validated(decode_json((folder / _CACHE_FILE).read_bytes()), _Cache)
    except (FileNotFoundError, InvalidDocumentError):
        return None


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
    def messages(self) -> tuple[str, ...]:
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
    """
    try:
        found = cached_withdrawn(state)
        if found is not None:
            return WithdrawnItems(found)
        with nullcontext(quarantine) if quarantine is not None else Quarantine(state) as opened:
            return WithdrawnItems(_compared(opened))
    except (LockedError, OutputError) as error:
        return WithdrawnItems(last_known(state), str(error))


def _compared(quarantine: Quarantine) -> tuple[str, ...]:
    """Compare the items with the lists, and return the ids of those that are withdrawn."""
    # Lists need numpy, which only this comparison uses.
    from hashscan.quarantine.withdrawal_check import find_withdrawn

    withdrawn, marks = find_withdrawn(quarantine, partial(_active_version, quarantine.state))
    _write_cache(quarantine.state, marks, withdrawn)
    return withdrawn
