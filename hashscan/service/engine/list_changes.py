"""Notice changes of the lists in use, without opening them; for `hashscan serve` and the hub."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hashscan.errors import OutputError
from hashscan.model import USABLE_STATES, ListInfo
from hashscan.quarantine.restored import quarantine_states
from hashscan.state_dir import StateDir

RELOAD_SECONDS = 600.0
"""Seconds between reloads for what changes by time alone: exceptions and lists expire."""


def list_state(state: StateDir) -> object:
    """Return a value that changes with what `Engine.reload` reads: lists, exceptions, restored content.

    It looks at small files and links, which are replaced and never changed in place.
    """
    found = [_stamp(state.exceptions / "entries.json"), _stamp(state.stay_down / "entries.json")]
    with suppress(OutputError):
        found += [_stamp(one.quarantine_head) for one in quarantine_states(state)]
    try:
        names = sorted(os.listdir(state.lists))
    except OSError:
        names = []
    for name in names:
        folder = state.lists / name
        found += [_stamp(folder / part) for part in ("active", "service.json")]
    return names, found


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return numbers that change with a file or a link; None if it is not there."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def now_unusable(before: Iterable[ListInfo], now: Iterable[ListInfo]) -> str:
    """Return which lists can't be used any more, with the reasons; empty if there are none.

    A list that was removed is no longer named.

    Args:
        before: the lists in use.
        now: those that would take their place.
    """
    used = {info.name for info in before if info.state in USABLE_STATES}
    return "; ".join(
        f"list {info.name} is {info.state.value}: {info.problem}"
        for info in now
        if info.name in used and info.state not in USABLE_STATES
    )
