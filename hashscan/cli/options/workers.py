"""Options for the workers of a scan or of a cluster node: rate limits, load limit, priority, and the
cluster's certificates.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import FILE, gather_options, setting_options
from hashscan.settings.resources import ClusterSettings, PrioritySettings

F = TypeVar("F", bound=Callable[..., Any])


def _priority_settings(background: bool | None, *limits: Any) -> PrioritySettings:
    return PrioritySettings(not sys.stderr.isatty() if background is None else background, *limits)


neighbour_options = gather_options(
    "neighbour",
    _priority_settings,
    click.option(
        "--background/--foreground",
        default=None,
        help="Use processors and disks only when they are idle (nice 19, idle I/O). Default: on if "
        "standard error is not a terminal, as under cron.",
    ),
    setting_options(PrioritySettings),
)


def _cluster_settings(scheduler: str | None, *certificates: Path | None) -> ClusterSettings | None:
    """Return the settings; None without a scheduler, even if variables name certificates."""
    return None if scheduler is None else ClusterSettings(scheduler, *certificates)


def _certificate_option(name: str, text: str) -> Callable[[F], F]:
    return click.option(name, type=FILE, metavar="FILE", help=f"{text} (PEM).")


def cluster_options(scheduler: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds the option of the scheduler's address, and those of the certificates."""
    return gather_options(
        "cluster",
        _cluster_settings,
        scheduler,
        _certificate_option(
            "--cluster-ca", "Certificate of the certificate authority that signs for this cluster only"
        ),
        _certificate_option("--cluster-cert", "Certificate of this machine"),
        _certificate_option(
            "--cluster-key", "Key of this certificate, without a passphrase, readable by this user only"
        ),
    )
