"""Format values as TOML.

tomlkit 0.15 doesn't replace this: it leaves characters as they are that control terminals (U+009B, U+202E),
and lone surrogates, so that texts would have to be escaped here all the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(value: Any) -> str:
    """Return a value as TOML on one line.

    Args:
        value: text, a number, a boolean, or lists and tables of such; text may contain any characters.

    Returns:
        Text that tomllib reads as the same value. File system bytes that are not valid text (surrogates) are
        replaced, because TOML can't represent them.
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
