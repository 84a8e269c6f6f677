"""`hashscan worker`: run this machine as a node of a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from hashscan.cli.options.base import HashscanCommand, state_option, worker_count
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.workers import certificate_options, neighbour_of, neighbour_options
from hashscan.cli.output.terminal import print_message
from hashscan.scan.workers.process_setup import lower_priority
from hashscan.settings.resources import ClusterSettings
from hashscan.settings.values import default_workers
from hashscan.state_dir import StateDir

EXIT_CODES = (2, 12, 13, 70, 130, 143)


@click.command(cls=HashscanCommand, exit_codes=EXIT_CODES, needs=RootRights.READING)
@click.option(
    "--scheduler", required=True, metavar="ADDRESS", help="Address of the Dask scheduler: tls://HOST:PORT."
)
@certificate_options
@click.option(
    "--processes",
    type=int,
    callback=worker_count,
    default=default_workers,
    show_default="one for each processor",
    help="Number of processes that read and digest files.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    help=(
        "Address under which other machines reach this one. Default: the address from which it "
        "reaches the scheduler."
    ),
)
@neighbour_options
@state_option
def command(
    scheduler: str,
    cluster_ca: Path | None,
    cluster_cert: Path | None,
    cluster_key: Path | None,
    processes: int,
    host: str | None,
    background: bool | None,
    limit_rate: int | None,
    limit_files: float | None,
    max_load: float | None,
    state: StateDir,
) -> int:
    """Run a worker of a cluster until a signal arrives.

    It reads files with the rights of this user and matches them against the lists in its own state folder.
    Everybody who can submit tasks to the scheduler can run any program as this user.
    """
    cluster = ClusterSettings(scheduler, cluster_ca, cluster_cert, cluster_key)
    neighbour = neighbour_of(background, limit_rate, limit_files, max_load)
    if neighbour.background:
        # Before any process starts: children inherit the priority.
        lower_priority()
    from hashscan.scan.cluster.host import HostSettings, check_node, run_host

    settings = HostSettings(cluster, state, processes, host, neighbour)
    print_message(f"hashscan: {check_node(settings)}")
    return run_host(settings, lambda words: print_message(f"hashscan: {words}"))
