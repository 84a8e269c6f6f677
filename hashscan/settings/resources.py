"""The settings of the resources of a scan: priority, rate limits, load limit, and the cluster."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hashscan.errors import UsageError
from hashscan.settings.option import Checked, setting


@dataclass(frozen=True, slots=True)
class PrioritySettings(Checked):
    """The priority and limits with which a scan yields to other programs of the machine."""

    background: bool = False
    """True to use processors and disks only when nobody else does."""
    limit_rate: int | None = setting(
        "--limit-rate",
        None,
        "Read or download at most this many bytes per second, in all workers; such as 20M.",
        "size",
        "SIZE",
    )
    limit_files: float | None = setting(
        "--limit-files",
        None,
        "Open at most this many files or objects per second, all workers together.",
        float,
        "NUMBER",
    )
    max_load: float | None = setting(
        "--max-load",
        None,
        "Pause while the one-minute load average, without the load of this scan, is higher.",
        float,
        "NUMBER",
    )

    @property
    def rate_limited(self) -> bool:
        """True if workers must ask the rate limiter before they read."""
        return any(limit is not None for limit in (self.limit_rate, self.limit_files, self.max_load))


NO_LIMITS = PrioritySettings()


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The scheduler of a Dask cluster, and this machine's certificate."""

    scheduler: str
    """The address: `tls://HOST:PORT`, or `tcp://HOST:PORT` on this machine only."""
    ca: Path | None = None
    """The PEM file of the certificate authority that signs for the cluster, and for nobody else."""
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.scheduler)
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        if not host or not port or url.scheme not in {"tls", "tcp"} or url.path or url.username or url.query:
            raise UsageError(
                f"{self.scheduler!r} is no scheduler's address",
                advice="Write tls://HOST:PORT, such as tls://scheduler:8786.",
            )
        files = {"--cluster-ca": self.ca, "--cluster-cert": self.cert, "--cluster-key": self.key}
        if url.scheme == "tls":
            if missing := [option for option, path in files.items() if path is None]:
                raise UsageError(
                    f"{self.scheduler} needs {', '.join(missing)}",
                    advice="Both sides of a connection must show a certificate of the cluster's authority.",
                )
        elif any(files.values()):
            raise UsageError(
                f"{self.scheduler} makes no use of certificates", advice="Write tls:// in place of tcp://."
            )
        elif not _on_this_machine(host):
            raise UsageError(
                f"{self.scheduler} is not on this machine, and everybody who reaches a scheduler over "
                "tcp:// can run any program on its workers",
                advice="Use tls://, with --cluster-ca, --cluster-cert and --cluster-key.",
            )

    @property
    def encrypted(self) -> bool:
        """True if both sides show certificates."""
        return self.ca is not None


def _on_this_machine(host: str) -> bool:
    """Return True if a name or address has loopback addresses only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass  # It is a name.
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(address).is_loopback for address in found)
