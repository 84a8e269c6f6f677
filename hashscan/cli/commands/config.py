"""`hashscan config`: write a settings file, check it, and show the effective settings and their origins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from hashscan.cli.options.base import FILE, HashscanGroup
from hashscan.cli.options.output import format_option
from hashscan.cli.options.privileges import controlling_uid
from hashscan.cli.output.logs import ERROR, print_line, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_USAGE, UsageError
from hashscan.settings.file import chosen_file, key_lines, line_of, read_file
from hashscan.settings.values import SERVICE_GROUP, service_group
from hashscan.text import did_you_mean, plural

if TYPE_CHECKING:
    from hashscan.cli.config.effective import EffectiveValue, ValueSources
    from hashscan.cli.config.settings_file import Catalogue, Command, Mistake

_NAMED = 8
"""Commands that share a setting and are named; of more, only the number is shown."""
FORMATS = ("table", "json", "toml")


@click.group(cls=HashscanGroup)
def command() -> None:
    """Create, check and show the settings file and the effective settings."""


@command.command(settings=False, exit_codes=(0, 2, 70))
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.option("--changed", is_flag=True, help="Only values from a variable or the settings file.")
@format_option(*FORMATS, help="A table, or all values as JSON or as a settings file.")
@click.pass_context
def show(ctx: click.Context, words: tuple[str, ...], changed: bool, format_name: str) -> int:
    """Show the effective values of all commands, or of one such as `lists pull`, and their origin.

    Secrets are not shown. The exit code is 2 if a value, a key or a variable is wrong; all valid values are
    still shown.
    """
    from hashscan.cli.config.effective import SettingsDocument, as_toml
    from hashscan.cli.config.settings_file import Catalogue

    catalogue = Catalogue.of(ctx.find_root())
    chosen = _named(catalogue, words)
    sources, wrong = _sources(ctx, catalogue)
    shown = [one for name in chosen for one in sources.shown(name)]
    for where, problem in dict.fromkeys((one.where, one.problem) for one in shown if one.problem):
        print_message(f"{where}: {problem}", ERROR)
        wrong = True
    shown = [one for one in shown if not changed or one.origin != "default"]
    if format_name == "json":
        document = SettingsDocument(sources.name or None, {})
        for one in shown:
            document.commands.setdefault(" ".join(one.command), {})[one.key] = one.document()
        click.echo(json.dumps(msgspec.to_builtins(document), indent=2))
    elif format_name == "toml":
        click.echo(as_toml(shown, catalogue), nl=False)
    else:
        _draw(shown, one_command=bool(words))
    return EXIT_USAGE if wrong else EXIT_CLEAN


@command.command(settings=False, exit_codes=(0, 2, 70))
@click.argument("file", required=False, type=FILE)
@click.pass_context
def check(ctx: click.Context, file: Path | None) -> int:
    """Report all mistakes in a settings FILE, with line numbers, and in HASHSCAN_* variables.

    Default: the file that commands read: --config, HASHSCAN_CONFIG, or the system's.
    """
    from hashscan.cli.config.settings_file import Catalogue, SettingsFile
    from hashscan.cli.config.validation import (
        each_taken,
        in_order,
        mistakes_in,
        unknown_variables,
        warnings_about,
    )

    catalogue = Catalogue.of(ctx.find_root())
    source, document, values = read_file(file or ctx.find_root().params["config"], os.environ)
    strange = list(unknown_variables(catalogue, os.environ))
    for name, meant in strange:
        advice = f"did you mean {meant}?" if meant else "unset it."
        print_message(f"no option has the variable {name}; {advice}", ERROR)
    if source is None:
        print_message(f"there is no settings file {chosen_file(None, {})[0]}, nothing to check")
        return EXIT_USAGE if strange else EXIT_CLEAN
    settings = SettingsFile(catalogue, values)
    mistakes = in_order(mistakes_in(settings, catalogue, str(source)), document)
    for line, mistake in mistakes:
        print_line(f"{source}:{line}: {_mistake_text(mistake)}", ERROR)
    secret = any(option.hide_input for _, option, _ in each_taken(settings, catalogue))
    for warning in warnings_about(source, secret=secret):
        print_message(f"warning: {source}: {warning}")
    print_message(f"{source}: {plural(len(mistakes), 'mistake')}" if mistakes else f"{source} is valid")
    return EXIT_USAGE if mistakes or strange else EXIT_CLEAN


@command.command(settings=False, exit_codes=(0, 2, 12, 70))
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--force", is_flag=True, help="If FILE exists, keep it as FILE.bak.")
@click.pass_context
def init(ctx: click.Context, file: Path | None, force: bool) -> None:
    """Create a settings FILE that explains every option and sets none; - is standard output.

    Default: the file that commands read: --config, HASHSCAN_CONFIG, or the system's. It is readable by you
    only, because it may contain secrets; if root creates it and the group hashscan exists, also by this
    group.
    """
    from hashscan.cli.config.settings_file import Catalogue
    from hashscan.cli.config.template import template
    from hashscan.settings.file import write_new

    text = template(Catalogue.of(ctx.find_root()))
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    path = file or chosen_file(ctx.find_root().params["config"], os.environ)[0]
    root = os.geteuid() == 0 and controlling_uid(path) == 0
    group = service_group() if root else None
    kept = write_new(path, text.encode(), force=force, group=group, trusted=root)
    if kept is not None:
        print_message(f"the earlier file is kept as {kept}")
    print_message(f"{path} is created; it sets nothing yet")
    if root and group is None:
        print_message(
            f"only root can read it, because there is no group {SERVICE_GROUP}; for scans as another user: "
            f"`chgrp GROUP {path}` and `chmod 640 {path}`"
        )


def _named(catalogue: Catalogue, words: tuple[str, ...]) -> list[Command]:
    """Return the commands that the words name, or all for no words; `UsageError` if there is none."""
    found = [
        name
        for name, command in catalogue.commands.items()
        if name[: len(words)] == words and not isinstance(command, click.Group)
    ]
    if not found:
        known = (" ".join(name) for name in catalogue.commands)
        advice = did_you_mean(" ".join(words), known, "See `hashscan --help`.")
        raise UsageError(f"there is no command {' '.join(words)!r}", advice=advice)
    return found


def _sources(ctx: click.Context, catalogue: Catalogue) -> tuple[ValueSources, bool]:
    """Return the sources of values, and whether the settings file has mistakes; print these."""
    from hashscan.cli.config.effective import ValueSources
    from hashscan.cli.config.settings_file import SettingsFile

    source, document, values = read_file(ctx.find_root().params["config"], os.environ)
    name = "" if source is None else str(source)
    file = SettingsFile(catalogue, values)
    lines = key_lines(document)
    for mistake in file.mistakes:
        print_line(f"{name}:{line_of(lines, mistake.place)}: {_mistake_text(mistake)}", ERROR)
    return ValueSources(catalogue, file, name, lines), bool(file.mistakes)


def _mistake_text(mistake: Mistake) -> str:
    return f"{mistake.message.rstrip('.')}. {mistake.advice}"


def _draw(shown: list[EffectiveValue], *, one_command: bool) -> None:
    """Draw the values in a table; a value that several commands share is one row."""
    from hashscan.cli.output.terminal import print_table

    if one_command and len({one.command for one in shown}) == 1:
        print_table(("setting", "value", "from"), ((one.key, one.text, one.where) for one in shown))
        return
    together: dict[tuple[str, str, str], list[str]] = {}
    for one in shown:
        together.setdefault((one.key, one.text, one.where), []).append(" ".join(one.command))
    print_table(
        ("setting", "value", "from", "commands"),
        (
            (*row, ", ".join(commands) if len(commands) <= _NAMED else f"{len(commands)} commands")
            for row, commands in together.items()
        ),
    )
