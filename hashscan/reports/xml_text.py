"""Escape text from strangers for XML documents, without loss."""

from __future__ import annotations

from urllib.parse import quote_from_bytes
from xml.sax.saxutils import escape

_KEPT = "".join(c for c in map(chr, range(0x20, 0x7F)) if c != "%")


def plain(name: bytes) -> tuple[str, bool]:
    """Return a name as printable text, and True if all of it had to be percent-encoded for that (`%` too)."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    return (text, False) if text.isprintable() else (quote_from_bytes(name, _KEPT), True)


def element(name: str, text: str, attributes: str = "") -> str:
    """Return an XML element with a text; characters that XML can't hold are escaped."""
    return f"<{name}{attributes}>{escape(printable(text))}</{name}>"


def printable(text: str) -> str:
    r"""Return the text with escapes such as `\u202e` for characters that can't be printed; line feeds
    stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)
