"""Says of each listed object whether it is left out: by pattern, size or storage class."""

from __future__ import annotations

from hashscan.model import Reason
from hashscan.sources.objects.store import StoredObject
from hashscan.sources.options import ListingOptions
from hashscan.sources.patterns import Place

_FOLDERS_KEPT = 1024


class Sieve:
    """Applies the options to the keys under one prefix.

    Patterns see a key as a path: what stands between slashes is a name. A pattern with a slash starts where
    the target's last slash ends.
    """

    def __init__(self, prefix: bytes, options: ListingOptions) -> None:
        self._exclude = options.exclude
        self._evidence = options.evidence
        self._max_size = options.max_file_size
        self._start = prefix.rfind(b"/") + 1
        self._folders: dict[bytes, Place | None] = {}

    def reason(self, stored: StoredObject, container: bytes = b"") -> Reason | None:
        """Why an object is left out, or None where it isn't.

        Args:
            stored: the object.
            container: URL of what it lies in, where a quarantine may keep something.
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

    def _place(self, folder: bytes) -> Place | None:
        """Where the patterns stand in a folder; None where it is left out itself.

        Step by step and not by calling itself: a key may be a thousand slashes.
        """
        if folder in self._folders:
            return self._folders[folder]
        place: Place | None = self._exclude.start
        for name in folder.split(b"/") if folder else ():
            assert place is not None
            if self._exclude.excludes(place, name, is_folder=True):
                place = None
                break
            place = self._exclude.enter(place, name)
        if len(self._folders) >= _FOLDERS_KEPT:
            self._folders.clear()
        self._folders[folder] = place
        return place
