"""`hashscan quarantine`: move findings out of reach, put them back, or destroy them."""

from __future__ import annotations

import click

from hashscan.cli.commands.quarantine_add import add
from hashscan.cli.commands.quarantine_items import export, list_, verify
from hashscan.cli.commands.quarantine_restore import destroy, restore
from hashscan.cli.options.base import HashscanGroup


@click.group(cls=HashscanGroup)
def command() -> None:
    """Move matching files into quarantine, keep them as evidence, restore or destroy them."""


for _command in (add, list_, verify, restore, destroy, export):
    command.add_command(_command)
