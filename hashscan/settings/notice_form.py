"""The settings of the public form for notices, as validated dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from hashscan.model import CustomerRule, Reporter, SiteRule
from hashscan.settings.option import Checked, setting
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress
from hashscan.state_dir import StateDir


@dataclass(frozen=True, slots=True)
class FormLimits(Checked):
    """The limits of the form; what exceeds them is refused at once."""

    per_client: int = setting(
        "--max-per-client", 30, "Notices that one address may send in an hour.", int, "NUMBER"
    )
    per_hour: int = setting(
        "--max-per-hour", 1000, "Notices that all together may send in an hour.", int, "NUMBER"
    )
    waiting: int = setting(
        "--max-waiting",
        10_000,
        "Notices that may wait until a command brings the ledger up to date; others are refused.",
        int,
        "NUMBER",
    )
    waiting_bytes: int = setting(
        "--max-waiting-size", 256 << 20, "Size of all waiting notices together.", "size"
    )


@dataclass(frozen=True, slots=True)
class FormSettings:
    """All settings of a server of the form."""

    state: StateDir
    address: UnixAddress | TcpAddress
    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks beyond loopback whose clients may connect."""
    tls: tuple[Path, Path] | None = None
    """Certificate and key."""
    public_url: str = ""
    """As in `HubSettings`."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """As in `HubSettings`."""
    limits: FormLimits = field(default_factory=FormLimits)
    reporter: Reporter | None = None
    """The operator, whom the pages name."""
    sites: tuple[SiteRule, ...] = ()
    customers: tuple[CustomerRule, ...] = ()
    connections_max: int = 500
    idle_seconds: float = 20.0
    request_seconds: float = 60.0
    stop_seconds: float = 30.0
    """Seconds for which requests in progress may go on after SIGTERM."""

    @property
    def door(self) -> DoorSettings:
        """The settings of the form's door."""
        return DoorSettings(
            "http",
            self.address,
            {},
            allow=self.allow,
            connections_max=self.connections_max,
            idle_seconds=self.idle_seconds,
            request_seconds=self.request_seconds,
        )
