"""Lists what lies under a prefix by several requests at a time, in bounded memory."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Sequence

from hashscan.model import FolderReason
from hashscan.sources.objects.store import ListingTrouble, ObjectStore, StoredObject

THREADS = 8
"""Requests at a time. A page of a thousand keys takes a server some 100 ms, and us 20 to parse."""

_PAGES_WAITING = 2 * THREADS

_SPLITS = 64
"""Levels looked at in search of prefixes to share out; past these, what there is has to do."""

EMPTY_PAGES = 100_000
"""One after the other, after which a listing is given up."""

Failure = tuple[bytes, ListingTrouble]
"""A prefix under which not everything could be listed, and why."""

Found = Sequence[StoredObject] | Failure


def list_parallel(store: ObjectStore, prefix: bytes, *, all_versions: bool) -> Generator[Found, None, None]:
    """List every object under a prefix, in no order.

    Prefixes are shared out among threads, level by level until there are enough of them, and each is listed
    to its end.

    Yields:
        Pages of objects; for what can't be listed, the prefix and the trouble.
    """
    yield from _Listing(store, prefix, all_versions=all_versions).run()


class Circle:
    """Notices that a listing tells the same again, in constant memory: it would never end.

    One page in twice as many each time is remembered (Brent's algorithm), so that a circle is noticed before
    it was gone round a third time.
    """

    def __init__(self) -> None:
        self._pages = 0
        self._remembered_at = 1
        self._remembered: tuple[bytes, str] | None = None
        self._empty = 0

    def note(self, page: Sequence[StoredObject]) -> None:
        """Look at the next page.

        Raises:
            ListingTrouble: it was told before, or there is nothing in very many pages.
        """
        if not page:
            # Of versions, thousands may be delete markers, page after page.
            self._empty += 1
            if self._empty > EMPTY_PAGES:
                raise ListingTrouble(FolderReason.IO_ERROR, "the server sends empty pages without an end")
            return
        self._empty = 0
        first = page[0].key, page[0].version
        if first == self._remembered:
            raise ListingTrouble(FolderReason.IO_ERROR, "the server lists the same objects again and again")
        self._pages += 1
        if self._pages == self._remembered_at:
            self._remembered, self._remembered_at = first, 2 * self._remembered_at


class _Listing:
    """One prefix under way."""

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
                except ListingTrouble as trouble:
                    self._put((prefix, trouble))
                finally:
                    with self._work:
                        self._busy -= 1
                        self._work.notify_all()
            self._put(None)
        except BaseException as error:  # a defect, raised where it is seen
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
            circle = Circle()
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
        """Hand something on; False when nobody takes it any more."""
        while not self._ended:
            try:
                self._out.put(found, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False
