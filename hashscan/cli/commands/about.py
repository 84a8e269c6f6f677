"""`hashscan completion`, `manual` and `schema`: print what shells, people and programs need."""

from __future__ import annotations

import click

from hashscan.cli.config.settings_file import Catalogue
from hashscan.cli.manual_page import PROGRAM, manual
from hashscan.cli.options.base import HashscanCommand
from hashscan.cli.options.output import write_stdout
from hashscan.cli.output.schemas import SCHEMAS, schema_text

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_HASHSCAN_COMPLETE"
"""Variable that the script sets to ask for completions; click derives its name from the program's."""


@click.command(cls=HashscanCommand, settings=False, exit_codes=(0, 2, 12, 70))
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for SHELL: commands, options, formats and names of lists."""
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    # Not the `source` of its own class, which for bash starts a bash to ask for its version.
    script = ShellComplete.source(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE))
    click.echo(script, nl=False)


@click.command("manual", cls=HashscanCommand, settings=False, exit_codes=(0, 12, 70))
@click.pass_context
def manual_(ctx: click.Context) -> None:
    """Print the manual page hashscan(1), with every command, option, variable and exit code.

    To read it: `hashscan manual | man -l -`. To install it, write it to /usr/local/share/man/man1/hashscan.1.
    """
    root = ctx.find_root()
    click.echo(manual(Catalogue.of(root), root.command), nl=False)


@click.command(cls=HashscanCommand, settings=False, exit_codes=(0, 2, 12, 70))
@click.argument("name", required=False, type=click.Choice(list(SCHEMAS)), metavar="[NAME]")
def schema(name: str | None) -> None:
    """Print the JSON Schema with this NAME; without one, list the names.

    NAME is a command's words joined by hyphens, such as `cases-list` for `hashscan cases list --format json`,
    or another document: `report`, `alert`, `log`, or a request or answer of the HTTP interface.
    """
    if name is not None:
        write_stdout(schema_text(name).rstrip("\n"))
        return
    for each, known in SCHEMAS.items():
        write_stdout(f"{each}\t{known.summary}")


COMMANDS = {"completion": completion, "manual": manual_, "schema": schema}
