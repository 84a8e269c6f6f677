"""Verify a quarantine: its log from the first line on, and that each kept file is unaltered."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hashscan.errors import OutputError
from hashscan.quarantine.captured_file import QuarantineSkipped
from hashscan.quarantine.folder import OpenFolders
from hashscan.quarantine.items import KEPT, UNFINISHED, Item, apply_line
from hashscan.quarantine.log import EMPTY, LogHead
from hashscan.quarantine.log_checkpoint import known_heads
from hashscan.quarantine.objects.keeping import CopyStorage
from hashscan.quarantine.objects.stores import Stores
from hashscan.quarantine.open_item import open_item
from hashscan.quarantine.store import folder_of, read_lines


def verify(
    state: Path, given: LogHead | None, stores: Stores | None = None
) -> tuple[LogHead, int, list[str]]:
    """Verify the log and all that it says is kept.

    Args:
        state: the state folder.
        given: a head that was kept elsewhere; the log must contain it and the head in the state folder.
        stores: opens the buckets in which objects are kept.

    Returns:
        The head of the log, the number of things kept, and a message for each error.

    Raises:
        BrokenLogError: a line of the log was changed or is missing.
        OutputError: the log can't be read.
    """
    troubles = []
    try:
        known = dict(known_heads(state, folder_of(state)))
    except OutputError as error:
        # Verify the log by the other heads, so that the operator can write this one again.
        known = {}
        troubles.append(f"{error}. {error.remedy}")
    if given is not None:
        known["--head"] = given
    head = EMPTY
    items: dict[str, Item] = {}
    for line, head in read_lines(state, known):  # noqa: B007
        apply_line(items, line)
    kept = 0
    places = OpenFolders()
    keeping = CopyStorage(stores or Stores({}), places, os.fsencode(folder_of(state)))
    try:
        for item in items.values():
            if item.state in UNFINISHED:
                troubles.append(f"item {item.id}: {item.state.value} was begun and not ended; say --repair")
            if item.state not in KEPT:
                continue
            kept += 1
            if trouble := _trouble_of(item, places, keeping):
                troubles.append(f"item {item.id}: {trouble}")
    finally:
        places.close()
    return head, kept, troubles


def _trouble_of(item: Item, places: OpenFolders, keeping: CopyStorage) -> str:
    """Return the reason why a kept item is not as its log says; empty if it is."""
    try:
        if item.in_bucket:
            with keeping.opened(item):
                return ""
        place = places.at(item.place)
        if item.of_another:
            os.stat(item.id.encode(), dir_fd=place.descriptor, follow_symlinks=False)
            return ""
        file = open_item(item, place)
        try:
            return "its permissions were changed" if stat.S_IMODE(os.fstat(file).st_mode) & 0o377 else ""
        finally:
            os.close(file)
    except QuarantineSkipped as error:
        return str(error)
    except OSError as error:
        return f"what was kept can't be found: {error.strerror}"
