"""Waits for what is to happen, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 120.0
"""Only something that never happens takes so long."""


def until(happened: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until it has happened."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
