"""`hashscan hub org`: add, change, list, close and delete the organisations of a hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click
from msgspec import Struct

from hashscan.cli.hub.options import actor, hub_option
from hashscan.cli.options.base import HashscanGroup, argument_option
from hashscan.cli.options.output import format_option, print_records
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.hub.accounts.organisations import (
    NoticesVia,
    add_organisation,
    change_organisation,
    close_organisation,
    delete_organisation,
    organisations,
)
from hashscan.hub.storage.database import HubAddress
from hashscan.schema import Time
from hashscan.timefmt import format_utc_seconds

_CODES = (0, 2, 12, 70)


@click.group(cls=HashscanGroup)
def command() -> None:
    """Add, change, list, close and delete organisations: hosters and groups of servers."""


def _descriptions(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        argument_option("--as", "as_numbers", multiple=True, type=int, metavar="NUMBER",
                     help="Number of an autonomous system of the organisation; repeatable."),
        argument_option("--network", "networks", multiple=True, metavar="CIDR",
                     help="Network of the organisation; repeatable."),
        argument_option("--contact", "contacts", multiple=True, metavar="ADDRESS",
                     help="E-mail address to which notices are sent; repeatable."),
        argument_option("--via", type=click.Choice(get_args(NoticesVia)),
                     help="How notices reach it: its servers fetch them (sync), or they are mailed to its "
                     "contacts. Default: sync."),
        argument_option("--country", metavar="XX", help="Country, as two letters."),
        argument_option("--title", metavar="TEXT", help="Full name of the organisation."),
    ):  # fmt: skip
        function = option(function)
    return function


@command.command(exit_codes=_CODES)
@click.argument("name")
@_descriptions
@hub_option
def add(name: str, hub: HubAddress, **described: Any) -> None:
    """Add an organisation; NAME is a short one, such as `example-hosting`."""
    with hub.transaction() as connection:
        add_organisation(connection, actor(), name, **{k: v for k, v in described.items() if v})
    print_message(f"added the organisation {name}")


@command.command(exit_codes=_CODES)
@click.argument("name")
@_descriptions
@hub_option
def change(name: str, hub: HubAddress, **described: Any) -> None:
    """Change an organisation; what is not named stays as it is."""
    changed = {key: value for key, value in described.items() if value}
    if not changed:
        raise UsageError("nothing is to be changed", advice="Name what is: --title, --contact, ...")
    with hub.transaction() as connection:
        change_organisation(connection, actor(), name, **changed)
    print_message(f"changed the organisation {name}")


class ListedOrganisation(Struct):
    """An organisation of a hub."""

    name: str
    title: str
    country: str
    contacts: tuple[str, ...]
    networks: tuple[str, ...]
    as_numbers: tuple[int, ...]
    via: NoticesVia
    """sync: its servers fetch notices. mail: they are mailed to its contacts."""
    created: Time
    closed: bool


@command.command("list", exit_codes=_CODES)
@format_option("table", "json", help="A table, or each organisation as JSON Lines.")
@hub_option
def list_(format_name: str, hub: HubAddress) -> None:
    """List the organisations."""
    with hub.reading() as connection:
        found = [
            ListedOrganisation(
                each.name, each.title, each.country, each.contacts, each.networks, each.as_numbers, each.via,
                format_utc_seconds(each.created), each.closed is not None,
            )
            for each in organisations(connection)
        ]  # fmt: skip
    print_records(
        format_name,
        found,
        ("name", "title", "country", "contacts", "notices", "since", ""),
        lambda each: (
            each.name,
            each.title or "-",
            each.country or "-",
            ", ".join(each.contacts) or "-",
            each.via,
            each.created,
            "closed" if each.closed else "",
        ),
    )


@command.command(exit_codes=_CODES)
@click.argument("name")
@argument_option("--reopen", is_flag=True, help="Admit its keys and users again.")
@hub_option
def close(name: str, reopen: bool, hub: HubAddress) -> None:
    """Refuse the keys and users of an organisation from now on; its data stays."""
    with hub.transaction() as connection:
        close_organisation(connection, actor(), name, closed=not reopen)
    print_message(f"{'reopened' if reopen else 'closed'} the organisation {name}")


@command.command(exit_codes=_CODES)
@click.argument("name")
@argument_option("--yes", is_flag=True, help="Delete it, with all data; this can't be undone.")
@hub_option
def delete(name: str, yes: bool, hub: HubAddress) -> None:
    """Delete an organisation with its keys, users, counts, servers, cases and notices."""
    if not yes:
        raise UsageError(
            f"this would delete {name} and all its data for good",
            advice="Export it first with `hashscan hub export`; then add --yes.",
        )
    with hub.transaction() as connection:
        delete_organisation(connection, actor(), name)
    print_message(f"deleted the organisation {name}")
