"""Limits concurrent requests to a list's web servers: several, or one at a time after a server was busy.

Some servers count connections as a rate limit, and would refuse several at a time for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tuf.api.exceptions import DownloadError


class RequestSlots:
    """A limit on concurrent requests, shared by all downloads of one fetcher."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken = 0
        self._until = time.monotonic()
        self._put_off = 0.0
        self._given_up = False
        self._changed = threading.Condition()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a request slot while the body runs; wait for a free one.

        Raises:
            DownloadError: all downloads were given up meanwhile.
        """
        self._take()
        try:
            yield
        finally:
            self._leave()

    def put_off(self, seconds: float) -> float:
        """Stop all requests for `seconds`, and allow only one at a time afterwards.

        Returns:
            The total number of seconds for which requests were stopped.
        """
        with self._changed:
            now = time.monotonic()
            before, self._until = max(self._until, now), max(self._until, now + seconds)
            self._put_off += max(self._until - before, 0.0)
            self._at_once = 1
            return self._put_off

    def rest(self) -> None:
        """Release the slot, and wait until requests are allowed again."""
        self._leave()
        with self._changed:
            while (left := self._until - time.monotonic()) > 0 and not self._given_up:
                self._changed.wait(left)

    def resume(self) -> None:
        """Wait for a slot again after `rest`.

        Raises:
            DownloadError: all downloads were given up meanwhile.
        """
        self._take()

    def give_up(self) -> None:
        """Wake all waiting threads."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    def _take(self) -> None:
        with self._changed:
            while not self._given_up:
                left = self._until - time.monotonic()
                if left <= 0 and self._taken < self._at_once:
                    break
                self._changed.wait(left if left > 0 else None)
            # Counted in any case: a thread that waits again is still in the body of `taken`, which will
            # release the slot.
            self._taken += 1
            if self._given_up:
                raise DownloadError("given up")

    def _leave(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()
