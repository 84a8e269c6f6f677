"""Read untrusted text files line by line, and report what is wrong with a line."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

_SHOWN_MAX = 40

RawEntry: TypeAlias = tuple[int, str, str, str, str]
"""One entry as unchecked text: position in the file, from 1 in the format's unit; id; algorithm; value,
hexadecimal in either case; category. Millions of these are made, so it is a plain tuple.
"""


class LineError(Exception):
    """A line is wrong; `ListFormat.blocks` adds the name of the file."""

    def __init__(self, line: int, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem
        self.mend = mend


def shown(text: str) -> str:
    """Return text from an untrusted file in a printable form: short, quoted, in ASCII."""
    return ascii(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}...")


_COMPRESSED = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\x00", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "7z x"),
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def refuse_compressed(head: bytes) -> None:
    """Check that a file is not compressed."""
    for magic, name, command in _COMPRESSED:
        if head.startswith(magic):
            raise LineError(1, f"the file is compressed with {name}", f"Unpack it with `{command}`")


def refuse_not_utf8(head: bytes) -> None:
    """Check that a text file is not compressed and not encoded with two or four bytes for each letter."""
    refuse_compressed(head)
    if head.startswith(_UTF16) or b"\0" in head[:4]:
        raise LineError(1, "the text is not UTF-8 but UTF-16 or UTF-32, or no text", "Save the file as UTF-8")


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


_PHOTODNA = {144: "photodna", 924: "photodna_edge"}
"""Algorithm by the length of its value in bytes; values of different forms can't be compared."""
_HEX_LENGTHS = frozenset(2 * size for size in _PHOTODNA)


def read_photodna(text: str) -> tuple[str, str]:
    """Return the algorithm of a value, and the value in hexadecimal.

    Args:
        text: base64, hexadecimal digits, or numbers with commas.

    Raises:
        ValueError: it is none of them, or of another length than either form.
    """
    if "," in text:
        value = bytes(int(part) for part in text.split(",", max(_PHOTODNA)))
    elif len(text) in _HEX_LENGTHS:
        value = binascii.unhexlify(text)
    else:
        value = binascii.a2b_base64(text, strict_mode=True)
    if len(value) not in _PHOTODNA:
        raise ValueError(f"a value of PhotoDNA has 144 or 924 bytes, not {len(value)}")
    return _PHOTODNA[len(value)], value.hex()
