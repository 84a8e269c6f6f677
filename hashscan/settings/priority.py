"""How a sweep gives way to what else runs on the machine."""

from __future__ import annotations

from dataclasses import dataclass

from hashscan.settings.values import require_positive


@dataclass(frozen=True, slots=True)
class NeighbourSettings:
    """How a sweep gives way to what else runs on the machine."""

    background: bool = False
    """Take processors and disks only when nobody else wants them."""
    limit_rate: int | None = None
    """Bytes a second, all workers together."""
    limit_files: float | None = None
    """Files a second, all workers together."""
    max_load: float | None = None
    """Wait while the load average of others over a minute is higher."""

    def __post_init__(self) -> None:
        for option, value in (
            ("--limit-rate", self.limit_rate),
            ("--limit-files", self.limit_files),
            ("--max-load", self.max_load),
        ):
            if value is not None:
                require_positive(option, value)

    @property
    def paced(self) -> bool:
        """Whether workers have to ask before they read."""
        return any(limit is not None for limit in (self.limit_rate, self.limit_files, self.max_load))


NO_RESTRAINT = NeighbourSettings()
