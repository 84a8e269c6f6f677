"""Tells what is in quarantine though nothing accuses it any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hashscan.errors import LockedError, OutputError
from hashscan.quarantine.store import Quarantine
from hashscan.quarantine.withdrawal_cache import known, last_known

_NAMED = 10
"""Items that an alarm names; `list` has the others."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is to be told whenever lists change, and by every sweep."""

    items: tuple[str, ...]
    """Ids of those that nothing accuses any more."""
    trouble: str = ""
    """Why they may be out of date, in words."""

    @property
    def words(self) -> tuple[str, ...]:
        """A line each."""
        lines = []
        if self.trouble:
            lines.append(
                f"WARNING: what is in quarantine could not be compared with the lists: {self.trouble}; "
                "the next sweep, pull or quarantine command tries again"
            )
        if self.items:
            names = ", ".join(self.items[:_NAMED])
            more = f" and {len(self.items) - _NAMED} more" if len(self.items) > _NAMED else ""
            lines.append(
                f"WARNING: {len(self.items)} in quarantine stand accused by nothing any more, since their "
                f"entries were withdrawn: {names}{more}; see `hashscan quarantine list --withdrawn`, put "
                "them back with `hashscan quarantine restore --withdrawn`"
            )
        return tuple(lines)


def alarm(state: Path, quarantine: Quarantine | None = None) -> Alarm:
    """What stands withdrawn by the lists as they are now; nothing is read where nothing has changed.

    Trouble is told and not raised, since nobody who pulls lists, sweeps or puts back is to fail for it.

    Args:
        state: the state folder.
        quarantine: its quarantine, where this process holds it.
    """
    try:
        found = known(state)
        if found is not None:
            return Alarm(found)
        # Lists need numpy, which only this needs.
        from hashscan.quarantine.withdrawals import compare

        if quarantine is not None:
            return Alarm(compare(quarantine))
        with Quarantine(state) as opened:
            return Alarm(compare(opened))
    except (LockedError, OutputError) as error:
        return Alarm(last_known(state), str(error))
