"""Unchecked entries: the fields of a line as text, and the error for a line that is wrong."""

from __future__ import annotations

from typing import TypeAlias

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
