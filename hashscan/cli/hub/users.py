"""`hashscan hub user`: add, list, disable and reset the people who use a hub's pages."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from hashscan.cli.hub.options import actor, hub_option
from hashscan.cli.options.base import FILE, HashscanGroup, argument_option
from hashscan.cli.options.output import format_option, print_records
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.hub.accounts.users import ROLES, Role, add_user, disable_user, reset_user, users
from hashscan.hub.storage.database import HubAddress
from hashscan.schema import Time
from hashscan.secret_files import secret_lines
from hashscan.timefmt import format_utc_seconds

_CODES = (0, 2, 12, 70)
_CHANGE_IT = "the one-time password is valid for 7 days, and must be changed at the first sign-in"


@click.group(cls=HashscanGroup)
def command() -> None:
    """Add, list, disable and reset the people who use the hub's pages."""


_password_file_option = argument_option(
    "--password-file",
    type=FILE,
    metavar="FILE",
    help="File with the one-time password, which nobody else may read. Default: one is made and printed.",
)


@command.command(exit_codes=_CODES)
@click.argument("name")
@argument_option(
    "--role",
    type=click.Choice(ROLES),
    required=True,
    help="operator: does all; reviewer: sees all and decides on cases; viewer: sees all; member: sees what "
    "concerns his organisation.",
)
@argument_option("--organisation", metavar="NAME", default="", help="Organisation of a member.")
@argument_option(
    "--by-proxy",
    is_flag=True,
    help="Give no password, since a proxy signs the user in: see `hub serve --trust-user-header`.",
)
@_password_file_option
@hub_option
def add(
    name: str, role: Role, organisation: str, by_proxy: bool, password_file: Path | None, hub: HubAddress
) -> None:
    """Add a user, and print a one-time password."""
    if by_proxy and password_file is not None:
        raise UsageError("--by-proxy and --password-file contradict each other", advice="Give one of them.")
    password = _read_password(password_file)
    with hub.transaction() as connection:
        secret = add_user(connection, actor(), name, role, organisation, password=password, by_proxy=by_proxy)
    if secret and not password:
        click.echo(secret)
    print_message(f"added the {role} {name}" + (f"; {_CHANGE_IT}" if secret else ""))


class ListedUser(Struct):
    """A user of a hub's pages, without secrets."""

    name: str
    role: str
    organisation: str
    """Name of a member's organisation; empty for others."""
    password: str
    """own, one-time, or none for one who signs in by a proxy."""
    second_factor: bool
    created: Time
    disabled: bool


@command.command("list", exit_codes=_CODES)
@format_option("table", "json", help="A table, or each user as JSON Lines.")
@hub_option
def list_(format_name: str, hub: HubAddress) -> None:
    """List the users."""
    with hub.reading() as connection:
        found = [
            ListedUser(
                user.name,
                user.role,
                user.organisation_name,
                "one-time" if user.must_change else "own" if user.has_password else "none",
                user.has_second_factor,
                format_utc_seconds(user.created),
                user.disabled is not None,
            )
            for user in users(connection)
        ]
    print_records(
        format_name,
        found,
        ("name", "role", "organisation", "password", "second factor", ""),
        lambda each: (
            each.name,
            each.role,
            each.organisation or "-",
            each.password,
            "yes" if each.second_factor else "no",
            "disabled" if each.disabled else "",
        ),
    )


@command.command(exit_codes=_CODES)
@click.argument("name")
@argument_option("--enable", is_flag=True, help="Admit the user again.")
@hub_option
def disable(name: str, enable: bool, hub: HubAddress) -> None:
    """Refuse a user from the next request on."""
    with hub.transaction() as connection:
        disable_user(connection, actor(), name, disabled=not enable)
    print_message(f"{'enabled' if enable else 'disabled'} the user {name}")


@command.command(exit_codes=_CODES)
@click.argument("name")
@_password_file_option
@hub_option
def reset(name: str, password_file: Path | None, hub: HubAddress) -> None:
    """Print a new one-time password for a user; remove the second factor, lock and sessions."""
    password = _read_password(password_file)
    with hub.transaction() as connection:
        secret = reset_user(connection, actor(), name, password)
    if not password:
        click.echo(secret)
    print_message(f"reset the user {name}; {_CHANGE_IT}")


def _read_password(path: Path | None) -> str:
    if path is None:
        return ""
    lines = secret_lines(path, "the file of the password")
    if len(lines) != 1:
        raise UsageError(f"{path} has not one line with a password", advice="Write one line into it.")
    return lines[0]
