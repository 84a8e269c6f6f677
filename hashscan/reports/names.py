"""Names from strangers in plain text."""

from __future__ import annotations

import base64

from hashscan.reports.record_lines import Record


def path_bytes(record: Record) -> bytes:
    """The path or URL that a record is about, byte for byte."""
    if "path_b64" in record:
        return base64.b64decode(record["path_b64"])
    # A report that we did not write may have half a character.
    return str(record["path"]).encode("utf-8", errors="surrogatepass")


def whole_path(record: Record) -> str:
    """The same as text; bytes that are no UTF-8 are lone surrogates, as `os.fsdecode` has them."""
    if "path_b64" in record:
        return path_bytes(record).decode("utf-8", errors="surrogateescape")
    return str(record["path"])


def printable(text: str) -> str:
    r"""The text with an escape in the place of what can't be seen or commands a reader.

    A byte that is no UTF-8 and an ASCII control become `\x1b`; others, among them marks that turn the
    direction of writing, `\u202e` or `\U000e0001`. A backslash stands for itself.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, most: int) -> str:
    """The text with its middle left out where it is longer than that many characters."""
    if len(text) <= most:
        return text
    begin = (most - 1) // 2
    return f"{text[:begin]}…{text[len(text) - (most - 1 - begin) :]}"
