"""Find the line numbers of the keys in a TOML document, which tomllib doesn't return."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

KeyPath = tuple[str | int, ...]
"""The path of a value: the keys that lead to it, and in an array of tables the row's number from 0."""

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+)|(?P<comment>#[^\n]*)|(?P<newline>\n)"
    r'|(?P<text>"""(?:[^\\]|\\.)*?"""(?:""?(?!"))?|\'\'\'.*?\'\'\'(?:\'\'?(?!\'))?'
    r'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\')'
    r'|(?P<mark>[\[\]{},=.])|(?P<bare>[^\s\[\]{},=."\'#]+)',
    re.DOTALL,
)


def key_lines(document: str) -> Mapping[KeyPath, int]:
    """Return the line of every key of a document, except keys in inline tables.

    Args:
        document: a valid TOML document.

    Returns:
        The lines, counted from 1, of every key and of every table header.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    rows: dict[KeyPath, int] = {}
    for statement in _statements(document):
        line, words = statement[0][0], [(kind, text) for _, kind, text in statement]
        if words[0] == ("mark", "["):
            many = words[1] == ("mark", "[")
            keys = _keys(words[2 if many else 1 :])
            table = _numbered(keys[:-1], rows)
            if many:
                name = (*table, keys[-1])
                rows[name] = rows.get(name, -1) + 1
                lines.setdefault(name, line)
                table = (*name, rows[name])
            else:
                table = _numbered(keys, rows)
            _note(lines, table, line)
        else:
            keys = _keys(words)
            _note(lines, (*table, *keys), line, within=len(table))
    return lines


def line_of(lines: Mapping[KeyPath, int], place: KeyPath) -> int | None:
    """Return the line of a key; for a key in an inline table, the line of the value that contains it.

    Args:
        lines: the lines of the document.
        place: the key's path.
    """
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


def _note(lines: dict[KeyPath, int], place: KeyPath, line: int, within: int = 0) -> None:
    """Record the line of a key, and of tables that the key creates by naming them."""
    for length in range(within + 1, len(place) + 1):
        lines.setdefault(place[:length], line)


def _numbered(keys: tuple[str, ...], rows: Mapping[KeyPath, int]) -> KeyPath:
    """Return the path of a table whose header has no row numbers: it is in the last row of each array."""
    place: KeyPath = ()
    for key in keys:
        place = (*place, key)
        if place in rows:
            place = (*place, rows[place])
    return place


def _keys(words: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return the dotted key at the beginning."""
    keys = []
    for kind, text in words:
        if kind == "mark" and text != ".":
            break
        if kind != "mark":
            keys.append(_unquoted(text) if kind == "text" else text)
    return tuple(keys)


def _unquoted(text: str) -> str:
    value = tomllib.loads(f"key = {text}")["key"]
    assert isinstance(value, str)
    return value


def _statements(document: str) -> Iterator[list[tuple[int, str, str]]]:
    """Yield the document's statements as tokens; a statement within brackets may have several lines.

    Yields:
        Line, kind and text of each token.
    """
    line = 1
    depth = 0
    statement: list[tuple[int, str, str]] = []
    for token in _TOKEN.finditer(document):
        kind, text = token.lastgroup or "", token[0]
        if kind == "newline" and not depth and statement:
            yield statement
            statement = []
        elif kind in {"text", "mark", "bare"}:
            statement.append((line, kind, text))
            if kind == "mark":
                depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(text, 0)
        line += text.count("\n")
    if statement:
        yield statement
