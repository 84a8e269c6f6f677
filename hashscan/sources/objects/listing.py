"""Lists what lies under a prefix by several requests at a time, in bounded memory."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Sequence

from hashscan.sources.objects.store import ListingTrouble, ObjectStore, StoredObject

THREADS = 8
"""Requests at a time. A page of a thousand keys takes a server some 100 ms, and us 20 to parse."""

_PAGES_WAITING = 2 * THREADS

_SPLITS = 64
"""Levels looked at in search of prefixes to share out; past these, what there is has to do."""

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
            for page in self._store.pages(prefix, all_versions=self._all_versions):
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
