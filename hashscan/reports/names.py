"""Take the names from records (paths, URLs), as bytes and as text."""

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


def shortened(text: str, most: int) -> str:
    """Return the text, with its middle left out if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    begin = (most - 1) // 2
    return f"{text[:begin]}…{text[len(text) - (most - 1 - begin) :]}"
