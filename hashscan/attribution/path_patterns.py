"""Match whole paths and URLs with patterns in which a part in braces is a name: `/home/{customer}/`.

The syntax is that of excludes (see `sources.patterns`). As there, matching takes time linear in the length of
a path, since names come from attackers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from os import fsencode

from hashscan.errors import UsageError
from hashscan.registry import SOURCES
from hashscan.settings.table_rows import InvalidValueError
from hashscan.sources.patterns import fixed_parts

_NAME = re.compile(r"(?<!\\)\{([^{}]*)\}")
_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_STAR = "*"
_PARTS_MAX = 256
"""Maximum components of one pattern; of paths, which have 4,096 bytes, only hostile ones have more."""

Parts = Sequence[str]
"""The components of a path as characters; each byte that isn't UTF-8 counts as one."""


def parts_of(path: bytes) -> tuple[str, list[str]]:
    """Split a path, from its root on, or an object's URL into the scheme of a URL, or an empty string, and
    the components."""
    text = path.decode("utf-8", "surrogateescape")
    scheme, separator, rest = text.partition("://")
    if separator and "/" not in scheme:
        return scheme, rest.split("/")
    return "", text.removeprefix("/").split("/")


def read_path(value: object, noun: str, example: str) -> str:
    """Return a path, a pattern or the URL of objects from the settings."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValueError(f"{value!r} is no {noun}", f"Write one such as '{example}'.")
    scheme, separator, _ = value.partition("://")
    if separator and "/" not in scheme and scheme not in SOURCES:
        schemes = ", ".join(name for name in SOURCES if name != "file")
        raise InvalidValueError(f"{value!r} names no objects", f"There is {schemes}.")
    return value


@dataclass(frozen=True, slots=True)
class NamedPath:
    """One compiled pattern."""

    scheme: str
    """Scheme of objects' URLs; empty for files."""
    runs: tuple[tuple[re.Pattern[str], ...], ...]
    """Stretches of components that `**` separates; the first one is at the start of the path."""
    folders_only: bool
    """True if it names folders, so that the name of a file has no influence."""
    names: frozenset[str]

    def match(self, scheme: str, parts: Parts) -> dict[str, str] | None:
        """Return the names' values in a path from `parts_of` that fits, or is in such a folder; else None."""
        if scheme != self.scheme:
            return None
        found: dict[str, str] = {}
        end = len(parts) - self.folders_only
        place = 0
        for number, run in enumerate(self.runs):
            # A run has a fixed length, so that the first place where it fits is as good as any later one.
            last = end - len(run)
            while place <= last:
                here = _fit(run, parts, place)
                if here is not None:
                    break
                if number == 0:
                    return None
                place += 1
            else:
                return None
            found.update(here)
            place += len(run)
        return found


def _fit(run: Sequence[re.Pattern[str]], parts: Parts, place: int) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for offset, step in enumerate(run):
        match = step.fullmatch(parts[place + offset])
        if match is None:
            return None
        found.update(match.groupdict())
    return found


def compile_named(pattern: str, known: Sequence[str]) -> NamedPath:
    """Compile one pattern, which may have the known names in braces. One that can match nothing, or does not
    begin where paths do, is an error."""
    scheme, separator, rest = pattern.partition("://")
    if not separator or "/" in scheme:
        scheme, rest = "", pattern
        if not pattern.startswith(("/", "**/")):
            raise UsageError(
                f"the pattern {pattern!r} does not begin where paths do",
                advice=f"Write the whole path from / on, or '**/{pattern}' for any place.",
            )
    parts = fsencode(rest).decode("utf-8", "surrogateescape").removeprefix("/").split("/")
    folders_only = parts[-1] in {"", "**"}
    while parts and parts[-1] in {"", "**"}:
        parts.pop()
    names: list[str] = []
    try:
        if not parts:
            raise ValueError("names no folder")
        if len(parts) > _PARTS_MAX:
            raise ValueError("is too long")
        runs = list(_runs(parts, names))
    except ValueError as error:
        raise UsageError(
            f"the pattern {pattern!r} {error}",
            advice="Patterns are those of a .gitignore file, and have a name in braces besides.",
        ) from error
    for name in names:
        if name not in known:
            raise UsageError(
                f"the pattern {pattern!r} has {{{name}}}",
                advice=f"Braces can contain {', '.join(known)}; a backslash before a brace makes it "
                "a part of a name.",
            )
    return NamedPath(scheme, tuple(runs), folders_only, frozenset(names))


def _runs(parts: Sequence[str], names: list[str]) -> Iterator[tuple[re.Pattern[str], ...]]:
    if parts[0] == "**":
        yield ()
    for any_folders, group in groupby(parts, key=lambda part: part == "**"):
        if not any_folders:
            yield tuple(component(part, names) for part in group)


def component(glob: str, names: list[str]) -> re.Pattern[str]:
    """Compile one component, between two slashes, and add its names in braces to `names`. One that can match
    nothing, isn't closed, or has a name that is there already, is an error."""
    if glob in {"", ".", ".."}:
        raise ValueError(f"has a component that no name matches: {glob!r}")
    (_, first), *others = _stretches(glob, names)
    if not others:
        return re.compile(first, re.DOTALL)
    # A fixed part always has the same length, so the first place it matches is as good as any later one.
    middle = "".join(f"(?>{_anything(before, '?')}{fixed})" for before, fixed in others[:-1])
    before, last = others[-1]
    return re.compile(f"{first}{middle}{_anything(before)}{last}", re.DOTALL)


def _stretches(glob: str, names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each fixed part as a regular expression, after the star or name before it."""
    before = fixed = ""
    for position, piece in enumerate(_NAME.split(glob)):
        if position % 2:
            if before and not fixed:
                raise ValueError(f"has nothing between {{{piece}}} and what may be anything before it")
            if not _WORD.fullmatch(piece) or piece in names:
                raise ValueError(f"has {{{piece}}}, which is unknown or repeated")
            yield before, fixed
            names.append(piece)
            before, fixed = piece, ""
            continue
        for number, part in enumerate(fixed_parts(piece)):
            if number and (fixed or before != _STAR):
                if before and not fixed:
                    raise ValueError(f"has nothing between {{{before}}} and a star")
                yield before, fixed
                before, fixed = _STAR, ""
            fixed += part
    yield before, fixed


def _anything(before: str, lazy: str = "") -> str:
    return f".*{lazy}" if before == _STAR else f"(?P<{before}>.+{lazy})"
