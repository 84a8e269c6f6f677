"""Compute how long evidence is retained, and destroy items whose retention is over."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hashscan.errors import OutputError
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped, to_skipped
from hashscan.quarantine.items import KEPT, Item, State
from hashscan.quarantine.legal_holds import preservation_reason
from hashscan.quarantine.store import Quarantine

_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""An earlier time means that the clock is wrong; a clock without a battery starts in 1970."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The two retention terms; they have no defaults, since no value is right in every country."""

    retain_min: timedelta
    """Term before which no item is destroyed unless overridden."""
    destroy_by: timedelta
    """Term by which every item should be destroyed."""

    def terms(self, now: datetime) -> dict[str, str]:
        """Return both deadlines for an item that is moved now, as the log stores them (ISO 8601). The clock
        must not be so wrong that `destroy` would destroy the items once it is set."""
        require_clock(now)
        return {
            "retain_min": (now + self.retain_min).isoformat(),
            "destroy_by": (now + self.destroy_by).isoformat(),
        }


def require_clock(now: datetime) -> None:
    """Refuse a clock that is certainly wrong.

    Raises:
        OutputError: the time is before this program existed.
    """
    if now < _EARLIEST:
        raise OutputError(
            f"this machine's clock says {now.isoformat()}, so retention times can't be computed",
            advice="Set the clock, then try again.",
        )


def is_due(item: Item) -> bool:
    """Return True if an item should be destroyed by now."""
    return item.state in KEPT and _time_of(item, "destroy_by") <= datetime.now(UTC)


def destroy(quarantine: Quarantine, item: Item, reason: str | None, *, override: bool) -> int:
    """Destroy one item; its record stays in the log. The data blocks on the disk are not overwritten.

    `override` destroys it even before its minimum retention is over, or if all its entries were withdrawn;
    nothing destroys what a removal order for terrorist content names before six months are over.

    Returns:
        The number of other hard links of the file. Through them the content remains, readable by root alone.

    Raises:
        QuarantineSkipped: the item must still be kept, or can't be removed.
        OutputError: the quarantine can't be written, or the ledger can't be read.
    """
    if item.state not in KEPT:
        raise QuarantineSkipped(Outcome.REFUSED, f"it is not in quarantine: {item.state.value}")
    if _time_of(item, "retain_min") > datetime.now(UTC) and not override:
        raise QuarantineSkipped(Outcome.REFUSED, f"it must be kept until {item.record['retain_min']}")
    if reason_to_keep := preservation_reason(quarantine.state, item):
        raise QuarantineSkipped(Outcome.REFUSED, reason_to_keep)
    if item.withdrawn and not override:
        raise QuarantineSkipped(
            Outcome.REFUSED, "all entries that match it were withdrawn: restore it, or use --override"
        )
    place = None if item.is_object else quarantine.storage.folder_of(item)
    quarantine.log_event(State.RELEASING, item.id, reason=reason, override=override)
    quarantine.log.sync()
    names = 0
    try:
        if place is not None:
            entry = item.id.encode()
            names = os.stat(entry, dir_fd=place.descriptor, follow_symlinks=False).st_nlink - 1
        quarantine.storage.drop(item)
    except (OSError, QuarantineSkipped) as error:
        skipped = to_skipped(error)
        quarantine.log_event(State.STAYS, item.id, detail=str(skipped))
        quarantine.sync()
        raise skipped from error
    quarantine.log_event(State.RELEASED, item.id, **({"other_names": names} if names else {}))
    quarantine.sync()
    return names


def _time_of(item: Item, key: str) -> datetime:
    return datetime.fromisoformat(item.record[key])
