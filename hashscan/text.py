"""Escape and check untrusted text, and put numbers before nouns."""

from __future__ import annotations


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


def is_printable_line(text: str, longest: int) -> bool:
    """Return True if a text is at most one printable line of that many characters; it may be empty."""
    return len(text) <= longest and text.isprintable()


def plural(number: int, noun: str, several: str | None = None) -> str:
    """Return a number with its noun, such as "1 file" and "2 files".

    Args:
        number: the number.
        noun: noun in the singular.
        several: noun in the plural, if it is not `noun` with an s.
    """
    return f"{number} {noun if number == 1 else several or noun + 's'}"
