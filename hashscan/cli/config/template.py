"""Template of a settings file: every option with its help and its default, made from the commands."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import click

from hashscan.cli.config.effective import default_of
from hashscan.cli.config.settings_file import Catalogue, Command, wrong_kind
from hashscan.cli.config.validation import context_of, refusal_of
from hashscan.cli.options.base import Setting, is_repeatable, option_key
from hashscan.cli.options.tables import TablesParam
from hashscan.settings.file import plain_value, toml_key, toml_text

_WIDTH = 100
_HEAD = """\
Settings of hashscan. Each line that begins with # and no space is a setting with its default, or with an
example if it has none: remove the # and change the value. `hashscan config check` finds mistakes in the file,
`hashscan config show` shows the effective values and their origin.

The command line comes before variables (HASHSCAN_WORKERS=4), and these before this file. A value above the
first table holds for every command that has the option; a value in a command's table holds for that command,
and comes first.
"""
_SUGGESTED = re.compile(r"such as ([^\s,;)]*\d[^\s,;)]*[^\s,;).])|(\d+) is a good value")
"""Pattern of the example values that a help text names."""
_EXAMPLES = ("1d", "1G", "1%", "1/4", "2027-01-31", "1", "text")
"""Values to try as an example for an option without a default, until its own parser accepts one."""


def template(catalogue: Catalogue) -> str:
    lines = [*_comment(_HEAD.split("\n\n")), ""]
    shared = _shared(catalogue)
    lines += _comment(["Options of several commands"])
    for key in shared:
        lines += ["", *_setting(catalogue, *catalogue.top[key][0])]
    for words, command in catalogue.commands.items():
        lines += _table(catalogue, words, command, shared)
    named = {words[0] for words in catalogue.commands}
    for table in catalogue.tables:
        if table not in named:
            lines += ["", "", f"[{table}]", *_together(catalogue, table)]
    for key, options in catalogue.top.items():
        words, option = options[0]
        if isinstance(option.type, TablesParam):
            header = f"[[{key}]]" if option.type.rows else f"[{key}]"
            example = [f"#{line}" for line in (header, *option.type.example.splitlines())]
            lines += ["", "", *_comment([option.help or ""]), *example]
    return "\n".join(lines) + "\n"


def _shared(catalogue: Catalogue) -> list[str]:
    """Return the keys that mean the same to several commands."""
    return [
        key
        for key, options in catalogue.top.items()
        if len(options) > 1
        and len({(o.help, str(o.default), str(o.type.to_info_dict())) for _, o in options}) == 1
        and not isinstance(options[0][1].type, TablesParam)
        # Otherwise its value would be in the place of the table of the command of this name.
        and not catalogue.own_table(key)
    ]


def _table(
    catalogue: Catalogue, words: Command, command: click.Command, shared: Iterable[str]
) -> Iterator[str]:
    own = [
        (words, option)
        for key, option in catalogue.own(words).items()
        if key not in shared and not isinstance(option.type, TablesParam)
    ]
    together = list(_together(catalogue, words[0])) if len(words) == 1 else []
    if own or together:
        summary = " ".join((command.help or "").split("\n\n")[0].split())
        yield from ("", "", *_comment([f"hashscan {' '.join(words)}: {summary}"]))
        yield catalogue.header(words)
    for words_of_it, option in own:
        yield ""
        yield from _setting(catalogue, words_of_it, option)
    yield from together


def _together(catalogue: Catalogue, table: str) -> Iterator[str]:
    """Yield the settings of a table that several commands share."""
    for options in catalogue.tables.get(table, {}).values():
        yield ""
        users = ", ".join(" ".join(words) for words, _ in options)
        yield from _setting(catalogue, *options[0], note=f"Of {users}.")


def _setting(catalogue: Catalogue, words: Command, option: Setting, note: str = "") -> Iterator[str]:
    help_ = " ".join((option.help or "").split())
    if isinstance(option.show_default, str):
        note = f"{note} Default: {option.show_default}.".strip()
    if isinstance(option.type, click.Choice):
        note = f"{note} One of {', '.join(map(str, option.type.choices))}.".strip()
    yield from _comment([f"{help_} {note}".strip()])
    value = _value(context_of(catalogue, words, "the settings file"), option)
    if value is None:
        yield f"# {option_key(option)} = ..."
    else:
        yield f"#{toml_key(option_key(option))} = {toml_text(value)}"


def _value(ctx: click.Context, option: Setting) -> Any:
    """Return the default of an option, else an example; None if its parser accepts no candidate."""
    default = plain_value(default_of(option, ctx))
    kind = option.type
    candidates: list[Any] = [] if default is None else [default]
    if option.is_flag:
        candidates.append(False)
    elif isinstance(kind, click.Choice):
        candidates += list(map(str, kind.choices))
    elif isinstance(kind, click.Path):
        candidates.append("/path/to/file" if kind.file_okay else "/path/to/folder")
    elif kind is click.STRING:
        candidates += [*_suggested(option), option.metavar or "text"]
    elif isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        candidates += [*map(int, filter(str.isdigit, _suggested(option))), 1]
    else:
        candidates += [*_suggested(option), *_EXAMPLES]
    if is_repeatable(option):
        candidates = [*([default] if default is not None else []), [], *([one] for one in candidates)]
    for value in candidates:
        if wrong_kind(option, value) is None and refusal_of(ctx, option, value) is None:
            return value
    return None


def _suggested(option: Setting) -> list[str]:
    return [one or other for one, other in _SUGGESTED.findall(option.help or "")]


def _comment(paragraphs: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for text in paragraphs:
        lines += ["#"] if lines else []
        lines += textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    return lines
