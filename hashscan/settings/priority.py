"""The settings of priority, rate limits and load limit, with which a scan yields to other programs."""

from __future__ import annotations

from dataclasses import dataclass

from hashscan.settings.values import require_positive


@dataclass(frozen=True, slots=True)
class PrioritySettings:
    """The priority and limits with which a scan yields to other programs of the machine."""

    background: bool = False
    """True to use processors and disks only when nobody else does."""
    limit_rate: int | None = None
    """The rate limit in bytes per second, for all workers together."""
    limit_files: float | None = None
    """The rate limit in files per second, for all workers together."""
    max_load: float | None = None
    """The load limit: the scan waits while the load average of other programs over a minute is higher."""

    def __post_init__(self) -> None:
        for option, value in (
            ("--limit-rate", self.limit_rate),
            ("--limit-files", self.limit_files),
            ("--max-load", self.max_load),
        ):
            if value is not None:
                require_positive(option, value)

    @property
    def rate_limited(self) -> bool:
        """True if workers must ask the rate limiter before they read."""
        return any(limit is not None for limit in (self.limit_rate, self.limit_files, self.max_load))


NO_LIMITS = PrioritySettings()
