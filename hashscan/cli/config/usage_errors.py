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

_NO_CHOICE = re.compile(r"'(.*?)' is (?:not one of|none of the choices)", re.DOTALL)
_WRONG_KIND = re.compile(r"\w+ ('.*') is a (file|directory)\Z", re.DOTALL)
_KINDS = {"file": "a file, not a folder", "directory": "a folder, not a file"}
_CHOICES_SHOWN = 14
_END_OF_HELP = re.compile(r"\s*\[(?:default|required|x[<>]|\d+<=)[^\[]*\]\Z")


def explained(error: click.ClickException) -> UsageError:
    """Return an error of click as one of ours, with a line of advice for each hint."""
    # Click's own messages name every option that is similar, in the order of the alphabet.
    misspelt = isinstance(error, click.NoSuchOption | NoSuchCommand)
    if isinstance(error, click.BadParameter) and isinstance(error.param, click.Argument):
        # Without the brackets of an argument that need not be given.
        error.param_hint = f"'{(error.param.metavar or error.param.human_readable_name).strip('[].')}'"
    message = (error.message if misspelt else error.format_message()).rstrip(".")
    if isinstance(error, click.BadParameter):
        message = message.replace(error.message.rstrip("."), _plain(error.message.rstrip(".")))
    return UsageError(message[:1].lower() + message[1:], advice="\n".join(_hints(error)))


def _plain(message: str) -> str:
    """Return a message of click about a value in our terms, and without a long list of choices."""
    if wrong := _WRONG_KIND.search(message):
        return f"{wrong[1]} is {_KINDS[wrong[2]]}"
    if message.count(", ") > _CHOICES_SHOWN and (named := _NO_CHOICE.match(message)):
        return f"'{named[1]}' is none of the choices"
    return message


def _hints(error: click.ClickException) -> Iterator[str]:
    if isinstance(error, click.BadParameter):
        hints = list(_hints_on_value(error))
        yield from hints
        if hints or isinstance(error.param and error.param.type, click.Choice):
            return
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return
    command = error.ctx.command
    if isinstance(error, click.NoSuchOption):
        options = [option for option in command.get_params(error.ctx) if isinstance(option, click.Option)]
        yield from _similar(error.option_name, {name for option in options for name in option.opts})
    elif isinstance(error, NoSuchCommand) and isinstance(command, click.Group):
        yield from _similar(error.command_name, command.list_commands(error.ctx))
        if os.path.lexists(error.command_name) and error.ctx.parent is None:
            yield "To scan a folder or a file, write `hashscan scan` before it."
    elif about := _help_of_option(error, error.ctx):
        yield about
        return
    yield f"See `{error.ctx.command_path} --help`."


def _help_of_option(error: click.UsageError, ctx: click.Context) -> str | None:
    """Return the help of the option that an error is about, in a line; None if it is about no option."""
    about = error.param if isinstance(error, click.BadParameter) else None
    name = error.option_name if isinstance(error, click.BadOptionUsage) else None
    for option in ctx.command.get_params(ctx):
        if isinstance(option, click.Option) and (option is about or name in option.opts):
            usage, text = option.get_help_record(ctx) or ("", "")
            return f"{usage}: {_END_OF_HELP.sub('', ' '.join(text.split()))}" if usage else None
    return None


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
