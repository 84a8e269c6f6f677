"""Options for the workers of a scan or of a cluster node: rate limits, load limit, priority, and the
cluster's certificates.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import SizeParam, gather_options, positive
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
        help=(
            "Use processors and disks only when they are idle (nice 19, idle I/O). Default: on if "
            "standard error is not a terminal, as under cron."
        ),
    ),
    click.option(
        "--limit-rate",
        type=SizeParam(),
        callback=positive,
        metavar="SIZE",
        help="Read or download at most this many bytes per second, in all workers; such as 20M.",
    ),
    click.option(
        "--limit-files",
        type=float,
        callback=positive,
        metavar="NUMBER",
        help="Open at most this many files or objects per second, all workers together.",
    ),
    click.option(
        "--max-load",
        type=float,
        callback=positive,
        metavar="NUMBER",
        help="Pause while the one-minute load average, without the load of this scan, is higher.",
    ),
)


def _cluster_settings(scheduler: str | None, *certificates: Path | None) -> ClusterSettings | None:
    """Return the settings; None without a scheduler, even if variables name certificates."""
    return None if scheduler is None else ClusterSettings(scheduler, *certificates)


def _certificate_option(name: str, text: str) -> Callable[[F], F]:
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(name, type=kind, metavar="FILE", help=f"{text} (PEM).")


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
