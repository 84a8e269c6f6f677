"""Checks a quarantine: its log from the first line on, and that all it names is kept unaltered."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hashscan.quarantine.holding import NotDone
from hashscan.quarantine.items import KEPT, UNFINISHED, items_of
from hashscan.quarantine.log import EMPTY, Head, read_log
from hashscan.quarantine.place import KnownPlaces
from hashscan.quarantine.restoring import open_item
from hashscan.quarantine.store import folder_of


def verify(state: Path, known: Head | None) -> tuple[Head, int, list[str]]:
    """Look at all of it.

    Args:
        state: the state folder.
        known: a head that was kept elsewhere; the log must have come by it.

    Returns:
        How far the log goes, how many things are kept, and what is wrong with any, in words.

    Raises:
        BrokenLogError: a line of the log was changed or is missing.
        OutputError: the log can't be read.
    """
    head = EMPTY
    lines = []
    for line, head in read_log(folder_of(state), known):  # noqa: B007
        lines.append(line)
    kept = 0
    troubles = []
    places = KnownPlaces()
    try:
        for item in items_of(lines).values():
            if item.state in UNFINISHED:
                troubles.append(f"item {item.id}: {item.state.value} was begun and not ended; say --repair")
            if item.state not in KEPT:
                continue
            kept += 1
            try:
                place = places.at(item.place)
                if item.of_another:
                    os.stat(item.id.encode(), dir_fd=place.descriptor, follow_symlinks=False)
                    continue
                file = open_item(item, place)
                try:
                    if stat.S_IMODE(os.fstat(file).st_mode) & 0o377:
                        troubles.append(f"item {item.id}: its permissions were changed")
                finally:
                    os.close(file)
            except NotDone as error:
                troubles.append(f"item {item.id}: {error}")
            except OSError as error:
                troubles.append(f"item {item.id}: what was kept can't be found: {error.strerror}")
    finally:
        places.close()
    return head, kept, troubles
