"""Options of servers of pages: who may connect, and how browsers and proxies reach them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import FILE, gather_options
from hashscan.cli.options.service import NETWORK
from hashscan.errors import UsageError
from hashscan.settings.service import TcpAddress, UnixAddress

_PUBLIC_URL = re.compile(
    r"https://[A-Za-z0-9.-]+(:[0-9]+)?|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
)
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)


F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """The clients that may connect, and TLS."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    tls: tuple[Path, Path] | None


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """Addresses and proxies by which pages are reached."""

    public_url: str
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    trust_user_header: str = ""

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


def _listener(
    networks: tuple[IPv4Network | IPv6Network, ...], certificate: Path | None, key: Path | None
) -> ListenerOptions:
    if (certificate is None) != (key is None):
        raise UsageError("--tls-cert and --tls-key belong together", advice="Give both, or none.")
    if networks and certificate is None:
        raise UsageError(
            "what other machines send would travel in the clear",
            advice="Give --tls-cert and --tls-key, or put a reverse proxy with TLS in front.",
        )
    return ListenerOptions(networks, None if certificate is None or key is None else (certificate, key))


def listener_options(server: str) -> Callable[[F], F]:
    """Return a decorator that adds `listener`; `server` names the server in their help."""
    return gather_options(
        "listener",
        _listener,
        click.option(
            "--allow-network",
            "networks",
            type=NETWORK,
            multiple=True,
            metavar="CIDR",
            help="Network beyond this machine whose clients may connect; repeatable. It needs --tls-cert.",
        ),
        click.option("--tls-cert", type=FILE, metavar="FILE", help=f"Certificate of the {server} (PEM)."),
        click.option("--tls-key", type=FILE, metavar="FILE", help="Key of this certificate (PEM)."),
    )


_REACHED = (
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
)


def _site(public_url: str, proxies: tuple[IPv4Network | IPv6Network, ...], header: str = "") -> SiteOptions:
    return SiteOptions(public_url.lower(), proxies, header)


public_site_options = gather_options("site", _site, *_REACHED)
"""For pages on which nobody signs in."""
site_options = gather_options(
    "site",
    _site,
    *_REACHED,
    click.option(
        "--trust-user-header",
        "header",
        metavar="NAME",
        default="",
        help="Header in which a trusted proxy names the user, whom it has signed in, such as X-Remote-User. "
        "Then nobody signs in otherwise.",
    ),
)
