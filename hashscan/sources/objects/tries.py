"""Retry downloads with exponential backoff after temporary errors."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from hashscan.sources.base import FileError
from hashscan.sources.objects.store import RetryableError

TRIES = 6
"""Maximum number of tries without progress; with the pauses below they take some 6 seconds, after which a
busy server has either slowed us down or won't serve us."""

PATIENCE_SECONDS = 120.0
"""Seconds after the first of several failures without progress; then there are no more retries, because each
may take a minute to fail."""

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0

PROGRESS_BYTES = 1 << 20
"""Bytes received since the last failure that count as progress."""


class Tries:
    """The retries for one object."""

    def __init__(self, pause: Callable[[float], None]) -> None:
        """Store the function that waits a number of seconds; it may raise to cancel."""
        self._pause = pause
        self._failed = 0
        self._since = 0.0

    def failed(self, trouble: RetryableError, progress_bytes: int = 0) -> None:
        """Count a failure, and wait before the next try.

        Raises:
            FileError: it was the last try.
        """
        if progress_bytes >= PROGRESS_BYTES:
            self._failed = 0
        self._failed += 1
        now = time.monotonic()
        if self._failed == 1:
            self._since = now
        if self._failed >= TRIES or now - self._since > PATIENCE_SECONDS:
            raise FileError(trouble.reason, f"{trouble.detail}; {self._failed} tries") from trouble
        pause = _FIRST_PAUSE * 2 ** (self._failed - 1)
        # Random, so that the retries of many downloads don't reach a busy server at the same moment.
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - nothing to guess
        self._pause(min(max(pause, trouble.wait_seconds), _LONGEST_PAUSE))
