"""Options of the commands of `hashscan hub`, and the database that they use."""

from __future__ import annotations

import os
import pwd

import click

from hashscan.cli.options.base import ParsedParam, gather_options, state_option
from hashscan.errors import UsageError
from hashscan.hub.storage.database import HubAddress
from hashscan.timefmt import parse_zoned


def _parse_time(text: str) -> int:
    """Return a time with its zone, as RFC 3339, in seconds since 1970."""
    found = parse_zoned(text)
    if found is None:
        raise UsageError(f"{text!r} is no time with a zone", advice="Write 2026-10-01T12:00:00Z.")
    return int(found.timestamp())


TIME = ParsedParam("time", _parse_time, int)


database_option = click.option(
    "--database",
    metavar="URL",
    default="",
    help="PostgreSQL database of the hub: postgresql://USER@HOST/NAME. Its password is read as PostgreSQL's "
    "own programs do, such as from ~/.pgpass. Default: SQLite, in the state folder.",
)


hub_option = gather_options("hub", HubAddress, database_option, state_option)


def actor() -> str:
    """Return the name of the person at this terminal in the audit log."""
    uid = os.getuid()
    try:
        return f"cli {pwd.getpwuid(uid).pw_name}"
    except KeyError:  # a container's user needs no name
        return f"cli uid {uid}"
