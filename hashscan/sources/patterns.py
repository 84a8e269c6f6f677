"""Exclude patterns: globs as in .gitignore, matched in time linear in the length of a name.

A pattern without a slash matches a name at any depth; one with a slash, other than at its end, matches the
path beneath the target. `*` and `?` don't match a slash; `**` as a whole component matches any number of
folders. `[a-z]` and `[!a-z]` match one character. A slash at the end restricts the pattern to folders. A
backslash removes the special meaning of the next character. If several patterns match, the last one decides.

Names can be chosen by attackers, so no matching may backtrack: within a component every `*` takes the
shortest text that lets the next fixed part match, and is never tried again; across components a pattern is an
automaton whose states are stored once per folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from os import fsdecode, fsencode
from pathlib import Path
from typing import Self

from hashscan.errors import UsageError

PatternState = tuple[int, ...]
"""State of the patterns with a slash in one folder: for each pattern, a bit for every state it can be in."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern; several adjacent ones without slashes may have been joined into one."""

    included: bool
    """True for a pattern that cancels an exclusion."""
    folders_only: bool
    name: re.Pattern[str] | None
    """The compiled name, for a pattern without a slash."""
    steps: tuple[re.Pattern[str] | None, ...] = ()
    """The components, for a pattern with a slash; None for `**`."""
    index: int = -1
    """The position in a `PatternState`, for a pattern with a slash."""

    def advance(self, states: int, name: str) -> int:
        """Return the states after one more component of a path."""
        following = 0
        for number, step in enumerate(self.steps):
            if states >> number & 1:
                if step is None:
                    following |= 1 << number
                elif step.fullmatch(name):
                    following |= 1 << number + 1
        return self.skip_empty_components(following)

    def skip_empty_components(self, states: int) -> int:
        """Add the states that are reached without a component, because `**` may match no folder at all."""
        for number, step in enumerate(self.steps):
            if step is None and states >> number & 1:
                states |= 1 << number + 1
        return states


class Patterns:
    """A set of compiled exclude patterns."""

    def __init__(self, rules: Iterable[_Rule] = (), source: Iterable[tuple[bool, str]] = ()) -> None:
        """Store compiled rules; the last one that matches decides. `compile` makes them from text."""
        self.source = tuple(source)
        """The source patterns: for each, True if it cancels an exclusion, and its text."""
        self._rules = tuple(rules)[::-1]
        self._with_slash = tuple(
            sorted((rule for rule in self._rules if rule.name is None), key=lambda rule: rule.index)
        )
        self.start: PatternState = tuple(rule.skip_empty_components(1) for rule in self._with_slash)

    @classmethod
    def compile(
        cls, exclude: Iterable[str] = (), ignore_file: Path | None = None, where: str = "--exclude"
    ) -> Self:
        """Compile patterns of the command line and of a file.

        The patterns of the command line come last, and so take precedence.

        Args:
            ignore_file: a file with one pattern per line. Empty lines and lines that start with `#` are
                ignored; a leading `!` cancels an earlier exclusion (but nothing inside an excluded folder is
                seen).
            where: the origin of the patterns in `exclude`, for error messages.

        Raises:
            UsageError: a pattern is not valid, or the file can't be read.
        """
        lines = [] if ignore_file is None else list(_lines(ignore_file))
        lines += [(where, False, pattern) for pattern in exclude]
        rules = [_compile(pattern, where, included=included) for where, included, pattern in lines]
        return cls(_number(_join(rules)), ((included, pattern) for _, included, pattern in lines))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def descend(self, place: PatternState, name: bytes) -> PatternState:
        """Return the state in the subfolder `name` of a folder."""
        if not place:
            return place
        text = _text(name)
        return tuple(rule.advance(states, text) for rule, states in zip(self._with_slash, place, strict=True))

    def excludes(self, place: PatternState, name: bytes, *, is_folder: bool) -> bool:
        """Return True if a name is left out."""
        text = _text(name)
        for rule in self._rules:
            if rule.folders_only and not is_folder:
                continue
            if rule.name is not None:
                matched = rule.name.fullmatch(text) is not None
            else:
                matched = bool(rule.advance(place[rule.index], text) >> len(rule.steps) & 1)
            if matched:
                return not rule.included
        return False


def _text(name: bytes) -> str:
    """Return a name as text, whatever the locale; each byte that isn't UTF-8 becomes one character."""
    return name.decode("utf-8", "surrogateescape")


def _lines(ignore_file: Path) -> Iterator[tuple[str, bool, str]]:
    """Yield for each pattern of a file its position, True if it cancels an exclusion, and its text."""
    try:
        content = ignore_file.read_bytes()
    except OSError as error:
        raise UsageError(f"the ignore file {str(ignore_file)!r} can't be read: {error.strerror}") from error
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        line = fsdecode(raw.removesuffix(b"\r"))
        while line.endswith((" ", "\t")) and not _is_escaped(line, len(line) - 1):
            line = line[:-1]
        if line and not line.startswith("#"):
            included = line.startswith("!")
            yield f"{ignore_file}:{number}", included, line[1:] if included else line


def _is_escaped(text: str, position: int) -> bool:
    before = text[:position]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _join(rules: list[_Rule]) -> Iterator[_Rule]:
    """Join adjacent rules that differ only in the name; this avoids most of the work per name."""
    for (included, folders_only, has_slash), group in groupby(
        rules, key=lambda rule: (rule.included, rule.folders_only, rule.name is None)
    ):
        if has_slash:
            yield from group
        else:
            names = [rule.name.pattern for rule in group if rule.name is not None]
            yield _Rule(included, folders_only, re.compile("|".join(names), re.DOTALL))


def _number(rules: Iterable[_Rule]) -> Iterator[_Rule]:
    """Assign to the patterns with a slash their positions in a `PatternState`."""
    index = 0
    for rule in rules:
        if rule.name is None:
            yield _Rule(rule.included, rule.folders_only, None, rule.steps, index)
            index += 1
        else:
            yield rule


def _compile(pattern: str, where: str, *, included: bool) -> _Rule:
    try:
        body = _text(fsencode(pattern))
        folders_only = body.endswith("/")
        body = body.removesuffix("/")
        if "/" not in body:
            return _Rule(included, folders_only, _component(body))
        parts = body.removeprefix("/").split("/")
        steps = [None if part == "**" else _component(part) for part in parts]
        if steps[-1] is None:  # everything inside, but not the folder itself
            steps[-1:] = [_component("*"), None]
        return _Rule(included, folders_only, None, tuple(steps))
    except ValueError as error:
        raise UsageError(
            f"{where}: the pattern {pattern!r} {error}", advice="Patterns are those of a .gitignore file."
        ) from error


def _component(glob: str) -> re.Pattern[str]:
    """Compile the text between two slashes."""
    if glob in {"", ".", ".."}:
        raise ValueError("has a component that no name matches: " + repr(glob))
    first, *others = fixed_parts(glob)
    if not others:
        return re.compile(first, re.DOTALL)
    # A fixed part always has the same length, so the first position where it matches is as good as a later
    # one.
    middle = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    return re.compile(f"{first}{middle}.*{others[-1]}", re.DOTALL)


def fixed_parts(glob: str) -> Iterator[str]:
    """Yield regular expressions for the parts between the stars of one component.

    Raises:
        ValueError: a bracket is not closed.
    """
    part = ""
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            yield part
            part = ""
        elif character == "?":
            part += "."
        elif character == "[":
            position, expression = _character_class(glob, position)
            part += expression
        else:
            if character == "\\":
                if position == len(glob):
                    raise ValueError("ends in a backslash")
                character = glob[position]
                position += 1
            if character == "\0":
                raise ValueError("holds a zero byte")
            part += re.escape(character)
    yield part


def _character_class(glob: str, position: int) -> tuple[int, str]:
    """Translate a character class that starts after its bracket; return its end and the expression."""
    negated = glob[position : position + 1] in {"!", "^"}
    position += negated
    expression = ""
    first = True
    while True:
        low, position, closes = _class_character(glob, position)
        if closes and not first:
            return position, f"[{'^' if negated else ''}{expression}]"
        first = False
        if glob[position : position + 1] == "-" and glob[position + 1 : position + 2] not in {"", "]"}:
            high, position, _ = _class_character(glob, position + 1)
            if high < low:
                raise ValueError(f"has a range that runs backwards: {low}-{high}")
            expression += f"{re.escape(low)}-{re.escape(high)}"
        else:
            expression += re.escape(low)


def _class_character(glob: str, position: int) -> tuple[str, int, bool]:
    """Return one character of a class, the position after it, and True if it is a closing bracket."""
    character = glob[position : position + 1]
    if glob[position : position + 2] == "[:":
        raise ValueError("has a named character class, which is not supported")
    if character == "\\":
        position += 1
        character = glob[position : position + 1]
        if character:
            return character, position + 1, False
    if not character:
        raise ValueError("has a bracket that isn't closed")
    return character, position + 1, character == "]"
