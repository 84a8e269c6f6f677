"""Options for the workers of a scan or of a cluster node: rate limits, load limit, priority, and the
cluster's certificates.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import SizeParam, positive
from hashscan.settings.resources import ClusterSettings, PrioritySettings

F = TypeVar("F", bound=Callable[..., Any])


def neighbour_options(command: F) -> F:
    """Add the options; `neighbour_of` takes their values."""
    for option in reversed(
        (
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
    ):
        command = option(command)
    return command


def neighbour_of(
    background: bool | None, limit_rate: int | None, limit_files: float | None, max_load: float | None
) -> PrioritySettings:
    """Return the values of these options as settings.

    Raises:
        UsageError: a limit is not above 0.
    """
    if background is None:
        background = not sys.stderr.isatty()
    return PrioritySettings(background, limit_rate, limit_files, max_load)


def certificate_options(command: F) -> F:
    """Add the options that name this machine's certificate."""
    for option, text in reversed(
        (
            ("--cluster-ca", "Certificate of the certificate authority that signs for this cluster only"),
            ("--cluster-cert", "Certificate of this machine"),
            ("--cluster-key", "Key of this certificate, without a passphrase, readable by this user only"),
        )
    ):
        kind = click.Path(path_type=Path, dir_okay=False)
        command = click.option(option, type=kind, metavar="FILE", help=f"{text} (PEM).")(command)
    return command


def cluster_of(
    scheduler: str | None, cluster_ca: Path | None, cluster_cert: Path | None, cluster_key: Path | None
) -> ClusterSettings | None:
    """Return the cluster options as settings; None without a scheduler, even if variables name certificates.

    Raises:
        UsageError: the options contradict each other.
    """
    if scheduler is None:
        return None
    return ClusterSettings(scheduler, cluster_ca, cluster_cert, cluster_key)
