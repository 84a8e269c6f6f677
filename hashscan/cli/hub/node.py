"""`hashscan hub init` and `hashscan hub serve`: set up the database, and run a node."""

from __future__ import annotations

import logging

import click

from hashscan.cli.hub.options import actor, database_option, hub_option
from hashscan.cli.options.base import HashscanCommand, list_option, state_option
from hashscan.cli.options.cases_and_alerts import channel_options
from hashscan.cli.options.service import ADDRESS, filter_options
from hashscan.cli.options.site import ListenerOptions, SiteOptions, listener_options, site_options
from hashscan.cli.options.tables import reporter_option
from hashscan.cli.output.logs import print_message
from hashscan.hub.accounts.audit import record
from hashscan.hub.server import serve as run_node
from hashscan.hub.storage.database import HubAddress
from hashscan.hub.web.requests import HubSettings
from hashscan.model import Reporter
from hashscan.settings.cases_and_alerts import AlertSettings
from hashscan.settings.service import TcpAddress, UnixAddress
from hashscan.state_dir import StateDir


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@hub_option
def init(hub: HubAddress) -> None:
    """Make the tables of a hub, or bring those of an older version up to date.

    If it is interrupted, the tables stay as they were, and it can be repeated.
    """
    with hub.open(new=True) as opened:
        if opened.migrate(lambda connection: record(connection, actor(), "hub.init")):
            print_message("the tables of the hub are ready")
        else:
            print_message("the tables of the hub are up to date")


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 10, 12, 70),
    meanings={0: "stopped by SIGTERM or SIGINT"},
    level=logging.INFO,
    hashes=True,
)
@click.option(
    "--listen",
    type=ADDRESS,
    default="tcp:127.0.0.1:8480",
    metavar="ADDRESS",
    help="tcp:HOST:PORT or unix:PATH. Default: tcp:127.0.0.1:8480, for a reverse proxy on this machine.",
)
@listener_options("hub")
@site_options
@channel_options
@reporter_option
@list_option
@filter_options
@database_option
@state_option
def serve(
    listen: UnixAddress | TcpAddress,
    listener: ListenerOptions,
    site: SiteOptions,
    alerts: AlertSettings,
    reporter: Reporter | None,
    lists: tuple[str, ...],
    filter: tuple[str, str] | None,  # noqa: A002 - named as the option
    database: str,
    state: StateDir,
) -> int:
    """Run a node of the hub until SIGTERM or SIGINT.

    Lists are read again when they change. Several nodes may share a PostgreSQL database. A server that sends
    no more reports raises an alert. Mails to organisations are sent if the first --notify URL of mail and the
    table [reporter] are there.
    """
    site.check(listen)
    return run_node(
        HubSettings(
            state,
            database,
            listen,
            listener.networks,
            listener.tls,
            lists or None,
            filter,
            alerts=alerts,
            reporter=reporter,
            public_url=site.public_url,
            trusted_proxies=site.trusted_proxies,
            trust_user_header=site.trust_user_header,
        ),
        print_message,
    )
