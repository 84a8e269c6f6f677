"""The settings file's values, given to the commands that have the options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hashscan.cli.config.catalogue import Catalogue, Command
from hashscan.cli.options.base import SETTINGS_FILE, option_key
from hashscan.cli.options.tables import TablesParam
from hashscan.errors import UsageError
from hashscan.settings.file import read_file
from hashscan.settings.key_lines import Place, key_lines, line_of
from hashscan.settings.suggestions import nearest

_PLACES = "hashscan.places"
"""Key of the file's text and of who has taken what of it, in a context."""
_SHOWN = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A value that the file gives to an option."""

    value: Any
    place: Place


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something in the file that can't be meant."""

    place: Place
    message: str
    advice: str

    def at(self, line: int | None) -> str:
        """The message, with the line of the file."""
        return self.message if line is None else f"line {line}: {self.message}"


class SettingsFile:
    """The values of a settings file, who takes them, and what nobody takes."""

    def __init__(self, catalogue: Catalogue, values: Mapping[str, Any]) -> None:
        """Give the values out.

        Args:
            catalogue: of all commands.
            values: as TOML has them.
        """
        self.mistakes: list[Mistake] = []
        self.taken: dict[Command, dict[str, Taken]] = {}
        """By command and the name of its parameter."""
        self._catalogue = catalogue
        self._values = values
        for key, value in values.items():
            if not (isinstance(value, dict) and catalogue.is_table(key)):
                self._take_at_top(key, value)
        # What a command's own table says comes before what holds for all of them.
        for key, value in values.items():
            if isinstance(value, dict) and catalogue.is_table(key):
                self._take_table(tuple(key.split(" ")), value, (key,))

    def default_map(self) -> dict[str, Any]:
        """The values as click takes them."""
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
            self._give(options, value, (key,), self._values)
        elif isinstance(value, dict):
            self._mistake((key,), *_no_table(self._catalogue, key))
        elif self._catalogue.is_table(key):
            self._mistake((key,), f"{key!r} is a table, not a value", f"Begin it with [{key}].")
        else:
            self._mistake((key,), *self._no_key(key, self._catalogue.top, "no command has an option"))

    def _take_table(self, words: Command, table: Mapping[str, Any], place: Place) -> None:
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
                self._mistake((*place, key), *self._no_key(key, known, f"{' '.join(words)} has no option"))

    def _give(
        self,
        options: list[tuple[Command, click.Option]],
        value: object,
        place: Place,
        table: Mapping[str, Any],
    ) -> None:
        key = str(place[-1])
        if next(other for other in table if other.replace("-", "_") == key.replace("-", "_")) != key:
            self._mistake(place, f"{key!r} is there with - and with _", "Remove one of them.")
        for problem in dict.fromkeys(wrong_kind(option, value) for _, option in options):
            if problem is not None:
                self._mistake(place, *problem)
                return
        for words, option in options:
            self.taken.setdefault(words, {})[option.name or ""] = Taken(value, place)

    def _no_key(self, key: str, known: Iterable[str], words_for_it: str) -> tuple[str, str]:
        """What to say of a key that is nowhere or elsewhere."""
        homes = self._catalogue.homes_of(key.replace("-", "_"))
        if homes:
            named = homes[0] if len(homes) == 1 else f"{', '.join(homes[:-1])} or {homes[-1]}"
            return f"{words_for_it} {key!r} here", f"It belongs to {named}."
        return f"{words_for_it} {key!r}", _did_you_mean(nearest(key, known), "Mend or remove the key.")

    def _mistake(self, place: Place, message: str, advice: str) -> None:
        self.mistakes.append(Mistake(place, message, advice))


def _no_table(catalogue: Catalogue, key: str) -> tuple[str, str]:
    """What to say of a table that is nowhere or elsewhere."""
    homes = [catalogue.header(words) for words in catalogue.commands if words[-1] == key and words[1:]]
    if homes:
        return f"there is no command {key!r} by itself", f"Write {' or '.join(homes)}."
    known = {words[0] for words in catalogue.commands} | set(catalogue.tables)
    rows = {name for name, options in catalogue.top.items() if isinstance(options[0][1].type, TablesParam)}
    found = nearest(key, known | rows)
    return f"there is no command {key!r}", _did_you_mean(found, "Mend the name of the table.")


def _did_you_mean(found: str | None, otherwise: str) -> str:
    return otherwise if found is None else f"Did you mean {found!r}?"


def wrong_kind(option: click.Option, value: object) -> tuple[str, str] | None:
    """Why a value of TOML is of no kind that the option takes, and what to do; None where it is.

    What the value says is for the option's own parser to judge.
    """
    key = option_key(option)
    if isinstance(option.type, TablesParam):
        return _no_tables(option.type.rows, key, value)
    if option.multiple and not isinstance(value, list):
        return f"`{key}` takes several values", 'Write them in square brackets: ["one", "another"].'
    for one in value if option.multiple and isinstance(value, list) else [value]:
        kind = _wanted(option.type, one)
        if kind is not None:
            shown = "what it has" if option.hide_input else repr(one)[:_SHOWN]
            return f"`{key}` is of another kind than {shown}", f"Write {kind}."
    return None


def _no_tables(rows: bool, key: str, value: object) -> tuple[str, str] | None:
    """The same of what stands in tables of its own, or in a file that is named."""
    if isinstance(value, str):
        return None
    if rows:
        good = isinstance(value, list) and all(isinstance(row, dict) for row in value)
        return None if good else (f"`{key}` is no table of rules", f"Begin each rule with a line [[{key}]].")
    return None if isinstance(value, dict) else (f"`{key}` is no table", f"Begin it with a line [{key}].")


def _wanted(kind: click.ParamType[Any], value: object) -> str | None:
    """What to write instead of a value that is of the wrong kind; text may say anything."""
    if isinstance(value, str) or not type(kind).__module__.startswith("click"):
        # What is not one of click's own does not make what it can of anything.
        return None
    match kind:
        case click.types.BoolParamType():
            good, words = isinstance(value, bool), "true or false, without quotes"
        case click.types.IntParamType():
            good, words = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        case click.types.FloatParamType():
            good, words = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        case _:
            good, words = False, "text in quotes"
    return None if good else words


def apply_settings_file(ctx: click.Context, path: Path | None, environ: Mapping[str, str]) -> None:
    """Make the settings file's values the defaults of the commands beneath.

    A key at the top of the file holds for every command that has the option; a table named after a command
    holds for that command. What is a `TableOption` stands in its table alone.

    Raises:
        UsageError: the file can't be read, or names what no command has.
    """
    source, document, values = read_file(path, environ)
    if source is None:
        return
    file = SettingsFile(Catalogue.of(ctx), values)
    if file.mistakes:
        first = file.mistakes[0]
        others = len(file.mistakes) - 1
        raise UsageError(
            f"{source}, {first.at(line_of(key_lines(document), first.place))}",
            advice=f"{first.advice} `hashscan config check` names all {others + 1} mistakes."
            if others
            else first.advice,
        )
    ctx.default_map = file.default_map()
    ctx.meta[SETTINGS_FILE] = str(source)
    ctx.meta[_PLACES] = (document, file.taken)


def origin_of(error: click.BadParameter) -> str | None:
    """What to say of where a refused value comes from; None where it was on the command line."""
    if error.ctx is None or error.param is None or error.param.name is None:
        return None
    source = error.ctx.get_parameter_source(error.param.name)
    if source is ParameterSource.ENVIRONMENT:
        return f"It is the value of the variable {error.param.envvar}."
    if source is not ParameterSource.DEFAULT_MAP:
        return None
    document, taken = error.ctx.meta[_PLACES]
    place = taken[_words_of(error.ctx)][error.param.name].place
    return f"It stands in {error.ctx.meta[SETTINGS_FILE]}, line {line_of(key_lines(document), place)}."


def _words_of(ctx: click.Context) -> Command:
    """The words that call a context's command."""
    return () if ctx.parent is None else (*_words_of(ctx.parent), ctx.info_name or "")
