"""A store in memory that behaves as a test asks it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hashscan.model import FileStat, Item
from hashscan.sources.base import FileError
from hashscan.sources.objects.store import (
    UNKNOWN_SIZE,
    Chunk,
    ListingError,
    ObjectStore,
    ObjectStream,
    PrefixListing,
    RetryableError,
    StoredObject,
    refused,
)

PIECE = 1000


@dataclass
class Shelf(ObjectStore):
    """Objects by key, listed in pages of ten."""

    objects: dict[bytes, bytes]
    etags: dict[bytes, str] = field(default_factory=dict)
    cuts: dict[bytes, int] = field(default_factory=dict)
    """Number of times that reading a key ends after half of the requested bytes."""
    busy: dict[bytes, int] = field(default_factory=dict)
    """Number of times that it is refused."""
    says_size: bool = True
    proven: bool = True
    changed: set[bytes] = field(default_factory=set)
    """The keys that `check` finds changed."""
    no_entry: set[bytes] = field(default_factory=set)
    """Prefixes that can't be listed."""
    page: int = 10
    level_limit: int = 20
    on_read: Callable[[bytes], None] = lambda key: None
    on_piece: Callable[[bytes], None] = lambda key: None
    reads: list[tuple[bytes, int]] = field(default_factory=list)
    most_at_a_time: int = 0
    pages_reported: int = 0
    checked: list[bytes] = field(default_factory=list)
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        pass

    def _stored(self, key: bytes) -> StoredObject:
        size = len(self.objects[key]) if self.says_size else UNKNOWN_SIZE
        return StoredObject(key, size, 1, self.etags.get(key, ""))

    def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        for start in range(0, len(keys), self.page):
            self.pages_reported += 1
            yield [self._stored(key) for key in keys[start : start + self.page]]
            self._refuse(prefix)

    def level(self, prefix: bytes, *, all_versions: bool) -> PrefixListing | None:
        self._refuse(prefix)
        found = [key for key in sorted(self.objects) if key.startswith(prefix)]
        here = [key for key in found if b"/" not in key[len(prefix) :]]
        beneath = {prefix + key[len(prefix) :].partition(b"/")[0] + b"/" for key in found if key not in here}
        if len(here) + len(beneath) > self.level_limit:
            return None
        return PrefixListing([self._stored(key) for key in here], sorted(beneath))

    def _refuse(self, prefix: bytes) -> None:
        if prefix in self.no_entry:
            trouble = refused(403, "AccessDenied")
            assert isinstance(trouble, FileError)
            raise ListingError.of(trouble)

    def read(self, item: Item, offset: int) -> ObjectStream:
        key = item.name
        with self._lock:
            self.reads.append((key, offset))
            self._under_way += 1
            self.most_at_a_time = max(self.most_at_a_time, self._under_way)
        self.on_read(key)
        with self._lock:
            self._under_way -= 1
            if self.busy.get(key, 0):
                self.busy[key] -= 1
                raise RetryableError("busy")
            if key not in self.objects:
                raise refused(404, "")
            cut = self.cuts.get(key, 0) > 0
            self.cuts[key] = self.cuts.get(key, 0) - 1
        content = self.objects[key]
        end = offset + (len(content) - offset) // 2 if cut else len(content)
        size = len(content) if self.says_size else UNKNOWN_SIZE
        return ObjectStream(
            self._pieces(key, offset, end, cut=cut), size, self.etags.get(key, ""), proven=self.proven
        )

    def _pieces(self, key: bytes, offset: int, end: int, *, cut: bool) -> Iterator[Chunk]:
        content = self.objects[key]
        for start in range(offset, end, PIECE):
            self.on_piece(key)
            yield content[start : min(start + PIECE, end)]
        if cut:
            raise RetryableError("cut")

    def check(self, item: Item) -> None:
        self.checked.append(item.name)
        if item.name in self.changed:
            raise refused(412, "", begun=True)

    def close(self) -> None:
        pass

    def items(self) -> list[Item]:
        """The objects as a source would list them."""
        return [
            Item(
                stored.key,
                FileStat(device=0, inode=0, size=stored.size, mtime_ns=1, ctime_ns=0, links=1, uid=1),
                stored.etag,
            )
            for stored in map(self._stored, self.objects)
        ]
