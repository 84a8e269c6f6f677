"""Who is told of what a sweep has found, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

NotifyOn = Literal["found", "trouble", "always"]


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """Who is told of what a sweep has found, and how."""

    urls: tuple[str, ...] = field(default=(), repr=False)
    """Of Apprise; most hold secrets."""
    hooks: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """Programs with their arguments."""
    syslog: bool = False
    on: NotifyOn = "trouble"
    """`found` tells of findings alone, `always` also that a sweep went well."""
    details: bool = False
    """Whether alarms name paths and customers."""
    metrics: Path | None = None
    """File for Prometheus."""

    @property
    def any_channel(self) -> bool:
        """Whether anybody is told at all."""
        return bool(self.urls or self.hooks or self.syslog)


NO_ALARMS = AlarmSettings()
