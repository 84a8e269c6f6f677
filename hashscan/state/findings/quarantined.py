"""Find which earlier scanned files are in quarantine, so that their absence is explained."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path

from hashscan.errors import OutputError
from hashscan.quarantine.items import KEPT, State
from hashscan.quarantine.store import read_items

_AWAY = KEPT | {State.MOVING, State.RELEASING, State.RELEASED}


class QuarantinedFiles:
    """The files that were moved to quarantine; the quarantine's log is read at the first query."""

    def __init__(self, state: Path, notify: Callable[[str], None]) -> None:
        """Set the state folder.

        Args:
            state: the state folder.
            notify: called with messages for the operator.
        """
        self._state = state
        self._notify = notify

    @cached_property
    def _moved(self) -> dict[tuple[bytes, str], float]:
        """Time of the last move in seconds since 1970, by original path and version."""
        try:
            items = read_items(self._state)
        except OutputError as error:
            # The scan's own findings must be reported all the same, and so must missing files.
            self._notify(f"what is in quarantine counts as gone: {error}")
            return {}
        return {
            (item.path, item.version): datetime.fromisoformat(item.record["time"]).timestamp()
            for item in items.values()
            if item.state in _AWAY and not item.of_another
        }

    def has(self, path: bytes) -> bool:
        """Return True if the file that was found at a path is in quarantine."""
        return (path, "") in self._moved

    def number(self, is_of: Callable[[bytes], bool], since: float) -> int:
        """Return the number of files in quarantine.

        Args:
            is_of: returns True for paths that count.
            since: count only files that were moved from then on, in seconds since 1970.
        """
        return sum(moved >= since and is_of(path) for (path, _), moved in self._moved.items())
