"""Queues of batches that are read after all others: deferred batches, large and sparse files, files with a
write lease; and of files that were read and wait for an answer.

The queue of large files is in an anonymous temporary file. It has one list for each owner and magnitude of
size, so memory grows with the number of owners and not with the number of files. The next file is one of the
owner for whom the fewest bytes will have been read after it, and among the owner's files one of the smallest.
So neither one file of terabytes nor ten thousand files of one owner delay the files of others for longer than
it takes to read the files that are being read now.

Opening a file with a write lease asks the lease's holder to release it; a holder who doesn't, loses it after
/proc/sys/fs/lease-break-time seconds (45 by default). So the scan tries all files first, waits this time
once, and then retries. A file whose lease was taken again meanwhile is unreadable.
"""

from __future__ import annotations

import heapq
import pickle
import struct
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

from msgspec import structs

from hashscan.model import Batch, FileResult, Item
from hashscan.scan.workers.wire import pack_batch, unpack_batch
from hashscan.sources.filesystem.walk_stack import temporary_file_errors


class _Spool:
    """A first-in, first-out queue on disk.

    Raises:
        OutputError: the temporary file can't be written or read.
    """

    _WHAT: ClassVar[str]

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._length = 0

    def _put(self, value: Any) -> None:
        with temporary_file_errors(self._WHAT):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="hashscan-")  # noqa: SIM115
            pickle.dump(value, self._file)
        self._length += 1

    def _values(self) -> Iterator[Any]:
        """Yield all values in order; call it only when no more are added."""
        if self._file is None:
            return
        with temporary_file_errors(self._WHAT):
            self._file.seek(0)
            for _ in range(self._length):
                yield pickle.load(self._file)  # noqa: S301 - written by this process

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class BatchSpool(_Spool):
    """Batches that are read later."""

    _WHAT = "batches that wait"

    def put(self, batch: Batch) -> None:
        self._put(pack_batch(batch))

    def batches(self) -> Iterator[Batch]:
        return map(unpack_batch, self._values())


class ResultSpool(_Spool):
    """Files with their results, about which matching services were asked."""

    _WHAT = "files that wait for an answer"

    def put(self, path: bytes, item: Item, result: FileResult) -> None:
        self._put((path, item, result))

    def results(self) -> Iterator[tuple[bytes, Item, FileResult]]:
        """Yield all files in order; call it only when no more are added."""
        return self._values()


LARGE_BYTES = 32 << 20
"""The size above which a file waits for the phase of large files. Such a file is a batch of its own
anyway."""

SPARSE_BYTES = 1 << 20
"""The number of hole bytes above which a file waits, too. Holes use no space of their owner, so there may
be many."""

OWNER_SPARSE = 16
"""The limit of hole bytes read for all files of one owner in one scan, as a multiple of the limit for one
file."""

_RECORD_HEAD = struct.Struct("<QQ")
"""The offset of the owner's next record of this magnitude (0 if there is none yet), and this record's
length."""


class Owner(NamedTuple):
    """The key by which files are taken as one customer's: a user's files, or those of a bucket."""

    of_object: bool
    uid: int


def owner_of(batch: Batch) -> Owner:
    stat = batch.items[0].stat
    return Owner(stat.of_object, stat.uid)


class LargeFileQueue:
    """The queue of batches with one large or sparse file each.

    Raises:
        OutputError: the temporary file can't be written or read (in every method).
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0
        self._lists: dict[Owner, dict[int, list[int]]] = {}
        """By owner and magnitude: the offsets of the first and the last record."""
        self._order: list[tuple[int, int, Owner]] = []
        """A heap of: bytes read for the owner including the owner's next file, number of the heap entry,
        owner."""
        self._puts = 0
        self._read: Counter[Owner] = Counter()
        self._holes: Counter[Owner] = Counter()
        self._running: Counter[Owner] = Counter()
        self._costs: dict[Batch, int] = {}
        """The least number of bytes that is counted for each file that is being read."""

    def __bool__(self) -> bool:
        return bool(self._lists)

    @property
    def running(self) -> int:
        return self._running.total()

    def put(self, batch: Batch, size: int) -> None:
        """Add a file, in a batch of its own, to the queue; its size is in bytes."""
        owner, magnitude = owner_of(batch), size.bit_length()
        record = pickle.dumps(pack_batch(batch))
        with temporary_file_errors("large files that wait"):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="hashscan-")  # noqa: SIM115
                # So that no record has the offset 0.
                self._end = self._file.write(b"\0")
            place = self._end
            self._file.seek(place)
            self._file.write(_RECORD_HEAD.pack(0, len(record)) + record)
            self._end = self._file.tell()
            sizes = self._lists.setdefault(owner, {})
            if magnitude in sizes:
                self._file.seek(sizes[magnitude][1])
                self._file.write(place.to_bytes(8, "little"))
                sizes[magnitude][1] = place
            else:
                sizes[magnitude] = [place, place]
        if magnitude == min(sizes) and sizes[magnitude][0] == place:
            self._enter(owner)

    def take(self, workers: int, max_sparse: int) -> Batch | None:
        """Remove the next file from the queue, with the number of hole bytes that its owner has left; it
        counts as being read from now on. None if no waiting file may be read now. While files of other owners
        wait, one owner's files get all workers but one."""
        passed_over: dict[Owner, tuple[int, int, Owner]] = {}
        chosen = None
        while self._order:
            until, put, owner = heapq.heappop(self._order)
            if owner not in self._lists or owner in passed_over:
                # The owner was entered again when a smaller file was added.
                continue
            if (now := self._bytes_after_next(owner)) > until:
                # More was read for this owner since the entry was made.
                heapq.heappush(self._order, (now, put, owner))
            elif self._running[owner] < max(1, workers - 1):
                chosen = owner
                break
            else:
                passed_over[owner] = until, put, owner
        if chosen is None and len(passed_over) == 1:
            # No other owner waits.
            chosen = passed_over.popitem()[0]
        for entry in passed_over.values():
            heapq.heappush(self._order, entry)
        if chosen is None:
            return None
        cost = 1 << (min(self._lists[chosen]) - 1)
        left = max(0, OWNER_SPARSE * max_sparse - self._holes[chosen])
        batch = structs.replace(self._take(chosen), max_sparse=min(max_sparse, left))
        self._running[chosen] += 1
        self._costs[batch] = cost
        return batch

    def done(self, batch: Batch, bytes_read: int, hole_bytes: int) -> None:
        """Record that a file has been read."""
        owner = owner_of(batch)
        self._running[owner] -= 1
        # A file that failed has been read, too. A large picture has fewer bytes than its decoding costs.
        self._read[owner] += max(bytes_read, hole_bytes, self._costs.pop(batch, 0))
        self._holes[owner] += hole_bytes

    def _bytes_after_next(self, owner: Owner) -> int:
        """Return the bytes that will have been read for an owner after the owner's next file."""
        sizes = self._lists[owner]
        return self._read[owner] + (1 << min(sizes))

    def _enter(self, owner: Owner) -> None:
        self._puts += 1
        heapq.heappush(self._order, (self._bytes_after_next(owner), self._puts, owner))

    def _take(self, owner: Owner) -> Batch:
        assert self._file is not None  # the caller has checked that a file waits
        sizes = self._lists[owner]
        magnitude = min(sizes)
        place, last = sizes[magnitude]
        with temporary_file_errors("large files that wait"):
            self._file.seek(place)
            following, length = _RECORD_HEAD.unpack(self._file.read(_RECORD_HEAD.size))
            batch = unpack_batch(pickle.loads(self._file.read(length)))  # noqa: S301 - written by this process
        if place != last:
            sizes[magnitude][0] = following
        else:
            del sizes[magnitude]
        if sizes:
            self._enter(owner)
        else:
            del self._lists[owner]
        return batch

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


LEASED_PER_OWNER_MAX = 10_000
"""The number of files of one owner that are deferred; more are unreadable at once, so that no owner can
fill the memory."""
_LEASED_MAX = 100_000
_LEASE_SECONDS_MAX = 60
_LEASE_BREAK_TIME = Path("/proc/sys/fs/lease-break-time")


class LeasedFiles:
    """The deferred files of one scan."""

    def __init__(self) -> None:
        self._batches: defaultdict[Batch, list[Item]] = defaultdict(list)
        self._by_owner: Counter[int] = Counter()
        self._due = 0.0
        self._closed = False

    def defer(self, batch: Batch, item: Item) -> bool:
        """Defer a file, and return False if it can't be deferred."""
        owner = item.stat.uid
        if (
            self._closed
            or self._by_owner[owner] >= LEASED_PER_OWNER_MAX
            or self._by_owner.total() >= _LEASED_MAX
        ):
            return False
        self._by_owner[owner] += 1
        self._batches[structs.replace(batch, items=())].append(item)
        self._due = time.monotonic() + _lease_break_seconds()
        return True

    @property
    def seconds(self) -> float:
        """The number of seconds to wait until all of them may be retried; 0 if there are none."""
        return max(0.0, self._due - time.monotonic()) if self._batches else 0.0

    def take(self) -> Iterator[Batch]:
        """Yield the deferred files in their batches; from now on none can be deferred."""
        self._closed = True
        for batch, items in self._batches.items():
            yield structs.replace(batch, items=tuple(items))
        self._batches.clear()


def _lease_break_seconds() -> float:
    """Return the longest time, in seconds, that a holder can keep a lease after the request to release it."""
    try:
        seconds = int(_LEASE_BREAK_TIME.read_text(encoding="ascii"))
    except (OSError, ValueError):
        seconds = 45
    # The kernel counts in whole ticks. 0 means no limit.
    return min(seconds or 1, _LEASE_SECONDS_MAX) + 0.1
