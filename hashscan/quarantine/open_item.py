"""Open a file in quarantine after its sha256 was verified."""

from __future__ import annotations

import os

from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped
from hashscan.quarantine.folder import QuarantineFolder
from hashscan.quarantine.items import Item
from hashscan.quarantine.store import Quarantine
from hashscan.sources.beneath import FILE_FLAGS, open_child
from hashscan.sources.evidence import sha256_of


def place_of(quarantine: Quarantine, item: Item) -> QuarantineFolder:
    """Return the folder in which an item is kept.

    Raises:
        QuarantineSkipped: the folder can't be opened; its filesystem may not be mounted.
    """
    try:
        return quarantine.places.at(item.place)
    except OSError as error:
        where = os.fsdecode(item.place)
        raise QuarantineSkipped(
            Outcome.GONE, f"the folder {where} can't be opened: {error.strerror}"
        ) from error


def open_item(item: Item, place: QuarantineFolder) -> int:
    """Open the kept file of an item and verify that its content is what was found.

    Raises:
        QuarantineSkipped: the file is gone, can't be read, or was altered.
    """
    try:
        file = open_child(place.descriptor, item.id.encode(), FILE_FLAGS)
    except OSError as error:
        raise QuarantineSkipped(Outcome.GONE, f"what was kept can't be opened: {error.strerror}") from error
    try:
        if sha256_of(file) != item.sha256:
            raise QuarantineSkipped(Outcome.CHANGED, "what was kept has been altered")
    except OSError as error:
        os.close(file)
        raise QuarantineSkipped(Outcome.REFUSED, f"what was kept can't be read: {error.strerror}") from error
    except QuarantineSkipped:
        os.close(file)
        raise
    return file
