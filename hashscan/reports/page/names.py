"""Names from strangers, written so that nothing in them is invisible or turns the text around."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\x1b": r"\e"}

_MARKED = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Controls, marks of direction, what has no width, and what is no character; `sweep.js` has the same."""


def plain(path: str, path_b64: bytes | None) -> str:
    """A name as one string; bytes that are no UTF-8 are lone surrogates, as `os.fsdecode` has them.

    Args:
        path: as a record has it.
        path_b64: the bytes, where the record has them.
    """
    return path if path_b64 is None else path_b64.decode("utf-8", errors="surrogateescape")


def label(character: str) -> str:
    """What is shown in the place of a character that can't be seen."""
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= code <= 0xDCFF:
        return rf"\x{code - 0xDC00:02x}"
    return rf"\x{code:02x}" if code < 0x80 else f"U+{code:04X}"


def marked(name: str) -> Markup:
    """A name as markup, isolated from the direction of what is around it; what can't be seen is marked."""
    pieces: list[Markup] = []
    end = 0
    for found in _MARKED.finditer(name):
        pieces.append(escape(name[end : found.start()]))
        pieces.append(Markup('<span class="mark">{}</span>').format(label(found.group())))
        end = found.end()
    pieces.append(escape(name[end:]))
    return Markup("<bdi>{}</bdi>").format(Markup("").join(pieces))
