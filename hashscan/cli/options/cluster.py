"""Options with which a scan and a node find their cluster, and authenticate to it by certificates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.settings.resources import ClusterSettings

F = TypeVar("F", bound=Callable[..., Any])


def certificate_options(command: F) -> F:
    """Add the options that name this machine's certificate."""
    for option, text in reversed(
        (
            (
                "--cluster-ca",
                "Certificate (PEM) of the certificate authority that signs for this cluster only.",
            ),
            ("--cluster-cert", "This machine's certificate."),
            (
                "--cluster-key",
                "Key (PEM) of this certificate, without a passphrase, readable by this user only.",
            ),
        )
    ):
        kind = click.Path(path_type=Path, dir_okay=False)
        command = click.option(option, type=kind, metavar="FILE", help=f"{text} PEM.")(command)
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
