"""`hashscan worker`: run this machine as a node of a cluster."""

from __future__ import annotations

import click

from hashscan.cli.options.base import HashscanCommand, state_option, worker_count
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.workers import cluster_options, neighbour_options
from hashscan.cli.output.logs import print_message
from hashscan.scan.workers.process_setup import lower_priority
from hashscan.settings.resources import ClusterSettings, PrioritySettings
from hashscan.settings.values import default_workers
from hashscan.state_dir import StateDir

EXIT_CODES = (2, 12, 13, 70, 130, 143)


@click.command(cls=HashscanCommand, exit_codes=EXIT_CODES, needs=RootRights.READING)
@cluster_options(
    click.option(
        "--scheduler",
        required=True,
        metavar="ADDRESS",
        help="Address of the Dask scheduler: tls://HOST:PORT.",
    )
)
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
    help="Address under which other machines reach this one. Default: the address from which it "
    "reaches the scheduler.",
)
@neighbour_options
@state_option
def command(
    cluster: ClusterSettings,
    processes: int,
    host: str | None,
    neighbour: PrioritySettings,
    state: StateDir,
) -> int:
    """Run a worker of a cluster until a signal arrives.

    It reads files with the rights of this user and matches them against the lists in its own state folder.
    Everybody who can submit tasks to the scheduler can run any program as this user.
    """
    if neighbour.background:
        # Before any process starts: children inherit the priority.
        lower_priority()
    from hashscan.scan.cluster.host import HostSettings, check_node, run_host

    settings = HostSettings(cluster, state, processes, host, neighbour)
    print_message(check_node(settings))
    return run_host(settings, print_message)
