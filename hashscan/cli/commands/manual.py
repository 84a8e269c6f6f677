"""`hashscan manual`: print the manual page."""

from __future__ import annotations

import click

from hashscan.cli.options.base import HashscanCommand
from hashscan.errors import EXIT_CLEAN


@click.command(cls=HashscanCommand, settings=False, exit_codes=(0, 12, 70))
@click.pass_context
def command(ctx: click.Context) -> int:
    """Print the manual page hashscan(1), with every command, option, variable and exit code.

    To read it: `hashscan manual | man -l -`. To install it, write it to /usr/local/share/man/man1/hashscan.1.
    """
    from hashscan.cli.config.settings_file import Catalogue
    from hashscan.cli.output.manual_page import manual

    root = ctx.find_root()
    click.echo(manual(Catalogue.of(root), root.command), nl=False)
    return EXIT_CLEAN
