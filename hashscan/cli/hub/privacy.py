"""`hashscan hub prune` and `hashscan hub export`: delete old details; write all about one."""

from __future__ import annotations

import time

import click

from hashscan.cli.hub.options import actor, hub_option
from hashscan.cli.options.base import DURATION, HashscanCommand, argument_option
from hashscan.cli.options.output import write_json_line
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.hub.accounts import privacy
from hashscan.hub.storage.database import HubAddress

_CODES = (0, 2, 12, 70)
_DAY = 86_400


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@argument_option(
    "--older-than",
    type=DURATION,
    required=True,
    metavar="TIME",
    help="Cases and notices that ended longer ago than this, such as 730d.",
)
@hub_option
def prune(older_than: float, hub: HubAddress) -> None:
    """Delete details of old ended cases and notices, and what is kept for hours only.

    Paths, addresses, customers, digests, reasons and names of persons are deleted. Times, verdicts and
    categories stay, so that figures don't change. Requests older than 48 hours, sessions unused for a day,
    mails that were sent or given up before that time, and those of such notices are deleted. The audit log
    stays.
    """
    if older_than < _DAY:
        raise UsageError("--older-than must be a day or more", advice="Give a time such as 730d.")
    now = int(time.time())
    with hub.transaction() as connection:
        counts = privacy.prune(connection, actor(), int(now - older_than), now)
    print_message(", ".join(f"{number} {name}" for name, number in counts.items()))


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@click.argument("organisation")
@hub_option
def export(organisation: str, hub: HubAddress) -> None:
    """Write everything that is kept about an organisation to standard output, as JSON Lines.

    Lines of the audit log that name the organisation are among them, and those of its users and keys.

    Each line has the name of a table, and a row of it. Digests of keys and passwords are left out.
    """
    with hub.reading() as connection:
        for line in privacy.export(connection, organisation):
            write_json_line(line)
