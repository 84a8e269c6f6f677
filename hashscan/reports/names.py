"""Show names from strangers (paths, URLs) as plain text, with escapes for unprintable characters."""

from __future__ import annotations

import base64

from hashscan.reports.record_lines import Record


def path_bytes(record: Record) -> bytes:
    """Return the path or URL of a record, byte for byte."""
    if "path_b64" in record:
        return base64.b64decode(record["path_b64"])
    # A report that another program wrote may contain a lone surrogate.
    return str(record["path"]).encode("utf-8", errors="surrogatepass")


def path_text(record: Record) -> str:
    """Return the path or URL of a record as text; bytes that are not UTF-8 become lone surrogates."""
    if "path_b64" in record:
        return path_bytes(record).decode("utf-8", errors="surrogateescape")
    return str(record["path"])


def printable(text: str) -> str:
    r"""Return the text with escapes for characters that can't be printed.

    A byte that is not UTF-8 and an ASCII control character become `\x1b`; others, such as marks that change
    the direction of writing, become `\u202e` or `\U000e0001`. A backslash is not escaped.
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
    """Return the text, with its middle left out if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    begin = (most - 1) // 2
    return f"{text[:begin]}…{text[len(text) - (most - 1 - begin) :]}"
