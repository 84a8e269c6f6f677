"""`hashscan cases form`: serve the public form for notices."""

from __future__ import annotations

import logging

import click

from hashscan.cli.options.base import (
    HashscanCommand,
    argument_option,
    gather_options,
    setting_options,
    state_option,
)
from hashscan.cli.options.service import ADDRESS
from hashscan.cli.options.site import ListenerOptions, SiteOptions, listener_options, public_site_options
from hashscan.cli.options.tables import customer_options, reporter_option, site_option
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.model import CustomerRule, Reporter, SiteRule
from hashscan.settings.notice_form import FormLimits, FormSettings
from hashscan.settings.service import TcpAddress, UnixAddress
from hashscan.state_dir import StateDir


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 12, 70),
    meanings={0: "stopped by SIGTERM or SIGINT"},
    level=logging.INFO,
)
@argument_option(
    "--listen",
    type=ADDRESS,
    default="tcp:127.0.0.1:8490",
    metavar="ADDRESS",
    help="tcp:HOST:PORT or unix:PATH. Default: tcp:127.0.0.1:8490, for a reverse proxy on this machine.",
)
@listener_options("form")
@public_site_options
@gather_options("limits", FormLimits, setting_options(FormLimits))
@reporter_option
@site_option
@customer_options
@state_option
def form(
    listen: UnixAddress | TcpAddress,
    listener: ListenerOptions,
    site: SiteOptions,
    limits: FormLimits,
    reporter: Reporter | None,
    sites: tuple[SiteRule, ...],
    customers: tuple[CustomerRule, ...],
    state: StateDir,
) -> int:
    """Serve a page on which anybody can send a notice of illegal content, until SIGTERM or SIGINT.

    It has the fields of article 16 of the Digital Services Act, and takes no files. POST /v1/notices takes
    the same as JSON. It needs no lists and no rights of root: notices wait in the folder form/ of the state
    folder until a scan or any other command that uses the cases makes cases of them.
    """
    try:
        from hashscan.notice_form.server import serve
    except ImportError as error:
        raise UsageError(
            f"the form needs a package that is not installed: {error.name}",
            advice="Install the extra: pip install 'hashscan[serve]'.",
        ) from error
    site.check(listen)
    settings = FormSettings(
        state, listen, listener.networks, listener.tls, site.public_url, site.trusted_proxies,
        limits, reporter, sites, customers,
    )  # fmt: skip
    return serve(settings, print_message)
