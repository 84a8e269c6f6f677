"""`hashscan serve`: make the settings of the service from the command line, and run it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from hashscan.cli.options.base import (
    FILE,
    HashscanCommand,
    container_options,
    list_option,
    matching_options,
    setting_options,
    state_option,
)
from hashscan.cli.options.service import door_options, filter_options, limit_options
from hashscan.cli.options.tables import decoding_options, legal_basis_option, policy_options
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.settings.service import ServeSettings


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 10, 12, 70),
    meanings={0: "stopped by SIGTERM or SIGINT"},
    level=logging.INFO,
    hashes=True,
)
@door_options
@click.option(
    "--clamd-root",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Let clients of a clamd Unix socket have files beneath this folder checked by path (SCAN), if their "
    "user may read them.",
)
@click.option(
    "--http-keys", type=FILE, metavar="FILE", help="Hashed keys of HTTP clients, with their rights."
)
@filter_options
@click.option("--tls-cert", type=FILE, metavar="FILE", help="Certificate of the HTTP doors (PEM).")
@click.option("--tls-key", type=FILE, metavar="FILE", help="Key of this certificate (PEM).")
@list_option
@matching_options
@policy_options
@legal_basis_option
@decoding_options
@container_options
@limit_options
@click.option(
    "--keep-refused",
    type=FILE,
    metavar="FILE",
    help="Keep the content of refused matches in the state folder, encrypted to the age recipients that FILE "
    "names, one on each line. Without it, the content is dropped.",
)
@setting_options(ServeSettings, "keep_refused_bytes")
@click.option(
    "--service-metrics",
    "metrics",
    type=FILE,
    metavar="FILE",
    help="File for the service's Prometheus metrics (textfile collector of node_exporter), such as "
    "/var/lib/prometheus/node-exporter/hashscan-serve.prom.",
)
@setting_options(ServeSettings, "stop_seconds")
@state_option
def command(
    lists: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    metrics: Path | None,
    **others: Any,
) -> int:
    """Check uploads before they are stored: for clients of clamd and ICAP, and over HTTP.

    It runs until SIGTERM or SIGINT. Lists, exceptions and restored content are read again when they change,
    and on SIGHUP. Sockets may come from systemd; see `hashscan-serve.socket` in the examples.
    """
    from hashscan.service.server import serve

    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together", advice="Give both, or none.")
    if metrics is not None and metrics.suffix != ".prom":
        raise UsageError(
            "--service-metrics: node_exporter reads only files whose name ends with .prom",
            advice="Give the file such a name.",
        )
    tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
    settings = ServeSettings(lists=lists or None, tls=tls, metrics=metrics, **others)
    return serve(settings, print_message)
