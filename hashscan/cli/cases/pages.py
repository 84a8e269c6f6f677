"""`hashscan cases serve`: local pages about cases."""

from __future__ import annotations

import logging

import click

from hashscan.cli.options.base import HashscanCommand, argument_option, state_option
from hashscan.cli.options.cases_and_alerts import deadline_options
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.service import ADDRESS
from hashscan.cli.options.site import SiteOptions, site_options
from hashscan.cli.output.ledger_sync import require_state
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.settings.service import TcpAddress, UnixAddress
from hashscan.state_dir import StateDir


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 12, 70),
    needs=RootRights.FILES,
    meanings={0: "stopped by SIGTERM or SIGINT"},
    level=logging.INFO,
)
@argument_option(
    "--listen",
    type=ADDRESS,
    default="tcp:127.0.0.1:8482",
    metavar="ADDRESS",
    help="tcp:HOST:PORT or unix:PATH. Default: tcp:127.0.0.1:8482. Besides this machine, only a "
    "--trusted-proxy can connect.",
)
@site_options
@deadline_options
@state_option
def serve(
    listen: UnixAddress | TcpAddress, site: SiteOptions, deadlines: CaseSettings, state: StateDir
) -> int:
    """Serve pages about cases to this machine: lists, one case, and forms to review and assign.

    Open the address that is printed: its token admits you, until the command ends. Behind a reverse proxy,
    --trust-user-header names the person instead. No page shows a picture.
    """
    try:
        from hashscan.web.cases.access import CasePagesSettings
        from hashscan.web.cases.server import serve as run
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the pages need the library {error.name}, which is not installed",
            advice="Install the extra: pip install 'hashscan[serve]'.",
        ) from error
    from hashscan.cases.actions import operator

    site.check(listen)
    require_state(state)
    settings = CasePagesSettings(
        state,
        deadlines,
        listen,
        operator(),
        site.public_url,
        site.trusted_proxies,
        site.trust_user_header,
    )
    return run(settings, print_message)
