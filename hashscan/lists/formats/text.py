"""Reads lines of text from an untrusted file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.formats.beginning import refuse_not_utf8
from hashscan.lists.raw_entries import LineError

_LINE_MAX = 8192
"""Largest size of a line in bytes; a genuine one has under 300, or a path of 4,096."""
BOM = b"\xef\xbb\xbf"


def text_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the stream's lines with their line ends, each of bounded length, without a byte order mark.

    Raises:
        LineError: a line is too long, not UTF-8 or contains a NUL.
    """
    for number, raw in enumerate(iter(lambda: stream.readline(_LINE_MAX + 1), b""), start=1):
        if number == 1:
            refuse_not_utf8(raw)
        if len(raw) > _LINE_MAX:
            raise LineError(number, f"longer than {_LINE_MAX} bytes", "End every entry with a line feed")
        if b"\0" in raw:
            raise LineError(number, "holds a NUL byte", "Save the file as plain UTF-8 text")
        try:
            yield (raw.removeprefix(BOM) if number == 1 else raw).decode()
        except UnicodeDecodeError as error:
            raise LineError(number, "not UTF-8", "Save the file as plain UTF-8 text") from error


def numbered_lines(stream: BinaryIO, comment: str = "") -> Iterator[tuple[int, str]]:
    """Yield line numbers from 1 and lines without ends; skip blank lines and those that begin with `comment`.

    Raises:
        LineError: as in `text_lines`.
    """
    for number, line in enumerate(text_lines(stream), start=1):
        text = line.removesuffix("\n").removesuffix("\r")
        if text.strip() and not (comment and text.startswith(comment)):
            yield number, text
