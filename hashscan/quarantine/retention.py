"""How long the law has evidence kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """The two terms; there is no value of either that is right in every country."""

    retain_min: timedelta
    """No item is destroyed earlier unless told so."""
    destroy_by: timedelta
    """Every item should be destroyed by then."""

    def terms(self, now: datetime) -> dict[str, str]:
        """Both for what is moved now, as the log has them."""
        return {
            "retain_min": (now + self.retain_min).isoformat(),
            "destroy_by": (now + self.destroy_by).isoformat(),
        }
