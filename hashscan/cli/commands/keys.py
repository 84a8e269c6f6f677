"""`hashscan keys`: add, list and revoke the keys of HTTP clients of `hashscan serve`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec import Struct

from hashscan.cli.options.base import FILE, HashscanGroup, argument_option
from hashscan.cli.options.output import format_option, print_records
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.schema import Time
from hashscan.service.doors.http.keys import RIGHTS, Right, changing, make_key, read_keys
from hashscan.settings.values import parse_future, service_group

file_option = click.option(
    "--http-keys",
    required=True,
    type=FILE,
    help="File of the hashed keys; a running server uses each change at once.",
)


@click.group(cls=HashscanGroup)
def command() -> None:
    """Add, list and revoke the keys of HTTP clients of `hashscan serve`."""


@command.command(exit_codes=(0, 2, 12, 70))
@click.argument("name")
@file_option
@argument_option(
    "--right",
    "rights",
    multiple=True,
    required=True,
    type=click.Choice(RIGHTS),
    help="A right of the key; repeatable. scan: have uploads checked; check: ask about digests; lists: see "
    "names, versions and sizes of the lists; metrics: read metrics.",
)
@argument_option(
    "--owner",
    default="",
    metavar="NAME",
    help="Owner of all uploads with this key; without one, each request is an owner of its own.",
)
@argument_option(
    "--rate",
    type=click.FloatRange(0, 1_000_000, min_open=True),
    help="Largest number of requests per second. Default: no limit.",
)
@argument_option(
    "--until",
    metavar="DATE",
    help="Day or RFC 3339 time until which the key is valid. Default: until it is revoked.",
)
def add(
    name: str, http_keys: Path, rights: tuple[Right, ...], owner: str, rate: float | None, until: str | None
) -> None:
    """Make a key, and print it. Only its SHA-256 is stored, so it can't be shown again.

    If there is no file, it is made. Only its owner can read it, and the group `hashscan` if root makes it.
    """
    expires = None if until is None else parse_future(until, datetime.now(UTC))
    secret, key = make_key(name, tuple(r for r in RIGHTS if r in rights), owner, rate or 0.0, expires)
    with changing(http_keys, service_group() if os.geteuid() == 0 else None) as keys:
        if any(each.name == name for each in keys):
            raise UsageError(
                f"there already is a key {name}", advice="Choose another name, or revoke that key first."
            )
        keys.append(key)
    click.echo(secret)
    print_message(
        f"added the key {name}; it can't be shown again, so store it where only its user can read it"
    )


class ListedKey(Struct):
    """A key of an HTTP client, without the key itself."""

    name: str
    rights: tuple[Right, ...]
    owner: str
    requests_per_second: float
    expires: str
    """RFC 3339; empty if it is valid until it is revoked."""
    made: Time
    expired: bool


@command.command("list", exit_codes=(0, 2, 12, 70))
@file_option
@format_option("table", "json", help="A table, or each key as JSON Lines.")
def list_(http_keys: Path, format_name: str) -> None:
    """List the keys: names, rights, owners, rates and expiry; never the keys themselves."""
    now = datetime.now(UTC)
    keys = [
        ListedKey(
            each.name, each.rights, each.owner, each.requests_per_second, each.expires, each.made,
            each.is_expired(now),
        )
        for each in read_keys(http_keys)
    ]  # fmt: skip
    print_records(
        format_name,
        keys,
        ("name", "rights", "owner", "requests per second", "expires", "made"),
        lambda key: (
            key.name,
            ", ".join(key.rights),
            key.owner or "-",
            f"{key.requests_per_second:g}" if key.requests_per_second else "-",
            (key.expires or "never") + (" (expired)" if key.expired else ""),
            key.made,
        ),
    )


@command.command(exit_codes=(0, 2, 12, 70))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@file_option
def revoke(names: tuple[str, ...], http_keys: Path) -> None:
    """Remove keys; a running server refuses them from its next request on."""
    if not os.path.lexists(http_keys):
        raise UsageError(f"there is no file {http_keys}", advice="Name the server's file of keys.")
    with changing(http_keys) as keys:
        unknown = set(names) - {key.name for key in keys}
        if unknown:
            raise UsageError(
                f"there is no key {', '.join(sorted(unknown))}", advice="See `hashscan keys list`."
            )
        keys[:] = [key for key in keys if key.name not in names]
    print_message(f"revoked {', '.join(names)}")
