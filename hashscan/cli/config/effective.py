"""Effective settings: the value of each option of a command, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import click
from msgspec import UNSET, Struct, UnsetType, field

from hashscan.cli.config.settings_file import Catalogue, Command, SettingsFile
from hashscan.cli.config.validation import context_of, refusal_of
from hashscan.cli.options.base import Setting, TableOption, option_key, settings_of
from hashscan.settings.file import KeyPath, line_of, plain_value, toml_key, toml_text
from hashscan.text import plural

Origin = Literal["default", "file", "variable"]
MASK = "(secret, not shown)"


class ValueDocument(Struct):
    """The value of an option, and where it comes from."""

    value: Any
    origin: Origin = field(name="from")
    where: str
    secret: bool | UnsetType = UNSET
    problem: str | UnsetType = UNSET


class SettingsDocument(Struct):
    """The values of all options by command and key, and the settings file."""

    file: str | None
    commands: dict[str, dict[str, ValueDocument]]


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """The effective value of one option of one command."""

    command: Command
    key: str
    value: Any
    """Value as JSON can hold it; None if it is not set."""
    text: str
    """Value as it is shown to a person."""
    origin: Origin
    where: str
    """Origin for a person, with the table and line in the file, or the variable's name."""
    secret: bool
    table: str | None
    """Table of several commands that holds the option in the settings file, if any."""
    problem: str | None
    """Reason why the command refuses this value, if it does."""

    def document(self) -> ValueDocument:
        return ValueDocument(
            self.value, self.origin, self.where, secret=self.secret or UNSET, problem=self.problem or UNSET
        )


@dataclass(frozen=True, slots=True)
class ValueSources:
    """The sources of values besides the command line: the settings file and variables."""

    catalogue: Catalogue
    file: SettingsFile
    name: str
    lines: Mapping[KeyPath, int]

    def shown(self, words: Command) -> Iterator[EffectiveValue]:
        """Yield every option of the command that the words call, with its effective value."""
        ctx = context_of(self.catalogue, words, self.name)
        for option in settings_of(self.catalogue.commands[words]):
            yield self._shown(ctx, words, option)

    def _shown(self, ctx: click.Context, words: Command, option: Setting) -> EffectiveValue:
        value = option.value_from_envvar(ctx)
        taken = self.file.taken.get(words, {}).get(option.name or "")
        origin: Origin
        if value is not None:
            origin, where = "variable", str(option.envvar)
        elif taken is not None:
            value, origin, where = taken.value, "file", self._place(taken.place)
        else:
            value, origin, where = default_of(option, ctx), "default", "default"
        problem = refusal_of(ctx, option, value) if origin != "default" else None
        secret = option.hide_input and value not in (None, (), [])
        value = MASK if secret else plain_value(_typed(option, value))
        return EffectiveValue(
            words,
            option_key(option),
            value,
            _value_text(option, value),
            origin,
            where,
            secret,
            option.table if isinstance(option, TableOption) else None,
            problem.message if problem else None,
        )

    def _place(self, place: KeyPath) -> str:
        table = ".".join(str(key) for key in place[:-1])
        line = line_of(self.lines, place)
        numbered = f"{self.name}:{line}" if line is not None else self.name
        return f"{numbered} [{table}]" if table else numbered


def default_of(option: Setting, ctx: click.Context) -> Any:
    value = option.get_default(ctx)
    # Click has a sentinel of its own for "no value".
    return None if "Sentinel" in type(value).__name__ else value


def _typed(option: Setting, value: Any) -> Any:
    """Return numbers and booleans from variables as such; other values as they are."""
    kinds = (click.types.BoolParamType, click.types.IntParamType, click.types.FloatParamType)
    kind: click.ParamType[Any] = option.type
    if isinstance(value, str) and isinstance(kind, kinds):
        try:
            return kind(value, option)
        except click.UsageError:
            return value
    return value


def _value_text(option: Setting, value: Any) -> str:
    if value is None or value == []:
        return f"({option.show_default})" if isinstance(option.show_default, str) else "-"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return plural(len(value), "row")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def as_toml(shown: list[EffectiveValue], catalogue: Catalogue) -> str:
    """Return a settings file with the same values, and with their origins in comments.

    Options that are not set, and secrets, are named in comments only.
    """
    tables: dict[str, dict[str, EffectiveValue]] = {}
    for one in shown:
        table = tables.setdefault(f"[{one.table}]" if one.table else catalogue.header(one.command), {})
        table.setdefault(one.key, one)
    lines = []
    for name, table in tables.items():
        lines += ["", name]
        for key, one in table.items():
            if one.value is None or one.value == [] or one.secret:
                lines.append(f"# {toml_key(key)} is {'secret' if one.secret else 'not set'}")
            else:
                lines.append(f"{toml_key(key)} = {toml_text(one.value)}  # {_one_line(one.where)}")
    return "\n".join(lines[1:]) + "\n"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
