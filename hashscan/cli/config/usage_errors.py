"""Errors of the command line in the form of our own: what is wrong, where it comes from, and what helps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

import click
from click.exceptions import NoSuchCommand

from hashscan.cli.config.settings_file import origin_of
from hashscan.errors import UsageError
from hashscan.plugins import INSTALLED

_NO_CHOICE = re.compile(r"'(.*?)' is not one of ", re.DOTALL)


def explained(error: click.ClickException) -> UsageError:
    """Return an error of click as one of ours, with a line of advice for each hint."""
    # Click's own messages name every option that is similar, in the order of the alphabet.
    misspelt = isinstance(error, click.NoSuchOption | NoSuchCommand)
    message = (error.message if misspelt else error.format_message()).rstrip(".")
    return UsageError(message[:1].lower() + message[1:], advice="\n".join(_hints(error)))


def _hints(error: click.ClickException) -> Iterator[str]:
    if isinstance(error, click.BadParameter):
        yield from _hints_on_value(error)
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return
    command = error.ctx.command
    if isinstance(error, click.NoSuchOption):
        known = {name for option in command.get_params(error.ctx) for name in option.opts}
        yield from _similar(error.option_name, known)
    elif isinstance(error, NoSuchCommand) and isinstance(command, click.Group):
        yield from _similar(error.command_name, command.list_commands(error.ctx))
        if os.path.lexists(error.command_name) and error.ctx.parent is None:
            yield "To scan a folder or a file, write `hashscan scan` before it."
    yield f"See `{error.ctx.command_path} --help`."


def _hints_on_value(error: click.BadParameter) -> Iterator[str]:
    """Yield a similar choice, the origin of the value, and plug-ins that are left out and may have had it."""
    kind = None if error.param is None else error.param.type
    if isinstance(kind, click.Choice) and (named := _NO_CHOICE.match(error.message)):
        yield from _similar(named[1], map(str, kind.choices))
    if origin := origin_of(error):
        yield origin
    for installed in INSTALLED:
        if installed.trouble:
            yield f"plug-in {installed.name} is left out: {installed.trouble}"


def _similar(word: str, known: Iterable[str]) -> Iterator[str]:
    if found := get_close_matches(word, known, n=2, cutoff=0.7):
        yield f"Did you mean {' or '.join(map(repr, found))}?"
