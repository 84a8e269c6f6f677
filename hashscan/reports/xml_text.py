"""Text from strangers for XML documents, with nothing lost."""

from __future__ import annotations

from urllib.parse import quote_from_bytes
from xml.sax.saxutils import escape

_KEPT = "".join(c for c in map(chr, range(0x20, 0x7F)) if c != "%")


def plain(name: bytes) -> tuple[str, bool]:
    """A name in printable text, and whether it had to be percent-encoded for that: all of it, and `%` too."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    return (text, False) if text.isprintable() else (quote_from_bytes(name, _KEPT), True)


def element(name: str, text: str, attributes: str = "") -> str:
    """An element with text in it; of characters that XML can't hold their escapes are told."""
    return f"<{name}{attributes}>{escape(printable(text))}</{name}>"


def printable(text: str) -> str:
    r"""The text with `\u202e` and the like in place of what can't be seen; line feeds stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)
