"""What can stand in a settings file, as the commands' options have it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from hashscan.cli.options.base import TableOption, option_key, settings_of

Command = tuple[str, ...]
"""The words that call a command."""


@dataclass(slots=True)
class Catalogue:
    """What can stand in a settings file: the keys of every table, and the options that they give."""

    commands: dict[Command, click.Command] = field(default_factory=dict)
    tables: dict[str, dict[str, list[tuple[Command, click.Option]]]] = field(default_factory=dict)
    """Of several commands."""
    top: dict[str, list[tuple[Command, click.Option]]] = field(default_factory=dict)

    @classmethod
    def of(cls, ctx: click.Context) -> Catalogue:
        """Of all commands beneath the one of a context.

        Args:
            ctx: of the command line's first word.
        """
        made = cls()
        assert isinstance(ctx.command, click.Group)
        for words, command in commands_beneath(ctx.command, ctx):
            made.commands[words] = command
            for option in settings_of(command):
                where = made.top
                if isinstance(option, TableOption):
                    where = made.tables.setdefault(option.table, {})
                where.setdefault(option_key(option), []).append((words, option))
        return made

    def own(self, words: Command) -> dict[str, click.Option]:
        """The keys of a command's table, without those that stand in a table of several commands."""
        return {
            option_key(option): option
            for option in settings_of(self.commands[words])
            if not isinstance(option, TableOption)
        }

    def own_table(self, key: str) -> bool:
        """Whether a table of this name holds options of one command, or of several."""
        return key in self.tables or ((key,) in self.commands and bool(self.own((key,))))

    def below(self, words: Command) -> list[str]:
        """The names of the tables that stand in a command's table."""
        return [other[-1] for other in self.commands if other[:-1] == words]

    def is_table(self, key: str) -> bool:
        """Whether a table of this name holds options, and is not the value of one."""
        return tuple(key.split(" ")) in self.commands or key in self.tables

    def header(self, words: Command) -> str:
        """How the table of a command begins.

        TOML has no table beside a value of the same name, such as `state`; the words stand together then.
        """
        together = words[1:] and words[0] in self.top
        return f'["{" ".join(words)}"]' if together else f"[{'.'.join(words)}]"

    def homes_of(self, key: str) -> list[str]:
        """Where a key may stand, as a person writes it."""
        homes = [f"[{table}]" for table, options in self.tables.items() if key in options]
        if key in self.top:
            homes += [self.header(words) for words, _ in self.top[key]]
        return list(dict.fromkeys(homes))


def commands_beneath(
    group: click.Group, ctx: click.Context, words: Command = ()
) -> Iterator[tuple[Command, click.Command]]:
    """All commands and groups, in the order of the help.

    Args:
        group: where to begin.
        ctx: of the command line's first word.
        words: that call the group.
    """
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands_beneath(command, ctx, (*words, name))
