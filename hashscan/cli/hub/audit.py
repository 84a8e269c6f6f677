"""`hashscan hub audit`: show and verify the audit log of a hub."""

from __future__ import annotations

from typing import Any

import click
from msgspec import Struct

from hashscan.cli.hub.options import hub_option
from hashscan.cli.options.base import HashscanGroup, argument_option
from hashscan.cli.options.output import format_option, write_json_line
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.terminal import print_table
from hashscan.hash_chain import EMPTY, parse_head
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.storage.database import HubAddress
from hashscan.schema import Time
from hashscan.timefmt import format_utc_seconds

_CODES = (0, 2, 12, 70)
_SHOWN = frozenset({"at", "actor", "action", "organisation"})


@click.group(cls=HashscanGroup)
def command() -> None:
    """Show and verify the log of who did what."""


class ListedAuditLine(Struct):
    """A line of the audit log."""

    at: Time
    actor: str
    """`cli USER`, `user NAME`, `key ORGANISATION/NAME` or `hub`."""
    action: str
    organisation: int | None
    """Number of the organisation that it concerns."""
    details: dict[str, Any]


@command.command("list", exit_codes=_CODES)
@format_option("table", "json", help="A table, or each line as JSON.")
@hub_option
def list_(format_name: str, hub: HubAddress) -> None:
    """Show the lines of the log, the oldest first."""
    with hub.open() as opened:
        lines = (line for line, _ in read_audit(opened))
        if format_name == "json":
            for line in lines:
                details = {key: value for key, value in line.items() if key not in _SHOWN}
                at = format_utc_seconds(line["at"])
                write_json_line(
                    ListedAuditLine(at, line["actor"], line["action"], line["organisation"], details)
                )
            return
        print_table(
            ("time", "actor", "action", "details"),
            (
                (
                    format_utc_seconds(line["at"]),
                    line["actor"],
                    line["action"],
                    ", ".join(f"{key}: {value}" for key, value in line.items() if key not in _SHOWN),
                )
                for line in lines
            ),
        )


@command.command(exit_codes=_CODES)
@argument_option(
    "--head",
    metavar="HEAD",
    help="Head that the log must contain, as this command printed it before; keep it on another machine.",
)
@hub_option
def verify(head: str | None, hub: HubAddress) -> None:
    """Verify that no line was changed or removed, and print the head."""
    known = None if head is None else parse_head(head)
    found = EMPTY
    with hub.open() as opened:
        for _, head_here in read_audit(opened, known):
            found = head_here
    click.echo(str(found))
    print_message(f"the audit log is unchanged; {found.count} lines")
