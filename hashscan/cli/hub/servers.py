"""`hashscan hub server` and `hashscan hub alerts`: the servers that send reports, and those that don't."""

from __future__ import annotations

import time

import click
from msgspec import Struct

from hashscan.cli.hub.options import actor, hub_option
from hashscan.cli.options.base import DURATION, HashscanCommand, HashscanGroup, argument_option
from hashscan.cli.options.cases_and_alerts import CATEGORY_DEADLINE, channel_options
from hashscan.cli.options.output import format_option, write_json_line
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.notifications import print_failed_deliveries
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, EXIT_UNREACHABLE, UsageError
from hashscan.hub.accounts.organisations import organisation_named
from hashscan.hub.intake.servers import ServerState, change_defaults, raise_silence, servers, set_silent_after
from hashscan.hub.storage.database import HubAddress
from hashscan.schema import Time
from hashscan.settings.cases_and_alerts import AlertSettings
from hashscan.text import plural, printable
from hashscan.timefmt import format_utc_seconds

_CODES = (0, 2, 12, 70)
_DURATION_MAX = 10 * 365 * 86_400


class ListedServer(Struct, kw_only=True):
    """A server of an organisation, and its last scan whose report is complete."""

    organisation: str
    name: str
    first: Time
    seen: Time
    """Time of its last report, or of a part of one."""
    silent: bool
    silent_after: int
    """Seconds without a report after which it is silent."""
    open_cases: int
    scan: str
    """The scan's uuid; empty if there is none, and then what follows says nothing."""
    started: Time
    """By the server's own time."""
    age: int
    """Seconds since the hub had all of its report."""
    version: str
    exit_code: int
    files: int
    findings: int
    undecoded: float
    """Share of its files that are `undecoded`, from 0 to 1."""
    lists: dict[str, int]
    """Versions of the lists, by name."""
    incomplete: tuple[dict[str, str], ...]


@click.group(cls=HashscanGroup)
def command() -> None:
    """Show the servers that send reports, and change what is expected of them."""


@command.command("list", exit_codes=_CODES)
@click.argument("organisation", required=False)
@format_option("table", "json", help="A table, or each server as JSON.")
@hub_option
def list_(organisation: str | None, format_name: str, hub: HubAddress) -> None:
    """List the servers of ORGANISATION, or all of them, each with its last scan."""
    now = int(time.time())
    with hub.reading() as connection:
        owner = None if organisation is None else organisation_named(connection, organisation).id
        found = servers(connection, now, owner)
    if format_name == "json":
        for server in found:
            write_json_line(_listed(server, now))
        return
    titles = (
        "organisation",
        "server",
        "last report",
        "last scan",
        "exit",
        "open",
        "undecoded",
        "lists",
        "version",
    )
    print_table(titles, (_row(server) for server in found))


def _listed(server: ServerState, now: int) -> ListedServer:
    return ListedServer(
        organisation=server.organisation,
        name=server.name,
        first=format_utc_seconds(server.first),
        seen=format_utc_seconds(server.seen),
        silent=server.silent,
        silent_after=server.silent_after,
        open_cases=server.open_cases,
        scan=server.scan,
        started=format_utc_seconds(server.started) if server.scan else "",
        age=server.scan_age(now) if server.scan else 0,
        version=server.version,
        exit_code=server.exit_code,
        files=server.files,
        findings=server.findings,
        undecoded=server.undecoded,
        lists=dict(server.lists),
        incomplete=server.incomplete,
    )


def _row(server: ServerState) -> tuple[str, ...]:
    seen = format_utc_seconds(server.seen) + (", silent" if server.silent else "")
    if not server.scan:
        return server.organisation, server.name, seen, "-", "-", str(server.open_cases), "-", "-", "-"
    return (
        server.organisation,
        server.name,
        seen,
        format_utc_seconds(server.started),
        str(server.exit_code),
        str(server.open_cases),
        f"{server.undecoded:.1%}",
        ", ".join(f"{name} {version}" for name, version in sorted(server.lists.items())),
        server.version,
    )


@command.command("set", exit_codes=_CODES)
@click.argument("organisation")
@click.argument("name")
@argument_option(
    "--silent-after",
    required=True,
    type=DURATION,
    metavar="TIME",
    help="Time without a report after which the server counts as silent, such as 2d; 0 for that of all.",
)
@hub_option
def set_(organisation: str, name: str, silent_after: float, hub: HubAddress) -> None:
    """Change what is expected of the server NAME of ORGANISATION."""
    seconds = _seconds(silent_after)
    with hub.transaction() as connection:
        set_silent_after(connection, actor(), organisation, name, seconds)
    after = f"after {seconds} s without a report" if seconds else "as all others do"
    print_message(f"{printable(name)} of {organisation} counts as silent {after}")


@command.command(exit_codes=_CODES)
@argument_option(
    "--silent-after",
    type=DURATION,
    metavar="TIME",
    help="Time without a report after which a server counts as silent; at first 2d.",
)
@argument_option(
    "--deadline",
    type=DURATION,
    metavar="TIME",
    help="Time that the case of a match may take; 0 for no deadline, as at first.",
)
@argument_option(
    "--review-deadline",
    type=DURATION,
    metavar="TIME",
    help="Time for a finding that a person has to review first; 0 for no deadline, as at first.",
)
@argument_option(
    "--category-deadline",
    "deadlines",
    multiple=True,
    type=CATEGORY_DEADLINE,
    metavar="CATEGORY=TIME",
    help="Time for matches of a category, instead of --deadline; repeatable.",
)
@hub_option
def defaults(
    silent_after: float | None,
    deadline: float | None,
    review_deadline: float | None,
    deadlines: tuple[tuple[str, float], ...],
    hub: HubAddress,
) -> None:
    """Change what holds for all servers, and for cases from now on; print it."""
    with hub.open() as opened:
        found = change_defaults(
            opened,
            actor(),
            silent_after=_given(silent_after),
            deadline=_given(deadline),
            review_deadline=_given(review_deadline),
            deadlines={category: _seconds(seconds) for category, seconds in deadlines},
        )
    click.echo(f"silent after {found.silent_after} s")
    click.echo(f"deadline {found.deadline or 'none'}, of reviews {found.review_deadline or 'none'}")
    for category, seconds in sorted(found.deadlines.items()):
        click.echo(f"deadline of {category} {seconds}")


def _given(seconds: float | None) -> int | None:
    return None if seconds is None else _seconds(seconds)


def _seconds(seconds: float) -> int:
    if not 0 <= seconds <= _DURATION_MAX:
        raise UsageError("a time must be between 0 and ten years", advice="Write one such as 36h or 2d.")
    return int(seconds)


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 11, 12, 13, 70),
    meanings={13: "an alert could not be delivered; it waits"},
)
@channel_options
@hub_option
def alerts_command(alerts: AlertSettings, hub: HubAddress) -> int:
    """Raise an alert about each server that has fallen silent, once for each silence, and send what waits.

    A node does so every minute. This is for machines on which none runs all the time, and for channels that
    the node does not have.
    """
    with hub.open() as opened:
        silent, delivered = raise_silence(opened, hub.state, alerts)
    for name in silent:
        print_message(f"{printable(name)} is silent")
    if delivered is None:
        if silent:
            print_message(f"{plural(len(silent), 'alert waits', 'alerts wait')} for a channel")
        return EXIT_CLEAN
    print_failed_deliveries(delivered)
    return EXIT_UNREACHABLE if delivered.waiting else EXIT_CLEAN
