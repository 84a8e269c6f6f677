"""Options of servers of pages that say how browsers and proxies reach them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import click

from hashscan.cli.options.base import gather_options
from hashscan.cli.options.service import NETWORK
from hashscan.errors import UsageError
from hashscan.settings.service import TcpAddress, UnixAddress

_PUBLIC_URL = re.compile(
    r"https://[A-Za-z0-9.-]+(:[0-9]+)?|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
)
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """How pages are reached."""

    public_url: str
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    trust_user_header: str

    def check(self, listen: UnixAddress | TcpAddress) -> None:
        """Check that only a proxy can name people.

        Raises:
            UsageError: everybody could, or an option is not valid.
        """
        if self.public_url and not _PUBLIC_URL.fullmatch(self.public_url):
            raise UsageError(
                f"{self.public_url!r} is not the address of pages",
                advice="Write https:// and a host name, without a path; http:// for this machine alone.",
            )
        header = self.trust_user_header
        if header and not _HEADER.fullmatch(header):
            raise UsageError(
                f"{header!r} is not the name of a header", advice="Write one such as X-Remote-User."
            )
        if header and not self.trusted_proxies and not isinstance(listen, UnixAddress):
            raise UsageError(
                "everybody could name himself in this header",
                advice="Name the proxy's address by --trusted-proxy, or listen at a Unix socket.",
            )


site_options = gather_options(
    "site",
    lambda public_url, proxies, header: SiteOptions(public_url.lower(), proxies, header),
    click.option(
        "--public-url",
        metavar="URL",
        default="",
        help="Address of the pages as browsers see it, such as https://hub.example.net, if a reverse proxy "
        "is in front. Default: that of the server.",
    ),
    click.option(
        "--trusted-proxy",
        "proxies",
        type=NETWORK,
        multiple=True,
        metavar="CIDR",
        help="Address of a reverse proxy whose headers about its clients are believed; repeatable. Whoever "
        "can use a Unix socket of --listen is believed, too.",
    ),
    click.option(
        "--trust-user-header",
        "header",
        metavar="NAME",
        default="",
        help="Header in which a trusted proxy names the user, whom it has signed in, such as X-Remote-User. "
        "Then nobody signs in otherwise.",
    ),
)
