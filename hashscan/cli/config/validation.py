"""Validation of a settings file: finds all mistakes, by the parsers of the options themselves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from hashscan.cli.config.settings_file import (
    LARGE,
    AssignedValue,
    Catalogue,
    Command,
    Mistake,
    SettingsFile,
)
from hashscan.cli.options.base import SETTINGS_FILE, VARIABLE_PREFIX, Setting, option_key, settings_of
from hashscan.cli.options.tables import TablesParam
from hashscan.errors import HashscanError, RowError
from hashscan.settings.file import CONFIG_VARIABLE, KeyPath, key_lines, line_of
from hashscan.settings.values import service_group
from hashscan.text import closest_match

OTHER_VARIABLES = (CONFIG_VARIABLE, "HASHSCAN_PASSPHRASE", "HASHSCAN_ROOT_PASSPHRASE")
"""Variables that belong to no option."""


def mistakes_in(file: SettingsFile, catalogue: Catalogue, source: str) -> list[Mistake]:
    found = list(file.mistakes)
    seen = {mistake.place for mistake in found}
    for words, option, taken in each_taken(file, catalogue):
        for mistake in _refused(context_of(catalogue, words, source), option, taken, source):
            if mistake.place not in seen:
                seen.add(mistake.place)
                found.append(mistake)
    return found


def in_order(mistakes: list[Mistake], document: str) -> list[tuple[int | None, Mistake]]:
    """Return the mistakes with their line numbers, in the order of the document."""
    lines = key_lines(document) if mistakes else {}
    numbered = [(line_of(lines, mistake.place), mistake) for mistake in mistakes]
    return sorted(numbered, key=lambda pair: pair[0] or 0)


def each_taken(file: SettingsFile, catalogue: Catalogue) -> Iterator[tuple[Command, Setting, AssignedValue]]:
    """Yield every value of a file, once for each option that it sets."""
    for words, options in file.taken.items():
        for option in settings_of(catalogue.commands[words]):
            if option.name in options:
                yield words, option, options[option.name]


def context_of(catalogue: Catalogue, words: Command, source: str) -> click.Context:
    """Return a context in which the values of a command can be parsed."""
    ctx = click.Context(catalogue.commands[words], info_name=" ".join(words))
    ctx.meta[SETTINGS_FILE] = source
    return ctx


class Refusal(NamedTuple):
    """The reason why an option's parser refuses a value."""

    message: str
    advice: str
    key: str
    """The key of a table that it is about; empty if it is about none."""


def refusal_of(ctx: click.Context, option: Setting, value: object) -> Refusal | None:
    """Return why the option's parser refuses a value; None if it accepts the value."""
    key = ""
    try:
        option.process_value(ctx, value)
    except click.UsageError as error:
        message, advice = error.message, "Mend the value."
    except HashscanError as error:
        message, advice = str(error), error.remedy
        key = error.key if isinstance(error, RowError) else ""
    else:
        return None
    if option.hide_input:
        # A parser may show a value that it refuses.
        message = "the value is not valid (it is secret, and not shown)"
    return Refusal(message, advice, key)


def _refused(ctx: click.Context, option: Setting, taken: AssignedValue, source: str) -> Iterator[Mistake]:
    key = option_key(option)
    if isinstance(option.type, TablesParam) and isinstance(taken.value, list):
        for number, problem in _refused_rows(ctx, option, taken.value):
            place = (*taken.place, number, *_key_of(problem, taken.value[number]))
            yield _mistake(place, problem, source)
    elif refused := refusal_of(ctx, option, taken.value):
        is_table = isinstance(taken.value, dict)
        inner = _key_of(refused, taken.value) if is_table else ()
        named = refused if is_table else refused._replace(message=f"`{key}`: {refused.message}")
        yield _mistake((*taken.place, *inner), named, source)


def _mistake(place: KeyPath, problem: Refusal, source: str) -> Mistake:
    # The parsers of tables name the file in the message, and so do we.
    return Mistake(place, problem.message.removeprefix(source).lstrip(":, "), problem.advice)


def _key_of(problem: Refusal, row: Mapping[str, Any]) -> KeyPath:
    """Return the key of a row that a problem is about; an empty place if the row has no such key."""
    return (problem.key,) if problem.key in row else ()


def _refused_rows(ctx: click.Context, option: Setting, rows: list[Any]) -> Iterator[tuple[int, Refusal]]:
    """Yield the number of every invalid row, counted from 0, with its problem.

    A parser reports the first invalid row only. Each one found is replaced by a valid row, so that the
    numbers in the parser's messages stay right.
    """
    import tomllib

    assert isinstance(option.type, TablesParam)
    good = tomllib.loads(option.type.example)
    rows = list(rows)
    last = -1
    while problem := refusal_of(ctx, option, rows):
        low, high = 1, len(rows)
        while low < high:
            middle = (low + high) // 2
            if refusal_of(ctx, option, rows[:middle]):
                high = middle
            else:
                low = middle + 1
        if low - 1 <= last:
            # The problem is not in a row.
            break
        last = low - 1
        yield last, problem
        rows[last] = good


def unknown_variables(catalogue: Catalogue, environ: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Yield variables that begin with HASHSCAN_ and that nothing reads, each with a similar known one."""
    known = {
        option.envvar: None
        for command in catalogue.commands.values()
        for option in settings_of(command)
        if isinstance(option.envvar, str)
    }
    every = [name.removeprefix(VARIABLE_PREFIX) for name in (*known, *OTHER_VARIABLES)]
    for name in environ:
        word = name.removeprefix(VARIABLE_PREFIX)
        if word != name and word not in every:
            meant = closest_match(word, every)
            yield name, None if meant is None else VARIABLE_PREFIX + meant


def misspelt_variables(ctx: click.Context, names: Iterable[str]) -> Iterator[str]:
    """Yield a message for each of some variables that nothing reads, but that is similar to a known one."""
    strange = dict.fromkeys(name for name in names if name not in OTHER_VARIABLES)
    root = ctx.find_root()
    if strange and any(meant for _, meant in unknown_variables(Catalogue.of(root, LARGE), strange)):
        for name, meant in unknown_variables(Catalogue.of(root), strange):
            if meant is not None:
                yield f"the variable {name} sets nothing; did you mean {meant}?"


def warnings_about(path: Path, *, secret: bool) -> Iterator[str]:
    """Yield a warning for each way in which other users can change the file, or read secrets in it."""
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        yield "it belongs to another user, who can change what hashscan does"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield "others than its owner can write it, and so change what hashscan does"
    group = stat.S_IRGRP if status.st_gid != service_group() else 0
    if secret and status.st_mode & (group | stat.S_IROTH):
        yield "others than its owner can read it, and it holds secrets"
