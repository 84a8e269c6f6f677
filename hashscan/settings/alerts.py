"""The settings of alerts (notifications): the channels, and the events to report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

NotifyOn = Literal["found", "trouble", "always"]


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The channels of alerts, and the events to report."""

    urls: tuple[str, ...] = field(default=(), repr=False)
    """Apprise URLs; most contain secrets."""
    hooks: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """Programs with their arguments."""
    syslog: bool = False
    on: NotifyOn = "trouble"
    """The events: `found` is findings only, `always` includes scans that went well."""
    details: bool = False
    """True if alerts name paths and customers."""
    metrics: Path | None = None
    """The metrics file for Prometheus."""

    @property
    def any_channel(self) -> bool:
        """True if there is any channel."""
        return bool(self.urls or self.hooks or self.syslog)


NO_ALERTS = AlertSettings()
