"""Whose turn it is to ask a list's web servers: several downloads at a time, until a server is busy.

From then on one goes after the other. Some servers count connections, and would find ours too many for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tuf.api.exceptions import DownloadError


class Turns:
    """Shared by all downloads of one fetcher."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken = 0
        self._until = time.monotonic()
        self._put_off = 0.0
        self._given_up = False
        self._changed = threading.Condition()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn, and have it while the body runs.

        Raises:
            DownloadError: all was given up meanwhile.
        """
        self._take()
        try:
            yield
        finally:
            self._leave()

    def put_off(self, seconds: float) -> float:
        """Have nobody ask for so long, and one at a time after that.

        Returns:
            For how many seconds nobody was to ask, in all.
        """
        with self._changed:
            now = time.monotonic()
            before, self._until = max(self._until, now), max(self._until, now + seconds)
            self._put_off += max(self._until - before, 0.0)
            self._at_once = 1
            return self._put_off

    def rest(self) -> None:
        """Let others have the turn, until the time is over for which all was put off."""
        self._leave()
        with self._changed:
            while (left := self._until - time.monotonic()) > 0 and not self._given_up:
                self._changed.wait(left)

    def resume(self) -> None:
        """Wait for a turn again after `rest`.

        Raises:
            DownloadError: all was given up meanwhile.
        """
        self._take()

    def give_up(self) -> None:
        """Wake all who wait."""
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
            # Counted in any case, since whoever waits again still is in the body of `taken`.
            self._taken += 1
            if self._given_up:
                raise DownloadError("given up")

    def _leave(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()
