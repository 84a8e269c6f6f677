"""`hashscan completion`: print the script with which a shell completes our commands."""

from __future__ import annotations

import click

from hashscan.cli.options.base import HashscanCommand

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "hashscan"
VARIABLE = "_HASHSCAN_COMPLETE"
"""Variable that the script sets to ask for completions; click derives its name from the program's."""


@click.command(cls=HashscanCommand, settings=False, exit_codes=(0, 2, 12, 70))
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a completion script for SHELL: commands, options, formats and names of lists."""
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    # Not the `source` of its own class, which for bash starts a bash to ask for its version.
    script = ShellComplete.source(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE))
    click.echo(script, nl=False)
