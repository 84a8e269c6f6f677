"""Find, read and write the settings file (TOML), find the lines of its keys, and format values as TOML."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hashscan.atomic_files import PRIVATE_FILE, output_errors, replace_file, sync_folder, temporary_name
from hashscan.errors import UsageError

_BACKUPS_MAX = 1000
_GROUP_FILE = 0o640
CONFIG_VARIABLE = "HASHSCAN_CONFIG"
SYSTEM_CONFIG = Path("/etc/hashscan/hashscan.toml")


def chosen_file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the settings file to use, and whether it was named: by a path, or else by the variable."""
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    return named or SYSTEM_CONFIG, named is not None


def read_file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, str, dict[str, Any]]:
    """Read the settings file; return its path, text and tables, or None and nothing if there is none.

    Without a path, it is the variable's or the system's.

    Raises:
        UsageError: a file that was named does not exist, or the file can't be read or is not valid TOML.
    """
    chosen, named = chosen_file(path, environ)
    try:
        document = chosen.read_bytes().decode("utf-8")
        return chosen, document, tomllib.loads(document)
    except FileNotFoundError:
        if not named:
            return None, "", {}
        raise UsageError(
            f"there is no settings file {chosen}",
            advice="Name an existing file, or make one with `hashscan config init`.",
        ) from None
    except OSError as error:
        raise UsageError(
            f"can't read the settings file {chosen}: {error.strerror}",
            advice="Make it readable for this user.",
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"the settings file {chosen} is not UTF-8 in line {line}", advice="Save it in UTF-8."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"the settings file {chosen} is no valid TOML: {error}",
            advice="Mend that line; `hashscan config init` shows the form of each value.",
        ) from error


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
    """Return the line, from 1 on, of every key and table header of a TOML document.

    Keys in inline tables have none.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    rows: dict[KeyPath, int] = {}
    for statement in _statements(document):
        line, tokens = statement[0][0], [(kind, text) for _, kind, text in statement]
        if tokens[0] == ("mark", "["):
            many = tokens[1] == ("mark", "[")
            keys = _parse_keys(tokens[2 if many else 1 :])
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
            keys = _parse_keys(tokens)
            _note(lines, (*table, *keys), line, within=len(table))
    return lines


def line_of(lines: Mapping[KeyPath, int], place: KeyPath) -> int | None:
    """Return the line of a key; for a key in an inline table, the line of the value that contains it."""
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


def _parse_keys(tokens: list[tuple[str, str]]) -> tuple[str, ...]:
    keys = []
    for kind, text in tokens:
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
    """Yield the document's statements as tokens, each with its line, kind and text.

    A statement within brackets may have several lines.
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


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(value: Any) -> str:
    """Return a value (text, number, boolean, list or table) as TOML on one line, which tomllib reads again.

    File system bytes that are not valid text (surrogates) are replaced, because TOML can't represent them.
    tomlkit 0.15 would leave these and characters that control terminals (U+009B, U+202E) as they are, so
    texts would have to be escaped here all the same.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return "nan" if math.isnan(value) else f"{'-' if value < 0 else ''}inf"
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(map(_escaped, value)) + '"'
        case Mapping():
            inner = ", ".join(f"{toml_key(key)} = {toml_text(one)}" for key, one in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml_text, value))}]"
    return toml_text(str(value))


def toml_key(key: str) -> str:
    """Return a key, quoted if necessary."""
    return key if _BARE.fullmatch(key) else toml_text(key)


def _escaped(character: str) -> str:
    number = ord(character)
    if character in '"\\':
        return "\\" + character
    if 0xD800 <= number <= 0xDFFF:
        return "\N{REPLACEMENT CHARACTER}"
    if character.isprintable():
        return character
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def plain_value(value: Any) -> Any:
    """Return a value as JSON and TOML can represent it: paths, bytes and similar types become text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case Mapping():
            return {str(key): plain_value(one) for key, one in value.items()}
        case list() | tuple():
            return [plain_value(one) for one in value]
    return str(value)


def write_new(
    path: Path, data: bytes, *, force: bool, group: int | None = None, trusted: bool = False
) -> Path | None:
    """Write a new file atomically, for its owner alone, or readable for a group; `force` backs an old one up.

    The folder is created if only that is missing. Returns the name of the backup, if any.

    Args:
        group: the group that may read the file; only with `trusted`.
        trusted: whether this user alone controls the path. All users may then enter a folder that is created.

    Raises:
        UsageError: there is a file already.
        OutputError: it can't be written.
    """
    with output_errors(f"{path} can't be written"):
        if not path.parent.exists():
            path.parent.mkdir(mode=0o755)
            if trusted:
                # The umask may have removed permissions.
                path.parent.chmod(0o755)
        aside = temporary_name(path)
        try:
            replace_file(aside, data, PRIVATE_FILE)
            if group is not None:
                _give_to_group(aside, group)
            return _link_into_place(aside, path, force=force)
        finally:
            aside.unlink(missing_ok=True)


def _give_to_group(path: Path, group: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, _GROUP_FILE)
    finally:
        os.close(descriptor)


def _link_into_place(aside: Path, path: Path, *, force: bool) -> Path | None:
    """Give a temporary file its final name."""
    try:
        # Unlike a rename, a hard link never replaces a file that appears meanwhile.
        os.link(aside, path)
    except FileExistsError:
        if not force:
            raise UsageError(
                f"{path} is there already", advice="Name another file, or keep this aside with --force."
            ) from None
        kept = _back_up(path)
        aside.replace(path)
        sync_folder(path.parent)
        return kept
    sync_folder(path.parent)
    return None


def _back_up(path: Path) -> Path:
    """Hard-link the existing file to a free backup name."""
    for number in range(_BACKUPS_MAX):
        kept = path.with_name(f"{path.name}.bak{number or ''}")
        try:
            os.link(path, kept, follow_symlinks=False)
        except FileExistsError:
            continue
        return kept
    raise UsageError(f"there are {_BACKUPS_MAX} old ones of {path}", advice="Remove some of them.")
