"""Decide for each listed object whether it is left out: by pattern, size or storage class."""

from __future__ import annotations

from hashscan.model import Reason
from hashscan.sources.objects.store import StoredObject
from hashscan.sources.options import ListingOptions
from hashscan.sources.patterns import PatternState

_FOLDERS_KEPT = 1024


class Sieve:
    """A filter that applies the options to the keys under one prefix.

    For patterns, a key is a path: the text between slashes is a name. A pattern with a slash starts after the
    last slash of the target.
    """

    def __init__(self, prefix: bytes, options: ListingOptions) -> None:
        self._exclude = options.exclude
        self._evidence = options.evidence
        self._max_size = options.max_file_size
        self._start = prefix.rfind(b"/") + 1
        self._folders: dict[bytes, PatternState | None] = {}

    def reason(self, stored: StoredObject, container: bytes = b"") -> Reason | None:
        """Return the reason why an object is left out, or None.

        Args:
            stored: the object.
            container: URL of its container, if a quarantine may keep objects there.
        """
        if self._evidence and container + b"/" + stored.key in self._evidence:
            return Reason.EXCLUDED
        if self._exclude and self._is_excluded(stored.key):
            return Reason.EXCLUDED
        if self._max_size is not None and stored.size > self._max_size:
            return Reason.OVER_SIZE
        return Reason.ARCHIVED if stored.archived else None

    def _is_excluded(self, key: bytes) -> bool:
        folder, _, name = key[self._start :].rpartition(b"/")
        place = self._place(folder)
        return place is None or self._exclude.excludes(place, name, is_folder=False)

    def _place(self, folder: bytes) -> PatternState | None:
        """Return the state of the patterns in a folder; None if the folder itself is left out.

        It uses a loop instead of recursion: a key may consist of a thousand slashes.
        """
        if folder in self._folders:
            return self._folders[folder]
        place: PatternState | None = self._exclude.start
        for name in folder.split(b"/") if folder else ():
            assert place is not None
            if self._exclude.excludes(place, name, is_folder=True):
                place = None
                break
            place = self._exclude.descend(place, name)
        if len(self._folders) >= _FOLDERS_KEPT:
            self._folders.clear()
        self._folders[folder] = place
        return place
