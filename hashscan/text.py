"""Escape, check and shorten untrusted text, and format numbers."""

from __future__ import annotations

import base64
from collections.abc import Iterable


def printable(text: str, keep: str = "") -> str:
    r"""Return the text with escapes for characters that can't be printed.

    A byte that is not UTF-8 (a lone surrogate from `surrogateescape`) and an ASCII control character become
    `\x1b`; others, such as marks that change the direction of writing, become `\u202e` or `\U000e0001`. A
    backslash is not escaped.

    Args:
        text: untrusted text, such as a file name, which a terminal, log, mail program or browser could obey.
        keep: unprintable characters that stay, such as line feeds.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_lines(text: str) -> str:
    """Escape several lines, and indent all but the first, so that none from a file name looks like ours."""
    first, *others = map(printable, text.split("\n"))
    return "\n".join((first, *(line if line.startswith("  ") else f"  {line}" for line in others)))


def shortened(text: str, most: int) -> str:
    """Return the text, with its middle left out if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    begin = (most - 1) // 2
    return f"{text[:begin]}…{text[len(text) - (most - 1 - begin) :]}"


def is_printable_line(text: str, longest: int) -> bool:
    """Return True if a text is at most one printable line of that many characters; it may be empty."""
    return len(text) <= longest and text.isprintable()


def plural(number: int, noun: str, several: str | None = None) -> str:
    """Return a number with its noun, such as "1 file" and "2 files"; `several` is an irregular plural."""
    return f"{number} {noun if number == 1 else several or noun + 's'}"


def human_bytes(number: float) -> str:
    """Return a number of bytes in the unit that keeps it short."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} PB"


def path_fields(path: bytes) -> dict[str, str]:
    """Return a path as JSON fields: text, and the bytes in base64 if they are not UTF-8."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": path.decode("utf-8", errors="replace"), "path_b64": base64.b64encode(path).decode()}


_MIN_SIMILARITY = 0.6
"""The lowest similarity by difflib's measure; below it, short words are similar to everything."""


def closest_match(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar to another, if any; `-` and `_` are equal."""
    # Imported late, because most commands need no suggestion.
    import difflib

    plain = {_folded(one): one for one in known}
    found = difflib.get_close_matches(_folded(word), plain, n=1, cutoff=_MIN_SIMILARITY)
    return plain[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return a question that names the most similar known word; the other text if none is similar."""
    found = closest_match(word, known)
    return otherwise if found is None else f"Did you mean {found!r}?"


def _folded(word: str) -> str:
    return word.casefold().replace("-", "_")
