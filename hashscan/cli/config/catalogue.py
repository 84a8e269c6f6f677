"""Catalogue of the keys and tables that a settings file can have, made from the options of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from hashscan.cli.options.base import TableOption, option_key, settings_of

Command = tuple[str, ...]
"""The words that call a command, such as `("lists", "pull")`."""


@dataclass(slots=True)
class Catalogue:
    """The keys of every table of a settings file, and the options that each key sets."""

    commands: dict[Command, click.Command] = field(default_factory=dict)
    tables: dict[str, dict[str, list[tuple[Command, click.Option]]]] = field(default_factory=dict)
    """Tables of several commands: by table and key, the commands and their options."""
    top: dict[str, list[tuple[Command, click.Option]]] = field(default_factory=dict)

    @classmethod
    def of(cls, ctx: click.Context) -> Catalogue:
        """Make the catalogue of all commands below a context's command.

        Args:
            ctx: context of the top command.
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
        """Return the options of a command's own table, by key, without those of shared tables."""
        return {
            option_key(option): option
            for option in settings_of(self.commands[words])
            if not isinstance(option, TableOption)
        }

    def own_table(self, key: str) -> bool:
        """Return True if a table of this name has options, of one command or of several."""
        return key in self.tables or ((key,) in self.commands and bool(self.own((key,))))

    def below(self, words: Command) -> list[str]:
        """Return the names of the tables that lie within a command's table."""
        return [other[-1] for other in self.commands if other[:-1] == words]

    def is_table(self, key: str) -> bool:
        """Return True if a key names a table of options, and not the value of an option."""
        return tuple(key.split(" ")) in self.commands or key in self.tables

    def header(self, words: Command) -> str:
        """Return the TOML header of a command's table.

        TOML allows no table beside a value of the same name, such as `state`; all words are one key then.
        """
        together = words[1:] and words[0] in self.top
        return f'["{" ".join(words)}"]' if together else f"[{'.'.join(words)}]"

    def homes_of(self, key: str) -> list[str]:
        """Return the tables in which a key may stand, as a person writes their headers."""
        homes = [f"[{table}]" for table, options in self.tables.items() if key in options]
        if key in self.top:
            homes += [self.header(words) for words, _ in self.top[key]]
        return list(dict.fromkeys(homes))


def commands_beneath(
    group: click.Group, ctx: click.Context, words: Command = ()
) -> Iterator[tuple[Command, click.Command]]:
    """Yield all commands and groups in the order of the help.

    Args:
        group: group to begin with.
        ctx: context of the top command.
        words: words that call the group.
    """
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands_beneath(command, ctx, (*words, name))
