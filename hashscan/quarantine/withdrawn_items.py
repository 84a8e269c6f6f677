"""Warn of items that stay in quarantine although all their list entries were withdrawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hashscan.errors import LockedError, OutputError
from hashscan.quarantine.store import Quarantine
from hashscan.quarantine.withdrawal_cache import cached_withdrawn, last_known
from hashscan.text import plural

_NAMED = 10
"""Number of items that an alert names; `quarantine list` shows all."""


@dataclass(frozen=True, slots=True)
class WithdrawnItems:
    """An alert about withdrawn items, given after each change of lists and by each scan."""

    items: tuple[str, ...]
    """Ids of the items that no list entry supports any more."""
    trouble: str = ""
    """Error message if the ids may be out of date."""

    @property
    def words(self) -> tuple[str, ...]:
        """Lines of the alert."""
        lines = []
        if self.trouble:
            lines.append(
                f"WARNING: the items in quarantine could not be compared with the lists: {self.trouble}; "
                "the next scan, pull or quarantine command tries again"
            )
        if self.items:
            names = ", ".join(self.items[:_NAMED])
            more = f" and {len(self.items) - _NAMED} more" if len(self.items) > _NAMED else ""
            lines.append(
                f"WARNING: {plural(len(self.items), 'item')} in quarantine: no entry matches any more, "
                "because the "
                f"entries were withdrawn: {names}{more}; see `hashscan quarantine list --withdrawn`, restore "
                "with `hashscan quarantine restore --withdrawn`"
            )
        return tuple(lines)


def withdrawn_items(state: Path, quarantine: Quarantine | None = None) -> WithdrawnItems:
    """Return the items that are withdrawn by the current lists; use the cache if nothing has changed.

    Errors are reported in the alert and not raised, so that pulling lists, scanning and restoring don't fail
    because of them.

    Args:
        state: the state folder.
        quarantine: its quarantine, if this process has it open.
    """
    try:
        found = cached_withdrawn(state)
        if found is not None:
            return WithdrawnItems(found)
        # Lists need numpy, which only this comparison uses.
        from hashscan.quarantine.withdrawals import find_withdrawn

        if quarantine is not None:
            return WithdrawnItems(find_withdrawn(quarantine))
        with Quarantine(state) as opened:
            return WithdrawnItems(find_withdrawn(opened))
    except (LockedError, OutputError) as error:
        return WithdrawnItems(last_known(state), str(error))
