"""List the objects under a prefix with parallel requests, and decide for each whether it is left out."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Sequence

from hashscan.model import FolderReason, Reason
from hashscan.sources.base import ListingOptions
from hashscan.sources.objects.store import ListingError, ObjectStore, StoredObject
from hashscan.sources.patterns import PatternState

THREADS = 8
"""Number of parallel requests. For a page of a thousand keys, a server needs some 100 ms, and parsing takes
20 ms."""

_PAGES_WAITING = 2 * THREADS

_SPLITS = 64
"""Maximum number of prefixes that are split into deeper ones; after that, the prefixes found so far must
do."""

EMPTY_PAGES = 100_000
"""Number of consecutive empty pages after which a listing is abandoned."""

Failure = tuple[bytes, ListingError]
"""A prefix under which not everything could be listed, and the reason."""

Found = Sequence[StoredObject] | Failure


def list_parallel(store: ObjectStore, prefix: bytes, *, all_versions: bool) -> Generator[Found, None, None]:
    """List every object under a prefix, in any order; yield pages of objects, or a prefix that can't be
    listed with its error. Prefixes are distributed to threads, level by level until there are enough of them,
    and each is then listed completely."""
    yield from _Listing(store, prefix, all_versions=all_versions).run()


class CycleDetector:
    """A detector for listings that repeat the same pages without end, in constant memory.

    It remembers one page, and replaces it after twice as many pages each time (Brent's algorithm), so that a
    cycle is detected before it has been listed a third time.
    """

    def __init__(self) -> None:
        self._pages = 0
        self._remembered_at = 1
        self._remembered: tuple[bytes, str] | None = None
        self._empty = 0

    def note(self, page: Sequence[StoredObject]) -> None:
        """Examine the next page; raise an error if it was listed before, or very many pages in a row are
        empty: servers can list for ever."""
        if not page:
            # In a listing of versions, thousands may be delete markers, page after page.
            self._empty += 1
            if self._empty > EMPTY_PAGES:
                raise ListingError(FolderReason.IO_ERROR, "the server sends empty pages without an end")
            return
        self._empty = 0
        first = page[0].key, page[0].version
        if first == self._remembered:
            raise ListingError(FolderReason.IO_ERROR, "the server lists the same objects again and again")
        self._pages += 1
        if self._pages == self._remembered_at:
            self._remembered, self._remembered_at = first, 2 * self._remembered_at


class _Listing:
    """The listing of one prefix in progress."""

    def __init__(self, store: ObjectStore, prefix: bytes, *, all_versions: bool) -> None:
        self._store = store
        self._all_versions = all_versions
        self._work = threading.Condition()
        self._prefixes: deque[bytes] = deque([prefix])
        self._busy = 0
        self._splits = 0
        self._ended = False
        self._out: queue.Queue[Found | BaseException | None] = queue.Queue(_PAGES_WAITING)

    def run(self) -> Generator[Found, None, None]:
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            running = len(threads)
            while running:
                found = self._out.get()
                if found is None:
                    running -= 1
                elif isinstance(found, BaseException):
                    raise found
                else:
                    yield found
        finally:
            with self._work:
                self._ended = True
                self._work.notify_all()

    def _serve(self) -> None:
        try:
            while (prefix := self._take()) is not None:
                try:
                    self._list(prefix)
                except ListingError as trouble:
                    self._put((prefix, trouble))
                finally:
                    with self._work:
                        self._busy -= 1
                        self._work.notify_all()
            self._put(None)
        except BaseException as error:  # a bug; it is raised in the consumer's thread
            self._put(error)

    def _take(self) -> bytes | None:
        with self._work:
            while not self._ended:
                if self._prefixes:
                    self._busy += 1
                    return self._prefixes.popleft()
                if not self._busy:
                    break
                self._work.wait()
            return None

    def _list(self, prefix: bytes) -> None:
        with self._work:
            split = len(self._prefixes) < THREADS and self._splits < _SPLITS
            self._splits += split
        level = self._store.level(prefix, all_versions=self._all_versions) if split else None
        if level is None:
            circle = CycleDetector()
            for page in self._store.pages(prefix, all_versions=self._all_versions):
                circle.note(page)
                if not self._put(page):
                    return
            return
        with self._work:
            self._prefixes.extend(level.prefixes)
            self._work.notify_all()
        self._put(level.objects)

    def _put(self, found: Found | BaseException | None) -> bool:
        """Queue a result for the consumer; return False if the listing was abandoned."""
        while not self._ended:
            try:
                self._out.put(found, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False


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
        """Return the reason why an object is left out, or None; `container` is the URL of a container in
        which a quarantine may keep objects."""
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
