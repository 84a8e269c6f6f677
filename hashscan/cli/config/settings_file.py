"""The settings file: the catalogue of its keys and tables, made from the options of the commands, and the
values that it gives to them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hashscan.cli.options.base import (
    SETTINGS_FILE,
    WARNINGS,
    Setting,
    TableOption,
    is_repeatable,
    option_key,
    settings_of,
)
from hashscan.cli.options.tables import TablesParam
from hashscan.errors import UsageError
from hashscan.settings.file import KeyPath, key_lines, line_of, read_file
from hashscan.text import did_you_mean

Command = tuple[str, ...]
"""The words that call a command, such as `("lists", "pull")`."""

LARGE = frozenset({"hub"})
"""Groups whose commands import large libraries, which take longer than most commands."""


@dataclass(slots=True)
class Catalogue:
    """The keys of every table of a settings file, and the options that each key sets."""

    commands: dict[Command, click.Command] = field(default_factory=dict)
    tables: dict[str, dict[str, list[tuple[Command, Setting]]]] = field(default_factory=dict)
    """Tables of several commands: by table and key, the commands and their options."""
    top: dict[str, list[tuple[Command, Setting]]] = field(default_factory=dict)

    @classmethod
    def of(cls, ctx: click.Context, without: Collection[str] = ()) -> Catalogue:
        """Make the catalogue of all commands below a context's command, but those in the groups `without`."""
        made = cls()
        assert isinstance(ctx.command, click.Group)
        for words, command in commands_beneath(ctx.command, ctx, without=without):
            made.commands[words] = command
            for option in settings_of(command):
                where = made.top
                if isinstance(option, TableOption):
                    where = made.tables.setdefault(option.table, {})
                where.setdefault(option_key(option), []).append((words, option))
        return made

    def own(self, words: Command) -> dict[str, Setting]:
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
        """Return the names of the tables within a command's table."""
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
        """Return the headers of the tables that may have a key, as they are written in a file."""
        homes = [f"[{table}]" for table, options in self.tables.items() if key in options]
        if key in self.top:
            homes += [self.header(words) for words, _ in self.top[key]]
        return list(dict.fromkeys(homes))


def commands_beneath(
    group: click.Group, ctx: click.Context, words: Command = (), without: Collection[str] = ()
) -> Iterator[tuple[Command, click.Command]]:
    """Yield all commands and groups below a group, which `words` call, in the order of the help.

    Those of an extra that is not installed are left out, and those in the groups `without`.
    """
    for name in group.list_commands(ctx):
        try:
            command = group.get_command(ctx, name)
        except UsageError:
            continue
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group) and name not in without:
            yield from commands_beneath(command, ctx, (*words, name))


_ASSIGNED_KEY = "hashscan.places"
"""Context key of the file's text and of the values that commands have taken from it."""
_LIST_VARIABLE = "HASHSCAN_LIST"
_SHOWN = 60
"""Characters of a value that a message shows at most."""


@dataclass(frozen=True, slots=True)
class AssignedValue:
    """A value that the file gives to an option, with its place in the file."""

    value: Any
    place: KeyPath


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in the file, with its place, a message and advice."""

    place: KeyPath
    message: str
    advice: str
    unknown: bool = False
    """True for the name of a key or table that is not known there. A newer version may know it, so commands
    ignore it with a warning."""

    def at(self, line: int | None) -> str:
        return self.message if line is None else f"line {line}: {self.message}"


class SettingsFile:
    """The values of a settings file, assigned to options, and the mistakes found on the way."""

    def __init__(self, catalogue: Catalogue, values: Mapping[str, Any]) -> None:
        """Assign the values, as parsed from TOML, to the options."""
        self.mistakes: list[Mistake] = []
        self.taken: dict[Command, dict[str, AssignedValue]] = {}
        """Values by command and by the parameter name of the option."""
        self._catalogue = catalogue
        self._values = values
        for key, value in values.items():
            if not (isinstance(value, dict) and catalogue.is_table(key)):
                self._take_at_top(key, value)
        # A command's own table overrides what is set at the top for all commands.
        for key, value in values.items():
            if isinstance(value, dict) and catalogue.is_table(key):
                self._take_table(tuple(key.split(" ")), value, (key,))

    def default_map(self) -> dict[str, Any]:
        """Return the values as a `default_map` of click."""
        made: dict[str, Any] = {}
        for words, options in self.taken.items():
            inner = made
            for word in words:
                inner = inner.setdefault(word, {})
            inner.update({name: taken.value for name, taken in options.items()})
        return made

    def _take_at_top(self, key: str, value: object) -> None:
        options = self._catalogue.top.get(key.replace("-", "_"))
        if options:
            self._give(options, self._with_known_keys(options[0][1], key, value), (key,), self._values)
        elif isinstance(value, dict):
            self._unknown((key,), *_no_table(self._catalogue, key))
        elif self._catalogue.is_table(key):
            self._mistake((key,), f"{key!r} is a table, not a value", f"Begin it with [{key}].")
        else:
            self._unknown((key,), *self._no_key(key, self._catalogue.top, "no command has an option"))

    def _with_known_keys(self, option: Setting, table: str, value: object) -> object:
        """Return an option's value; if it is a table that is no rule, without keys that are not known."""
        if not (isinstance(option.type, TablesParam) and option.type.keys and isinstance(value, dict)):
            return value
        known = option.type.keys
        for key in value:
            if key not in known:
                advice = did_you_mean(key, known, "Mend or remove the key.")
                self._unknown((table, key), f"[{table}] has no key {key!r}", advice)
        return {key: inner for key, inner in value.items() if key in known}

    def _take_table(self, words: Command, table: Mapping[str, Any], place: KeyPath) -> None:
        catalogue = self._catalogue
        own = catalogue.own(words) if words in catalogue.commands else {}
        shared = catalogue.tables.get(words[0], {}) if len(words) == 1 else {}
        below = catalogue.below(words)
        for key, value in table.items():
            option = key.replace("-", "_")
            if isinstance(value, dict) and key in below:
                self._take_table((*words, key), value, (*place, key))
            elif option in shared:
                self._give(shared[option], value, (*place, key), table)
            elif option in own:
                self._give([(words, own[option])], value, (*place, key), table)
            else:
                known = [*own, *shared, *below]
                self._unknown((*place, key), *self._no_key(key, known, f"{' '.join(words)} has no option"))

    def _give(
        self,
        options: list[tuple[Command, Setting]],
        value: object,
        place: KeyPath,
        table: Mapping[str, Any],
    ) -> None:
        key = str(place[-1])
        if next(other for other in table if other.replace("-", "_") == key.replace("-", "_")) != key:
            self._mistake(place, f"{key!r} is set with - and with _", "Remove one of them.")
        for problem in dict.fromkeys(wrong_kind(option, value) for _, option in options):
            if problem is not None:
                self._mistake(place, *problem)
                return
        for words, option in options:
            self.taken.setdefault(words, {})[option.name or ""] = AssignedValue(value, place)

    def _no_key(self, key: str, known: Iterable[str], words_for_it: str) -> tuple[str, str]:
        """Return a message and advice for a key that no table has, or only another one."""
        homes = self._catalogue.homes_of(key.replace("-", "_"))
        if homes:
            named = homes[0] if len(homes) == 1 else f"{', '.join(homes[:-1])} or {homes[-1]}"
            return f"{words_for_it} {key!r} here", f"It belongs to {named}."
        return f"{words_for_it} {key!r}", did_you_mean(key, known, "Mend or remove the key.")

    def _mistake(self, place: KeyPath, message: str, advice: str) -> None:
        self.mistakes.append(Mistake(place, message, advice))

    def _unknown(self, place: KeyPath, message: str, advice: str) -> None:
        self.mistakes.append(Mistake(place, message, advice, unknown=True))


def _no_table(catalogue: Catalogue, key: str) -> tuple[str, str]:
    """Return a message and advice for a table that no command has, or that belongs elsewhere."""
    homes = [catalogue.header(words) for words in catalogue.commands if words[-1] == key and words[1:]]
    if homes:
        return f"there is no command {key!r} by itself", f"Write {' or '.join(homes)}."
    known = {words[0] for words in catalogue.commands} | set(catalogue.tables)
    rows = {name for name, options in catalogue.top.items() if isinstance(options[0][1].type, TablesParam)}
    return f"there is no command {key!r}", did_you_mean(key, known | rows, "Mend the name of the table.")


def wrong_kind(option: Setting, value: object) -> tuple[str, str] | None:
    """Return why a TOML value has a type that the option can't take, and advice; None if the type fits.

    The value itself is checked by the option's own parser.
    """
    key = option_key(option)
    if _contains_nul(value):
        return (
            f"`{key}` contains a NUL character",
            "Remove it: neither names of files nor other values can have one.",
        )
    if isinstance(option.type, TablesParam):
        return _no_tables(option.type.rows, key, value)
    if is_repeatable(option) and not isinstance(value, list):
        return f"`{key}` takes several values", 'Write them in square brackets: ["one", "another"].'
    for one in value if is_repeatable(option) and isinstance(value, list) else [value]:
        kind = _wanted(option.type, one)
        if kind is not None:
            shown = "" if option.hide_input else f": {repr(one)[:_SHOWN]}"
            return f"`{key}` has a value of the wrong type{shown}", f"Write {kind}."
    return None


def _contains_nul(value: object) -> bool:
    """Return True if a text within a TOML value has a NUL, which only this file can pass to an option."""
    match value:
        case str():
            return "\0" in value
        case list():
            return any(map(_contains_nul, value))
        case dict():
            return any(map(_contains_nul, (*value, *value.values())))
    return False


def _no_tables(rows: bool, key: str, value: object) -> tuple[str, str] | None:
    """Return a message and advice if a value is neither tables nor the name of a file, else None."""
    if isinstance(value, str):
        return None
    if rows:
        good = isinstance(value, list) and all(isinstance(row, dict) for row in value)
        return None if good else (f"`{key}` is no table of rules", f"Begin each rule with a line [[{key}]].")
    return None if isinstance(value, dict) else (f"`{key}` is no table", f"Begin it with a line [{key}].")


def _wanted(kind: click.ParamType[Any], value: object) -> str | None:
    """Return the type to write in place of a value of the wrong type; None if it fits. Text always fits."""
    of_click = type(kind).__module__.startswith("click") or isinstance(kind, click.Path)
    if isinstance(value, str) or not of_click:
        # Types of our own, unlike click's, don't convert whatever value they get.
        return None
    match kind:
        case click.types.BoolParamType():
            good, wanted = isinstance(value, bool), "true or false, without quotes"
        case click.types.IntParamType():
            good, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        case click.types.FloatParamType():
            good, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        case _:
            good, wanted = False, "text in quotes"
    return None if good else wanted


def apply_settings_file(ctx: click.Context, path: Path | None, environ: Mapping[str, str]) -> None:
    """Make the values of the settings file the defaults of the commands below a context.

    A key at the top of the file holds for every command that has the option; a table named after a command
    holds for that command. A `TableOption` is set in its table only.

    Names of keys and tables that are not known are warnings, so that the file of a newer version can be used.
    """
    source, document, values = read_file(path, environ)
    if source is None:
        return
    file = SettingsFile(Catalogue.of(ctx, () if ctx.invoked_subcommand in LARGE else LARGE), values)
    if file.mistakes:
        # It may be a name that only those commands know.
        file = SettingsFile(Catalogue.of(ctx), values)
    lines = key_lines(document) if file.mistakes else {}
    errors = [mistake for mistake in file.mistakes if not mistake.unknown]
    if errors:
        first = errors[0]
        others = len(file.mistakes) - 1
        raise UsageError(
            f"{source}, {first.at(line_of(lines, first.place))}",
            advice=f"{first.advice} `hashscan config check` names all {others + 1} mistakes."
            if others
            else first.advice,
        )
    ctx.meta.setdefault(WARNINGS, []).extend(
        f"{source}, {mistake.at(line_of(lines, mistake.place))}; ignored. {mistake.advice}"
        for mistake in file.mistakes
    )
    ctx.default_map = file.default_map()
    ctx.meta[SETTINGS_FILE] = str(source)
    ctx.meta[_ASSIGNED_KEY] = (document, file.taken)


def origin_of(error: click.BadParameter) -> str | None:
    """Return a sentence that says where a refused value comes from; None if from the command line."""
    if error.ctx is None or error.param is None or error.param.name is None:
        return None
    source = error.ctx.get_parameter_source(error.param.name)
    if source is ParameterSource.ENVIRONMENT:
        return f"It is the value of the variable {error.param.envvar}."
    if source is not ParameterSource.DEFAULT_MAP:
        return None
    document, taken = error.ctx.meta[_ASSIGNED_KEY]
    place = taken[_words_of(error.ctx)][error.param.name].place
    return f"It is in {error.ctx.meta[SETTINGS_FILE]}, line {line_of(key_lines(document), place)}."


def uses_of_list(ctx: click.Context, name: str) -> list[str]:
    """Return the places of the settings, and the variable, that name a hash list."""
    places: list[str] = []
    if _ASSIGNED_KEY in ctx.meta:
        document, taken = ctx.meta[_ASSIGNED_KEY]
        found = [
            value.place
            for options in taken.values()
            for value in options.values()
            if _names_list(value.place[-1], value.value, name)
        ]
        lines = key_lines(document)
        places = [
            f"{ctx.meta[SETTINGS_FILE]}, line {line_of(lines, place)}" for place in dict.fromkeys(found)
        ]
    if name in os.environ.get(_LIST_VARIABLE, "").split():
        places.append(f"the variable {_LIST_VARIABLE}")
    return places


def _names_list(key: int | str, value: object, name: str) -> bool:
    """Return True if the value of a key, or a table in it, names a list."""
    if isinstance(value, list) and any(isinstance(row, dict) for row in value):
        return any(_names_list(k, v, name) for row in value for k, v in row.items())
    return key == "list" and (value == name or (isinstance(value, list) and name in value))


def _words_of(ctx: click.Context) -> Command:
    return () if ctx.parent is None else (*_words_of(ctx.parent), ctx.info_name or "")
