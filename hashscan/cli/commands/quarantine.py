"""`hashscan quarantine`: move findings out of reach, put them back, or destroy them."""

from __future__ import annotations

import click

from hashscan.cli.commands.quarantine_add import add
from hashscan.cli.commands.quarantine_items import export, list_, verify
from hashscan.cli.commands.quarantine_restore import release, restore
from hashscan.cli.options.base import HashscanGroup


@click.group(cls=HashscanGroup)
def command() -> None:
    """Move what was found out of reach, keep it as evidence, put it back or destroy it."""


for _command in (add, list_, verify, restore, release, export):
    command.add_command(_command)
