"""`hashscan hub`: a hash-check service for organisations, and one view over many servers.

Its commands are in `cli.hub`. They need the libraries of an extra, so that they are imported on first use.
The help of the group needs none of them, so that it is shown without the extra, too.
Help lines are kept here for the same reason; the help of each command is its docstring.
"""

from __future__ import annotations

from importlib import import_module

import click

from hashscan.cli.options.base import HashscanGroup
from hashscan.errors import UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("node:init", "Make the tables of a hub, or bring them up to date."),
    "serve": ("node:serve", "Run a node of the hub."),
    "org": ("organisations:command", "Add, change, list, close and delete organisations."),
    "key": ("keys:command", "Add, list, rotate and revoke the API keys of organisations."),
    "user": ("users:command", "Add, list, disable and reset the people who use the pages."),
    "notice": ("notices:command", "Send, list and withdraw notices, and record answers."),
    "outbox": ("outbox:command", "List the mails to organisations, and send those that wait."),
    "stats": ("statistics:command", "Prepare, release and show figures for publication."),
    "prune": ("privacy:prune", "Delete old details of cases and notices."),
    "export": ("privacy:export", "Write everything that is kept about an organisation."),
    "server": ("servers:command", "Show the servers that send reports, and change what is expected of them."),
    "alerts": ("servers:alerts_command", "Send alerts about servers that have fallen silent."),
    "audit": ("audit:command", "Show and verify the log of who did what."),
}
"""Each command: its module below `cli.hub` and the object in it, imported on first use; and its help line."""


class HubGroup(HashscanGroup):
    """The commands of a hub, which need the libraries of an extra."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        try:
            found: click.Command = getattr(import_module(f"hashscan.cli.hub.{module}"), name)
        except ImportError as error:
            raise UsageError(
                f"a hub needs a package that is not installed: {error.name}",
                advice="Install the extra: pip install 'hashscan[hub]'.",
            ) from error
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(cls=HubGroup)
def command() -> None:
    """Run a hash-check service for organisations, and see many servers in one place."""
