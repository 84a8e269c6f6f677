"""Large and sparse files, which are read after all others, with a fair share for each owner.

They wait in an anonymous temporary file: one list for each owner and magnitude of size, so that memory grows
with the number of owners and not with that of files. Next comes the file of the owner of whom the least has
been read by then, and of an owner's files one of the smallest. So neither one file of terabytes nor ten
thousand files of one owner delay those of others for longer than it takes to read what is under way.
"""

from __future__ import annotations

import heapq
import pickle
import struct
import tempfile
from collections import Counter
from dataclasses import replace
from typing import IO, NamedTuple

from hashscan.errors import OutputError
from hashscan.model import Batch
from hashscan.scan.workers.wire import pack_batch, unpack_batch

LARGE_BYTES = 32 << 20
"""A larger file waits for the large files' turn. It makes a batch of its own as it is."""

SPARSE_BYTES = 1 << 20
"""So does one with more bytes of holes: those cost its owner nothing, so that there may be many."""

OWNER_SPARSE = 16
"""Times the limit of one file, as many bytes of holes are read of all files of an owner in one scan."""

_HEAD = struct.Struct("<QQ")
"""Where the owner's next record of the magnitude is, 0 for none yet, and the length of this one."""


class Owner(NamedTuple):
    """Whose files are treated as one customer's: those of a user, or of a bucket."""

    of_object: bool
    uid: int


def owner_of(batch: Batch) -> Owner:
    """The owner of a batch of one file."""
    stat = batch.items[0].stat
    return Owner(stat.of_object, stat.uid)


class LargeFiles:
    """Batches of one file each that wait.

    Raises, in all it does:
        OutputError: the temporary file can't be written or read.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0
        self._lists: dict[Owner, dict[int, list[int]]] = {}
        """By owner and magnitude: offset of the first record, and of the last."""
        self._order: list[tuple[int, int, Owner]] = []
        """A heap: bytes read of an owner with its next file, number of the entry, and the owner."""
        self._puts = 0
        self._read: Counter[Owner] = Counter()
        self._holes: Counter[Owner] = Counter()
        self._running: Counter[Owner] = Counter()
        """Files under way."""

    def __bool__(self) -> bool:
        """Whether any wait."""
        return bool(self._lists)

    @property
    def running(self) -> int:
        """How many files are under way."""
        return self._running.total()

    def put(self, batch: Batch, size: int) -> None:
        """Let a file wait.

        Args:
            batch: of this file alone.
            size: of the file, in bytes.
        """
        owner, magnitude = owner_of(batch), size.bit_length()
        record = pickle.dumps(pack_batch(batch))
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="hashscan-")  # noqa: SIM115
                # So that no record has the offset 0.
                self._end = self._file.write(b"\0")
            place = self._end
            self._file.seek(place)
            self._file.write(_HEAD.pack(0, len(record)) + record)
            self._end = self._file.tell()
            sizes = self._lists.setdefault(owner, {})
            if magnitude in sizes:
                self._file.seek(sizes[magnitude][1])
                self._file.write(place.to_bytes(8, "little"))
                sizes[magnitude][1] = place
            else:
                sizes[magnitude] = [place, place]
        except OSError as error:
            raise _trouble(error) from error
        if magnitude == min(sizes) and sizes[magnitude][0] == place:
            self._enter(owner)

    def take(self, workers: int, max_sparse: int) -> Batch | None:
        """Take the next file, which is under way from now on.

        Args:
            workers: how many there are. One owner's files get all but one of them while others' wait.
            max_sparse: bytes of holes that a file may have.

        Returns:
            Its batch, with what the owner may have read of holes; None where none waits that may be read now.
        """
        passed_over: dict[Owner, tuple[int, int, Owner]] = {}
        chosen = None
        while self._order:
            until, put, owner = heapq.heappop(self._order)
            if owner not in self._lists or owner in passed_over:
                # It was put in again when a smaller file came.
                continue
            if (now := self._until(owner)) > until:
                # More has been read of it meanwhile.
                heapq.heappush(self._order, (now, put, owner))
            elif self._running[owner] < max(1, workers - 1):
                chosen = owner
                break
            else:
                passed_over[owner] = until, put, owner
        if chosen is None and len(passed_over) == 1:
            # Nobody else waits.
            chosen = passed_over.popitem()[0]
        for entry in passed_over.values():
            heapq.heappush(self._order, entry)
        if chosen is None:
            return None
        batch = self._take(chosen)
        self._running[chosen] += 1
        left = max(0, OWNER_SPARSE * max_sparse - self._holes[chosen])
        return replace(batch, max_sparse=min(max_sparse, left))

    def done(self, batch: Batch, bytes_read: int, hole_bytes: int) -> None:
        """Say that a file is under way no more.

        Args:
            batch: as it was taken.
            bytes_read: of it.
            hole_bytes: how many of these were holes.
        """
        owner = owner_of(batch)
        self._running[owner] -= 1
        # One that failed was read, too.
        self._read[owner] += max(bytes_read, hole_bytes)
        self._holes[owner] += hole_bytes

    def _until(self, owner: Owner) -> int:
        """How many bytes have been read of an owner once its next file has."""
        sizes = self._lists[owner]
        return self._read[owner] + (1 << min(sizes))

    def _enter(self, owner: Owner) -> None:
        self._puts += 1
        heapq.heappush(self._order, (self._until(owner), self._puts, owner))

    def _take(self, owner: Owner) -> Batch:
        assert self._file is not None  # something waits
        sizes = self._lists[owner]
        magnitude = min(sizes)
        place, last = sizes[magnitude]
        try:
            self._file.seek(place)
            following, length = _HEAD.unpack(self._file.read(_HEAD.size))
            batch = unpack_batch(pickle.loads(self._file.read(length)))  # noqa: S301 - written by this process
        except OSError as error:
            raise _trouble(error) from error
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
        """Let the temporary file go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _trouble(error: OSError) -> OutputError:
    return OutputError(
        f"the large files that wait, a temporary file in {tempfile.gettempdir()}, failed: {error.strerror}",
        advice="Free some space there, or name another folder in TMPDIR.",
    )
