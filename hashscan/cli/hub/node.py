"""`hashscan hub init` and `hashscan hub serve`: set up the database, and run a node."""

from __future__ import annotations

import logging
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import click

from hashscan.cli.hub.options import NETWORK, actor, database_option, hub_option
from hashscan.cli.options.base import FILE, HashscanCommand, list_option, state_option
from hashscan.cli.options.cases_and_alerts import channel_options
from hashscan.cli.options.service import ADDRESS, filter_options
from hashscan.cli.options.tables import reporter_option
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.server import serve as run_node
from hashscan.hub.storage.database import HubAddress
from hashscan.hub.web.requests import HubSettings
from hashscan.model import Reporter
from hashscan.settings.cases_and_alerts import AlertSettings
from hashscan.settings.service import TcpAddress, UnixAddress
from hashscan.state_dir import StateDir

_PUBLIC_URL = re.compile(
    r"https://[A-Za-z0-9.-]+(:[0-9]+)?|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
)
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)


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
@click.option(
    "--allow-network",
    "networks",
    type=NETWORK,
    multiple=True,
    metavar="CIDR",
    help="Network beyond this machine whose clients may connect; repeatable. It needs --tls-cert.",
)
@click.option("--tls-cert", type=FILE, metavar="FILE", help="Certificate of the hub (PEM).")
@click.option("--tls-key", type=FILE, metavar="FILE", help="Key of this certificate (PEM).")
@click.option(
    "--public-url",
    metavar="URL",
    default="",
    help="Address of the pages as browsers see it, such as https://hub.example.net, if a reverse proxy is in "
    "front. Default: that of the node.",
)
@click.option(
    "--trusted-proxy",
    "proxies",
    type=NETWORK,
    multiple=True,
    metavar="CIDR",
    help="Address of a reverse proxy whose headers about its clients are believed; repeatable. Whoever can "
    "use a Unix socket of --listen is believed, too.",
)
@click.option(
    "--trust-user-header",
    "header",
    metavar="NAME",
    default="",
    help="Header in which a trusted proxy names the user, whom it has signed in, such as X-Remote-User. Then "
    "nobody signs in by password.",
)
@channel_options
@reporter_option
@list_option
@filter_options
@database_option
@state_option
def serve(
    listen: UnixAddress | TcpAddress,
    networks: tuple[IPv4Network | IPv6Network, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    public_url: str,
    proxies: tuple[IPv4Network | IPv6Network, ...],
    header: str,
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
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together", advice="Give both, or none.")
    if networks and tls_cert is None:
        raise UsageError(
            "keys and digests of other machines would travel in the clear",
            advice="Give --tls-cert and --tls-key, or put a reverse proxy with TLS in front.",
        )
    tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
    if public_url and not _PUBLIC_URL.fullmatch(public_url):
        raise UsageError(
            f"{public_url!r} is not the address of pages",
            advice="Write https:// and a host name, without a path; http:// for this machine alone.",
        )
    if header and not _HEADER.fullmatch(header):
        raise UsageError(f"{header!r} is not the name of a header", advice="Write one such as X-Remote-User.")
    if header and not proxies and not isinstance(listen, UnixAddress):
        raise UsageError(
            "everybody could name himself in this header",
            advice="Name the proxy's address by --trusted-proxy, or listen at a Unix socket.",
        )
    return run_node(
        HubSettings(
            state,
            database,
            listen,
            networks,
            tls,
            lists or None,
            filter,
            alerts=alerts,
            reporter=reporter,
            public_url=public_url.lower(),
            trusted_proxies=proxies,
            trust_user_header=header,
        ),
        print_message,
    )
