"""What of the files that earlier sweeps met is in quarantine, and so is not gone without a reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path

from hashscan.errors import OutputError
from hashscan.quarantine.items import KEPT, State
from hashscan.quarantine.store import read_items

_AWAY = KEPT | {State.MOVING, State.RELEASING, State.RELEASED}


class Taken:
    """Such files; the quarantine's log is read only once somebody asks."""

    def __init__(self, state: Path, told: Callable[[str], None]) -> None:
        """Describe it.

        Args:
            state: the state folder.
            told: called with what a person should know.
        """
        self._state = state
        self._told = told

    @cached_property
    def _moved(self) -> dict[tuple[bytes, str], float]:
        """Where they were, and which version; when each was moved last, in seconds since 1970."""
        try:
            items = read_items(self._state)
        except OutputError as error:
            # The sweep's own findings must be told all the same; that files are missing is, too.
            self._told(f"what is in quarantine counts as gone: {error}")
            return {}
        return {
            (item.path, item.version): datetime.fromisoformat(item.record["time"]).timestamp()
            for item in items.values()
            if item.state in _AWAY and not item.of_another
        }

    def has(self, path: bytes) -> bool:
        """Whether the file that was found by a path is away."""
        return (path, "") in self._moved

    def number(self, is_of: Callable[[bytes], bool], since: float) -> int:
        """How many are away.

        Args:
            is_of: tells the paths that count.
            since: only those that were moved from then on, in seconds since 1970.
        """
        return sum(moved >= since and is_of(path) for (path, _), moved in self._moved.items())
