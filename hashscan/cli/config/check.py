"""All that is wrong with a settings file, found by the parsers of the options themselves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from hashscan.cli.config.catalogue import Catalogue, Command
from hashscan.cli.config.file import Mistake, SettingsFile, Taken
from hashscan.cli.options.base import SETTINGS_FILE, option_key, settings_of
from hashscan.cli.options.tables import TablesParam
from hashscan.errors import HashscanError
from hashscan.settings.file import CONFIG_VARIABLE
from hashscan.settings.key_lines import Place, key_lines, line_of
from hashscan.settings.machine import service_group
from hashscan.settings.suggestions import nearest

VARIABLE = "HASHSCAN_"
OTHER_VARIABLES = (CONFIG_VARIABLE, "HASHSCAN_PASSPHRASE", "HASHSCAN_ROOT_PASSPHRASE")
"""Those that are no option's."""


def mistakes_in(file: SettingsFile, catalogue: Catalogue, source: str) -> list[Mistake]:
    """All that a command would refuse, whichever it is: names, kinds and values.

    Args:
        file: whose values have been given out.
        catalogue: of all commands.
        source: the file's name, for what reads tables.
    """
    found = list(file.mistakes)
    seen = {(mistake.place, mistake.message) for mistake in found}
    for words, option, taken in each_taken(file, catalogue):
        for mistake in _refused(context_of(catalogue, words, source), option, taken, source):
            if (mistake.place, mistake.message) not in seen:
                seen.add((mistake.place, mistake.message))
                found.append(mistake)
    return found


def in_order(mistakes: list[Mistake], document: str) -> list[tuple[int | None, Mistake]]:
    """Mistakes with their lines, from the top of the document on."""
    lines = key_lines(document) if mistakes else {}
    numbered = [(line_of(lines, mistake.place), mistake) for mistake in mistakes]
    return sorted(numbered, key=lambda pair: pair[0] or 0)


def each_taken(file: SettingsFile, catalogue: Catalogue) -> Iterator[tuple[Command, click.Option, Taken]]:
    """Every value of a file, for each of the options that it is given to."""
    for words, options in file.taken.items():
        for option in settings_of(catalogue.commands[words]):
            if option.name in options:
                yield words, option, options[option.name]


def context_of(catalogue: Catalogue, words: Command, source: str) -> click.Context:
    """A context in which the values of a command can be read."""
    ctx = click.Context(catalogue.commands[words], info_name=" ".join(words))
    ctx.meta[SETTINGS_FILE] = source
    return ctx


def problem_with(ctx: click.Context, option: click.Option, value: object) -> tuple[str, str] | None:
    """Why the option's own parser refuses a value, and what to do; None where it does not."""
    try:
        option.process_value(ctx, value)
    except click.UsageError as error:
        message, advice = error.message, "Mend the value."
    except HashscanError as error:
        message, advice = str(error), error.remedy
    else:
        return None
    if option.hide_input:
        # A parser may name what it does not take.
        message = "the value is not one that it takes (and is not shown, since it is secret)"
    return message, advice


def _refused(ctx: click.Context, option: click.Option, taken: Taken, source: str) -> Iterator[Mistake]:
    key = option_key(option)
    if isinstance(option.type, TablesParam) and isinstance(taken.value, list):
        for number, problem in _refused_rows(ctx, option, taken.value):
            place = (*taken.place, number, *_key_named(taken.value[number], problem[0]))
            yield _mistake(place, problem, source)
    elif refused := problem_with(ctx, option, taken.value):
        message, advice = refused
        inner = _key_named(taken.value, message) if isinstance(taken.value, dict) else ()
        named = message if isinstance(taken.value, dict) else f"`{key}`: {message}"
        yield _mistake((*taken.place, *inner), (named, advice), source)


def _mistake(place: Place, problem: tuple[str, str], source: str) -> Mistake:
    # Who reads tables names the file, as we do already.
    return Mistake(place, problem[0].removeprefix(source).lstrip(":, "), problem[1])


def _key_named(row: Mapping[str, Any], message: str) -> Place:
    """The key of a row that a message is about, as far as it names one."""
    return next(((key,) for key in row if f"key {key!r}" in message), ())


def _refused_rows(
    ctx: click.Context, option: click.Option, rows: list[Any]
) -> Iterator[tuple[int, tuple[str, str]]]:
    """Every row that can't be used, by its number from 0.

    A parser tells of the first only; each that was found is replaced by one that can be used, so that the
    numbers in its messages stay right.
    """
    import tomllib

    assert isinstance(option.type, TablesParam)
    good = tomllib.loads(option.type.example)
    rows = list(rows)
    last = -1
    while problem := problem_with(ctx, option, rows):
        low, high = 1, len(rows)
        while low < high:
            middle = (low + high) // 2
            if problem_with(ctx, option, rows[:middle]):
                high = middle
            else:
                low = middle + 1
        if low - 1 <= last:
            # It is not about a row.
            break
        last = low - 1
        yield last, problem
        rows[last] = good


def strange_variables(catalogue: Catalogue, environ: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Variables that begin as ours do and that nothing reads, each with the one that may be meant."""
    known = {
        option.envvar: None
        for command in catalogue.commands.values()
        for option in settings_of(command)
        if isinstance(option.envvar, str)
    }
    every = [*known, *OTHER_VARIABLES]
    for name in environ:
        if name.startswith(VARIABLE) and name not in every:
            yield name, nearest(name, every)


def warnings_about(path: Path, *, secret: bool) -> Iterator[str]:
    """What is dangerous about who else may read or write the file.

    Args:
        path: the file's.
        secret: whether it holds what others must not know.

    Raises:
        OSError: it can't be looked at.
    """
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        yield "it belongs to another user, who can change what hashscan does"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield "others than its owner can write it, and so change what hashscan does"
    group = stat.S_IRGRP if status.st_gid != service_group() else 0
    if secret and status.st_mode & (group | stat.S_IROTH):
        yield "others than its owner can read it, and it holds secrets"
