"""Find out whether the file or object of a notice was seen here: today, or by the last scan of its folder."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import lru_cache

from hashscan.cases.tracker import Sighting, Witness
from hashscan.errors import OutputError
from hashscan.locking import ClosedOnExit
from hashscan.sources.filesystem.safe_open import stat_absolute
from hashscan.state.queries.known_files import KnownFiles, ListedFolder
from hashscan.state.store.filesystems import name_of
from hashscan.state.store.listings import wrapped
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir

_FOLDERS = 64
"""Listings that are kept: a hub may ask for many names of one large folder."""


class Sightings(ClosedOnExit):
    """Looks at paths of this machine, without following links, and into the listings of the scan state.

    The state is opened at the first query. One that is missing or damaged has seen nothing.
    """

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._reader: StateReader | None = None
        self._is_opened = False
        self._listing_of = lru_cache(_FOLDERS)(self._read_listing)

    def of(self, path: bytes, now: int) -> Sighting | None:
        """Return the sighting of a file that is there now, else that of the last scan; None if there is none.

        Args:
            now: seconds since 1970.
        """
        if path.startswith(b"/"):
            with suppress(OSError, ValueError):
                if stat.S_ISREG(stat_absolute(path).st_mode):
                    device = wrapped(stat_absolute(os.path.dirname(path)).st_dev)
                    return Sighting(Witness.IMPORT, now, device)
        return self.listed(path)

    def listed(self, path: bytes) -> Sighting | None:
        """Return the sighting of the last scan that had a file or object in its listing; None without one."""
        if not self._is_opened:
            self._is_opened = True
            with suppress(OutputError):
                self._reader = StateReader(self._state)
        if self._reader is None:
            return None
        seen, device = None, None
        with suppress(OutputError), self._reader.reading():
            if path.startswith(b"/"):
                folder, name = os.path.split(path)
                listed, today = self._listing_of(folder)
                if name in listed.names:
                    seen, device = listed.seen, today
            else:
                seen = KnownFiles(self._reader).object_seen(path)
        return None if seen is None else Sighting(Witness.SCAN, seen, device)

    def _read_listing(self, folder: bytes) -> tuple[ListedFolder, int | None]:
        """Return the listing of a folder, and the folder's device if the files were on it."""
        assert self._reader is not None
        listed = KnownFiles(self._reader).listed(folder)
        with suppress(OSError, ValueError):
            device = stat_absolute(folder).st_dev
            if listed.filesystems == {name_of(folder, device)}:
                return listed, wrapped(device)
        return listed, None

    def close(self) -> None:
        """Close the state."""
        if self._reader is not None:
            self._reader.close()
