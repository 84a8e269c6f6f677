"""Prove that a file is text without a picture: ASCII or UTF-8, in which nothing announces one.

No video, archive or picture is such a text: all have bytes in their headers that are no characters, or begin
like one of the signatures of `formats`. What else shows pictures announces them: `data:` URLs (RFC 2397) by
their scheme, mails by the header of a part or by a line of uuencode, yEnc or BinHex, contacts by their first
line, documents by `%PDF`, `%!PS` or `{\\rt`, X11's bitmaps by their definitions, other texts by Base64 digits
that encode the first bytes of a known format. A text with one of these need not show a picture: what it
is, is asked in the sandbox (`documents.text_probe`).

Not text here, since they change the meaning of what follows: control characters, also escape (ISO 2022);
UTF-16; bytes that are not UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import operator
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import compress, groupby
from typing import Final, TypeAlias

from hashscan.c_parts import BUILT
from hashscan.hashing.containers import CONTAINERS
from hashscan.hashing.format_signatures import contains
from hashscan.hashing.formats import FORMATS, has_scheme, sniff

PLAIN, NOT_TEXT, TRACE, ESCAPED = range(4)

_OVERLAP = 2048
"""Bytes that are searched with the next piece, too; more than any trace has."""
RUN_LEAST: Final = 40
"""Number of Base64 digits of the shortest run that counts: each format's first bytes and 20 more."""

_UNPRINTABLE = re.compile(rb"[^\t-\r -~\x80-\xff]")
_PASSED = rb"[\t\r\n\\]*"
_SCHEME = re.compile(_PASSED.join(rb"data:"[at : at + 1] for at in range(5)), re.IGNORECASE)
_BEFORE = re.compile(rb"(?:[\"'`=]|[lLcC\s0-9]\()\Z")
_TYPE = re.compile(rb"[\s\\]*(?:[;,]|[\w.+\s\\-]*/|[^,]*base64\s*,)", re.IGNORECASE)
_TYPE_MAX = 512
_ANNOUNCED = re.compile(
    rb"(?:\A|(?<=[\r\n]))(?:begin(?:-base64)? [0-7]{3}.|(?i:begin:vcard)|=ybegin |-----BEGIN PGP MESSAGE"
    rb"|/\* XPM|\(This file must be converted with BinHex|#define[^\n]{0,243}_width"
    rb"|(?i:content-transfer-encoding[ \t]*:[\s\"]*(?!(?:7-?bit|8-?bit|binary)|[\s\"]|\Z))"
    rb"|(?i:content-type[ \t]*:[\s\"]*(?!text/|[\s\"]|\Z)))|%PDF|%!PS|<!ENTITY|\{\\rt"
    rb"|&(?:(?:amp;?)+(?:#[0-9xX]|colon;|Tab;|NewLine;)|bsol;|#(?:0*92(?![0-9])|[xX]0*5[cC](?![0-9a-fA-F])))",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"&(?:#|colon;|Tab;|NewLine;)|\\[xu]?\{?[0-9a-fA-F]")
_RUN = re.compile(rb"[A-Za-z0-9+/_\\-]+")


def plain_in_python(text: bytes, /) -> int:
    """Return PLAIN for a text without a trace, NOT_TEXT, TRACE, or ESCAPED if letters may be written as
    references or escapes.

    Args:
        text: of a file, or a part of it. The last character may be cut off.
    """
    if _UNPRINTABLE.search(text) is not None:
        return NOT_TEXT
    try:
        codecs.utf_8_decode(text, "strict", False)
    except UnicodeDecodeError:
        return NOT_TEXT
    if _ANNOUNCED.search(text) is not None or any(map(_is_url, _SCHEME.finditer(text))):
        return TRACE
    return ESCAPED if _ESCAPE.search(text) is not None else PLAIN


def _is_url(found: re.Match[bytes]) -> bool:
    text, end = found.string, found.end()
    comma = text.find(b",", end, end + _TYPE_MAX)
    # A longer type is asked about.
    last = comma + 1 if comma >= 0 else min(end + _TYPE_MAX, len(text))
    if comma < 0 and last == len(text):
        return False
    before = text[: found.start()].rstrip()[-2:]
    return _BEFORE.search(before) is not None or _TYPE.match(text, end, last) is not None


def runs_in_python(text: bytes, least: int, begins: bytes = b"", /) -> list[int]:
    """Return the begin of each run of at least this number of Base64 digits, and backslashes between them.

    Args:
        begins: `BEGINS`, by which the loop in C leaves out what is no `is_begin_of_file`.
    """
    return [run.start() for run in _RUN.finditer(text) if len(run[0]) >= least]


if BUILT:
    from hashscan.hashing._text import base64_runs as base64_runs  # noqa: PLC0414 - exported
    from hashscan.hashing._text import plain_text as plain_text  # noqa: PLC0414 - exported
else:
    plain_text, base64_runs = plain_in_python, runs_in_python


class TextProof:
    """The state of a proof that a file is text without a picture; its bytes are given in pieces."""

    def __init__(self) -> None:
        self._last = b""
        self._markup: bool | None = None
        self.holds = True
        """False if the file may show a picture; then no more bytes need to be given."""

    def feed(self, piece: bytes) -> bool:
        """Take the next bytes, and return `holds`."""
        if self.holds and piece:
            if self._markup is None:
                self._markup = piece[:256].lstrip(b"\xef\xbb\xbf \t\n\v\f\r").startswith(b"<")
                if self._markup and _has_root(piece[:_ROOTS_SEARCHED]):
                    self.holds = False
                    return False
            else:
                # A character may be cut off; the text begins with a whole one.
                piece = self._last[-_OVERLAP:].lstrip(_CONTINUED) + piece
            self.holds = self._is_plain(piece)
            self._last = piece
        return self.holds

    def _is_plain(self, text: bytes) -> bool:
        found = plain_text(text)
        if found in {NOT_TEXT, TRACE} or (found == ESCAPED and has_scheme(text, True)):
            return False
        if self._markup and contains(text, b"bin") and any(name in text for name in _ELEMENTS):
            return False
        begins = [at for at in base64_runs(text, RUN_LEAST, BEGINS) if is_begin_of_file(text, at)]
        # Each costs some microseconds; a text made of them is asked about in the sandbox.
        few = len(begins) <= _BEGINS_LEAST + len(text) // _BYTES_PER_BEGIN
        return few and not any(may_be_file(text, at) for at in begins)


_BEGINS_LEAST, _BYTES_PER_BEGIN = 16, 4096
_CONTINUED = bytes(range(0x80, 0xC0))
_ELEMENTS = (b"binary-data", b"binaryData", b"binData", b"<binary", b":binary")
"""Names of elements of XML that hold files, or parts of them."""
_ROOT_NAMES = (b"plist", b"en-export", b"abiword")
_ROOTS = re.compile(rb"[<:](?:" + b"|".join(_ROOT_NAMES) + rb")\b")
"""Documents of XML that hold files in elements of common names, in lines of any length."""
_ROOTS_SEARCHED = 4096


def _has_root(begin: bytes) -> bool:
    # A word is searched for in a twentieth of the time of a pattern.
    return any(contains(begin, name) for name in _ROOT_NAMES) and _ROOTS.search(begin) is not None


_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _digits_of(signature: tuple[tuple[int, bytes], ...]) -> list[bytes]:
    """Return which Base64 digits a file's first ones may be; any byte is between the known ones."""
    known: dict[int, int] = {}
    for offset, magic in signature:
        for place, byte in enumerate(magic, offset):
            known |= {place * 8 + bit: byte >> (7 - bit) & 1 for bit in range(8)}
    return [
        _digits_with(tuple(known.get(bit) for bit in range(first, first + 6)))
        for first in range(0, max(known) + 1, 6)
    ]


@cache
def _digits_with(bits: tuple[int | None, ...]) -> bytes:
    allowed = bytes(
        byte
        for value, byte in enumerate(_DIGITS)
        if all(bit is None or value >> (5 - at) & 1 == bit for at, bit in enumerate(bits))
    )
    return allowed + (b"-" if b"+" in allowed else b"") + (b"_" if b"/" in allowed else b"")


_WITHOUT_SIGNATURE = (
    *(((0, mark),) for mark in (b"%PDF", b"\x28\xb5\x2f\xfd", b"<svg", b"<?xml", b"<!DO", b"<!do", b"<htm")),
    *(
        ((0, mark),)
        for mark in (b"<HTM", b"\xef\xbb\xbf<", b"From ", b"begin ", b"bplist0", b"Content-", b"<!--")
    ),
    *(((4, mark),) for mark in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
)
_SHORT = 2
"""Length of signatures that count only from the second byte on: one byte occurs in every 256th run."""
_SIGNATURES = [
    signature
    for signature in (
        *(each for known in (*FORMATS, *CONTAINERS) for each in known.signatures),
        *_WITHOUT_SIGNATURE,
    )
    if sum(len(magic) for _, magic in signature) >= _SHORT
]
_FIRST_DIGITS = [_digits_of(signature) for signature in _SIGNATURES]
_BY_CHANCE = 2
"""Length of signatures that a run of random digits, such as a digest, has now and then."""


_Tree: TypeAlias = "dict[bytes, _Tree]"


def _begins_with_one(of: Iterable[Sequence[bytes]]) -> re.Pattern[bytes]:
    tree: _Tree = {}
    for digits in of:
        node = tree
        for allowed in digits:
            node = node.setdefault(allowed, {})
        node[b""] = {}
    return re.compile(rb"(?:\\[nrt\"'])*\\?" + _pattern_of(tree))


def _pattern_of(tree: _Tree) -> bytes:
    """Return a pattern that compares once with the first digits that several signatures have."""
    if b"" in tree:
        return b""
    # Programs that write JSON put a backslash before each slash.
    parts = [
        b"[%b]" % re.escape(allowed) + (rest and rb"\\?" + rest)
        for allowed, further in tree.items()
        for rest in [_pattern_of(further)]
    ]
    return parts[0] if len(parts) == 1 else b"(?:" + b"|".join(parts) + b")"


_IS_CERTAIN = [sum(len(magic) for _, magic in each) > _BY_CHANCE for each in _SIGNATURES]
_CERTAIN_BEGIN = _begins_with_one(compress(_FIRST_DIGITS, _IS_CERTAIN))
_OTHER_BEGIN = _begins_with_one(compress(_FIRST_DIGITS, map(operator.not_, _IS_CERTAIN)))


def _unknown(digits: Sequence[bytes]) -> int:
    """Return the number of first digits that may be any."""
    return next(at for at, allowed in enumerate(digits) if len(allowed) < len(_DIGITS))


def _groups(first_digits: Iterable[list[bytes]]) -> bytes:
    """Return a table of 16 digits, the 256 bytes that each may be, and 64 bits: files with such begins."""
    groups, unlimited = [[0] * 256 for _ in range(16)], [0] * 16
    different = sorted({tuple(digits) for digits in first_digits}, key=lambda each: (_unknown(each), each))
    # Those that are alike share a bit, so that it says nearly as much as one of each would.
    batches = [
        same[at : at + 4]
        for _, some in groupby(different, _unknown)
        for same in [list(some)]
        for at in range(0, len(same), 4)
    ]
    for number, batch in enumerate(batches):
        bit = 1 << number % 64
        for at, row in enumerate(groups):
            if any(at >= len(digits) for digits in batch):
                unlimited[at] |= bit
                continue
            for byte in set(b"".join(digits[at] for digits in batch)):
                row[byte] |= bit
    return b"".join(
        (each | bits).to_bytes(8, sys.byteorder)
        for row, bits in zip(groups, unlimited, strict=True)
        for each in row
    )


BEGINS = _groups(_FIRST_DIGITS)
"""The first Base64 digits of pictures and containers, for `base64_runs`."""


def is_begin_of_file(text: bytes, at: int) -> bool:
    """Return True if the Base64 digits at a place of a text may be those of a picture or container."""
    return _CERTAIN_BEGIN.match(text, at) is not None or _OTHER_BEGIN.match(text, at) is not None


_JOINED = (
    rb"\\[nrt]|\\(?=/)|[ \t]+(?=[A-Za-z0-9+/_-]{16})"
    rb"|(?:=\r?\n|\s*\\?\r?\n\s*)(?=[A-Za-z0-9+/_\\-]+={0,2}\s*(?:[\r\n\"'<,\\]|\Z))"
    rb"|(?:\\n)?[\"']\s*[,+.]?\s*[\"'](?=[A-Za-z0-9+/_-])"
)
"""Stands between two pieces of Base64: the ends of lines, of quoted-printable, of strings in JSON."""
_BODY = re.compile(rb"(?:[A-Za-z0-9+/_-]|" + _JOINED + rb")++")
_JOINS = re.compile(_JOINED)
_FROM_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")

FEW_DIGITS: Final = 200
"""Number of Base64 digits that are too few for a picture, if the file's signature has two bytes.

They are 150 bytes. The least file with such a signature that had the PDQ of a photograph had 234 (JPEG XL).
"""


def digits_from(text: bytes, at: int) -> tuple[bytes, int]:
    """Return the Base64 digits at a place, joined and in the usual alphabet, and where they end."""
    body = _BODY.match(text, at)
    if body is None:
        return b"", at
    return _JOINS.sub(b"", body[0]).replace(b"\\", b"").translate(_FROM_URL_ALPHABET), body.end()


def is_by_chance(text: bytes, at: int, digits: bytes) -> bool:
    """Return True if the digits at a place begin like a file, but are too few for a picture."""
    return len(digits) < FEW_DIGITS and _CERTAIN_BEGIN.match(text, at) is None


_HEAD = 2048
_SPACED = re.compile(rb"\s{64}")
_GOES_ON = re.compile(rb"[&%]|\\[^\"'\\]|=[0-9A-Fa-f]{2}")
_BETWEEN = re.compile(rb"[^A-Za-z0-9+/_\\\s\"'=,.<-]")
"""A byte that ends the digits wherever it stands behind them."""


def may_be_file(text: bytes, at: int) -> bool:
    """Return False if Base64 digits that are those `is_begin_of_file` tells are no file.

    Args:
        text: a part of a text; less than `_OVERLAP` bytes before its end, digits may go on behind it.
    """
    if _CERTAIN_BEGIN.match(text, at) is not None:
        return True
    head = text[at : at + _HEAD]
    # Escapes, and whatever the patterns would take long for.
    if b"\\u00" in head or _SPACED.search(head) is not None:
        return True
    digits, end = digits_from(head, 0)
    if not digits or _GOES_ON.match(head, end) is not None:
        return True
    if len(head) == _HEAD and end < _HEAD and _BETWEEN.search(head, end) is None:
        return True
    if end < len(head) and is_by_chance(head, 0, digits):
        return False
    return sniff(base64_content(digits)) is not None


def base64_content(text: bytes) -> bytes:
    """Decode the Base64 digits at the begin of a text, as browsers do."""
    digits = _DIGIT_RUN.match(text)
    assert digits is not None
    # One digit more than a multiple of four is no byte.
    kept = digits[0][: len(digits[0]) - (len(digits[0]) % 4 == 1)]
    try:
        return base64.b64decode(kept + b"=" * (-len(kept) % 4))
    except binascii.Error:
        return b""


_DIGIT_RUN = re.compile(rb"[A-Za-z0-9+/]*")
