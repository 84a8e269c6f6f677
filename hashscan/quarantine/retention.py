"""How long the law has evidence kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hashscan.errors import OutputError

_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""A clock that says an earlier day is wrong, such as one without a battery, which begins in 1970."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The two terms; there is no value of either that is right in every country."""

    retain_min: timedelta
    """No item is destroyed earlier unless told so."""
    destroy_by: timedelta
    """Every item should be destroyed by then."""

    def terms(self, now: datetime) -> dict[str, str]:
        """Both for what is moved now, as the log has them.

        Raises:
            OutputError: the clock is so wrong that `release` would destroy all of it once it is set.
        """
        require_clock(now)
        return {
            "retain_min": (now + self.retain_min).isoformat(),
            "destroy_by": (now + self.destroy_by).isoformat(),
        }


def require_clock(now: datetime) -> None:
    """Refuse to reckon with a time that can't be.

    Raises:
        OutputError: it is before this program was.
    """
    if now < _EARLIEST:
        raise OutputError(
            f"this machine's clock says {now.isoformat()}, from which no term can be reckoned",
            advice="Set the clock, then try again.",
        )
