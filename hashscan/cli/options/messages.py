"""Options of every command that say which messages are shown, and where they are written."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import click

from hashscan.cli.output.logs import LEVELS, log_to_file, log_to_standard_error


def message_options() -> list[click.Option]:
    """Return new options, since each command has its own."""
    return [
        click.Option(
            ("-q", "--quiet"),
            is_flag=True,
            help="Show only results and errors: no other messages, no progress.",
        ),
        click.Option(
            ("-v", "--verbose"),
            count=True,
            help="Also show what is done, such as lists, folders and workers; -vv: details for debugging.",
        ),
        click.Option(
            ("--log-file",),
            type=click.Path(path_type=Path, dir_okay=False, readable=False),
            metavar="FILE",
            help="Append the messages to FILE, with --quiet too. It is created readable by you alone.",
        ),
        click.Option(
            ("--log-format",),
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="Format of messages on standard error and in FILE: text, or JSON Lines.",
        ),
    ]


@dataclass(frozen=True, slots=True)
class MessageSettings:
    """The values of these options."""

    quiet: bool
    verbose: int
    log_file: Path | None
    log_format: str

    @classmethod
    def take(cls, ctx: click.Context) -> MessageSettings:
        return cls(**{field.name: ctx.params.pop(field.name) for field in fields(cls)})

    def apply(self, level: int) -> None:
        """Show messages on standard error as the options say; `level` is that of the command without -v."""
        place = min(LEVELS.index(level) + self.verbose, len(LEVELS) - 1)
        log_to_standard_error(quiet=self.quiet, level=LEVELS[place], format_name=self.log_format)

    def open_file(self) -> None:
        if self.log_file is not None:
            from hashscan.cli.options.log_file import LogFile

            log_to_file(LogFile(self.log_file, self.log_format))
