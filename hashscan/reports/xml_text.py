"""Escape text from strangers for XML documents, without loss."""

from __future__ import annotations

from urllib.parse import quote_from_bytes
from xml.sax.saxutils import escape

from hashscan.text import printable

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
    shown = escape(printable(text, keep="\n"))
    return f"<{name}{attributes}>{shown}</{name}>"
