"""`hashscan hub org`: add, change, list, close and delete the organisations of a hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click
from msgspec import Struct

from hashscan.cli.hub.options import actor, database_option, hub_database
from hashscan.cli.options.base import HashscanGroup, argument_option, state_option
from hashscan.cli.options.output import format_option, write_json_line
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.terminal import print_table
from hashscan.errors import UsageError
from hashscan.hub.accounts.organisations import (
    NoticesVia,
    add_organisation,
    change_organisation,
    close_organisation,
    delete_organisation,
    organisations,
)
from hashscan.schema import Time
from hashscan.state_dir import StateDir
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
@database_option
@state_option
def add(name: str, database: str, state: StateDir, **described: Any) -> None:
    """Add an organisation; NAME is a short one, such as `example-hosting`."""
    with hub_database(state, database) as opened, opened.transaction() as connection:
        add_organisation(connection, actor(), name, **{k: v for k, v in described.items() if v})
    print_message(f"added the organisation {name}")


@command.command(exit_codes=_CODES)
@click.argument("name")
@_descriptions
@database_option
@state_option
def change(name: str, database: str, state: StateDir, **described: Any) -> None:
    """Change an organisation; what is not named stays as it is."""
    changed = {key: value for key, value in described.items() if value}
    if not changed:
        raise UsageError("nothing is to be changed", advice="Name what is: --title, --contact, ...")
    with hub_database(state, database) as opened, opened.transaction() as connection:
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
@database_option
@state_option
def list_(format_name: str, database: str, state: StateDir) -> None:
    """List the organisations."""
    with hub_database(state, database) as opened, opened.reading() as connection:
        found = organisations(connection)
    if format_name == "json":
        for each in found:
            created = format_utc_seconds(each.created)
            write_json_line(
                ListedOrganisation(
                    each.name, each.title, each.country, each.contacts, each.networks, each.as_numbers,
                    each.via, created, each.closed is not None,
                )
            )  # fmt: skip
        return
    print_table(
        ("name", "title", "country", "contacts", "notices", "since", ""),
        (
            (
                each.name,
                each.title or "-",
                each.country or "-",
                ", ".join(each.contacts) or "-",
                each.via,
                format_utc_seconds(each.created),
                "" if each.closed is None else "closed",
            )
            for each in found
        ),
    )


@command.command(exit_codes=_CODES)
@click.argument("name")
@argument_option("--reopen", is_flag=True, help="Admit its keys and users again.")
@database_option
@state_option
def close(name: str, reopen: bool, database: str, state: StateDir) -> None:
    """Refuse the keys and users of an organisation from now on; its data stays."""
    with hub_database(state, database) as opened, opened.transaction() as connection:
        close_organisation(connection, actor(), name, closed=not reopen)
    print_message(f"{'reopened' if reopen else 'closed'} the organisation {name}")


@command.command(exit_codes=_CODES)
@click.argument("name")
@argument_option("--yes", is_flag=True, help="Delete it, with all data; this can't be undone.")
@database_option
@state_option
def delete(name: str, yes: bool, database: str, state: StateDir) -> None:
    """Delete an organisation with its keys, users, counts, servers, cases and notices."""
    if not yes:
        raise UsageError(
            f"this would delete {name} and all its data for good",
            advice="Export it first with `hashscan hub export`; then add --yes.",
        )
    with hub_database(state, database) as opened, opened.transaction() as connection:
        delete_organisation(connection, actor(), name)
    print_message(f"deleted the organisation {name}")
