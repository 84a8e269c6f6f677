"""Compute how long evidence is retained: a minimum term and a deadline for its destruction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hashscan.errors import OutputError

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
        """Return both deadlines for an item that is moved now, as the log stores them (ISO 8601).

        Raises:
            OutputError: the clock is so wrong that `release` would destroy the items once it is set.
        """
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
            f"this machine's clock says {now.isoformat()}, from which no term can be reckoned",
            advice="Set the clock, then try again.",
        )
