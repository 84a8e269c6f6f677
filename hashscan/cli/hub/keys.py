"""`hashscan hub key`: add, list, rotate and revoke the API keys of a hub's organisations."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from msgspec import Struct

from hashscan.cli.hub.options import actor, hub_option
from hashscan.cli.options.base import DURATION, HashscanGroup, argument_option
from hashscan.cli.options.output import format_option, print_records
from hashscan.cli.output.logs import print_message
from hashscan.hub.accounts.keys import (
    DETAILS,
    DIGESTS_PER_DAY,
    REQUESTS_PER_MINUTE,
    RIGHTS,
    Detail,
    Right,
    add_key,
    keys_of,
    revoke_key,
    rotate_key,
)
from hashscan.hub.storage.database import HubAddress
from hashscan.schema import Time
from hashscan.settings.values import parse_future
from hashscan.timefmt import format_utc_seconds

_CODES = (0, 2, 12, 70)
_KEEP_IT = "it can't be shown again, so store it where only its user can read it"


@click.group(cls=HashscanGroup)
def command() -> None:
    """Add, list, rotate and revoke the API keys of organisations."""


@command.command(exit_codes=_CODES)
@click.argument("organisation")
@click.argument("name")
@argument_option(
    "--right",
    "rights",
    multiple=True,
    type=click.Choice(RIGHTS),
    default=RIGHTS,
    help="A right of the key; repeatable. check: ask about digests; report: send reports of scans; cases: "
    "fetch notices, and answer them. Default: all.",
)
@argument_option(
    "--detail",
    type=click.Choice(DETAILS),
    default="entry",
    help="Content of answers about a listed digest. answer: that it is listed; category: also its category; "
    "entry: also the entry's id and the distance. Default: entry.",
)
@argument_option(
    "--digests-per-day",
    type=click.IntRange(0),
    default=DIGESTS_PER_DAY,
    metavar="N",
    help="Largest number of digests in a day, UTC; 0 for no limit. Default: 10000000.",
)
@argument_option(
    "--requests-per-minute",
    type=click.IntRange(0),
    default=REQUESTS_PER_MINUTE,
    metavar="N",
    help="Largest number of requests in a minute; 0 for no limit. Default: 600.",
)
@argument_option(
    "--until",
    metavar="DATE",
    help="Day or RFC 3339 time until which the key is valid. Default: until it is revoked.",
)
@hub_option
def add(
    organisation: str,
    name: str,
    rights: tuple[Right, ...],
    detail: Detail,
    digests_per_day: int,
    requests_per_minute: int,
    until: str | None,
    hub: HubAddress,
) -> None:
    """Make a key for an organisation, and print it. Only its SHA-256 is stored."""
    expires = None if until is None else int(parse_future(until, datetime.now(UTC)).timestamp())
    with hub.transaction() as connection:
        secret = add_key(
            connection,
            actor(),
            organisation,
            name,
            rights,
            detail=detail,
            digests_per_day=digests_per_day,
            requests_per_minute=requests_per_minute,
            expires=expires,
        )
    click.echo(secret)
    print_message(f"added the key {name} of {organisation}; {_KEEP_IT}")


class ListedHubKey(Struct):
    """A key of an organisation, without the key itself."""

    organisation: str
    name: str
    rights: tuple[str, ...]
    detail: str
    digests_per_day: int
    """0 for no limit."""
    requests_per_minute: int
    """0 for no limit."""
    created: Time
    expires: str
    """RFC 3339; empty if it is valid until it is revoked."""
    used: str
    """Begin of the day of its last use, RFC 3339; empty if it was never used."""
    revoked: bool


@command.command("list", exit_codes=_CODES)
@click.argument("organisation", required=False)
@format_option("table", "json", help="A table, or each key as JSON Lines.")
@hub_option
def list_(organisation: str | None, format_name: str, hub: HubAddress) -> None:
    """List the keys of an organisation, or of all; never the keys themselves."""
    with hub.reading() as connection:
        found = [
            ListedHubKey(
                key.organisation_name, key.name, key.rights, key.detail, key.digests_per_day,
                key.requests_per_minute, format_utc_seconds(key.created), format_utc_seconds(key.expires),
                format_utc_seconds(key.used), key.revoked is not None,
            )
            for key in keys_of(connection, organisation)
        ]  # fmt: skip
    print_records(
        format_name,
        found,
        ("organisation", "name", "rights", "detail", "last used", "expires", ""),
        lambda key: (
            key.organisation,
            key.name,
            ", ".join(key.rights),
            key.detail,
            key.used[:10] or "never",
            key.expires or "never",
            "revoked" if key.revoked else "",
        ),
    )


@command.command(exit_codes=_CODES)
@click.argument("organisation")
@click.argument("name")
@argument_option(
    "--overlap",
    type=DURATION,
    default=7 * 86_400.0,
    help="Time for which the old key stays valid. Default: 7d.",
)
@hub_option
def rotate(organisation: str, name: str, overlap: float, hub: HubAddress) -> None:
    """Make a new key in place of one, and print it; both are valid for a while."""
    with hub.transaction() as connection:
        secret = rotate_key(connection, actor(), organisation, name, int(overlap))
    click.echo(secret)
    print_message(f"made a new key {name} of {organisation}; {_KEEP_IT}")


@command.command(exit_codes=_CODES)
@click.argument("organisation")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@hub_option
def revoke(organisation: str, names: tuple[str, ...], hub: HubAddress) -> None:
    """Refuse keys from the next request on."""
    with hub.transaction() as connection:
        for name in names:
            revoke_key(connection, actor(), organisation, name)
    print_message(f"revoked {', '.join(names)}")
