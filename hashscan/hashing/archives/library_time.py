"""Limit the processor time that reading archives takes, by the length of the outermost container.

Archives of a few kilobytes can be made that keep a library busy for minutes. Decoding the members is not
counted here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

Item = TypeVar("Item")

SECONDS, SECONDS_PER_MIB = 2.0, 20.0
"""Processor time for any container, and for each MiB of its length: tenfold of what usual archives take."""


class LibraryTime:
    """The processor time that is left for reading all archives in one container."""

    def __init__(self, size: int, most: float) -> None:
        """Begin with a container of `size` bytes, which may take `most` seconds."""
        self._left = min(most, SECONDS + SECONDS_PER_MIB * size / (1 << 20))
        self._until: float | None = None
        """Processor time at which the call that has begun must have ended; None between two calls."""

    def check(self) -> None:
        """Return if there is time left."""
        if (self._left if self._until is None else self._until - time.process_time()) <= 0:
            raise TimeoutError

    def counted(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yield items of a library; the time that each takes is counted."""
        try:
            while True:
                begun = time.process_time()
                self._until = begun + self._left
                try:
                    item = next(items)
                finally:
                    self._until = None
                    self._left -= time.process_time() - begun
                self.check()
                yield item
        except StopIteration:
            return
        except Exception:
            # A library reports in its own way that it can't read on.
            if self._left <= 0:
                raise ContainerError(Reason.TIMEOUT) from None
            raise


class TimedFile(PreadFile):
    """A file that a library can't read on from when its time is used up, also within one call."""

    def __init__(self, file: PreadFile, left: LibraryTime) -> None:
        super().__init__(*file.place)
        self._left = left

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes."""
        self._left.check()
        return super().read(size)
