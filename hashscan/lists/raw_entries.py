"""What a file of entries says, before it is believed: a line's fields, or what is wrong with it."""

from __future__ import annotations

from typing import TypeAlias

_SHOWN_MAX = 40

RawEntry: TypeAlias = tuple[int, str, str, str, str]
"""One entry as text, before anything of it is believed: where it begins in the file, from 1 in the format's
unit; id; algorithm; value, hexadecimal in either case; category. Millions are made, so it is a bare tuple.
"""


class LineError(Exception):
    """A line that is wrong; `ListFormat.blocks` adds the file's label to it."""

    def __init__(self, line: int, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem
        self.mend = mend


def shown(text: str) -> str:
    """Text from a stranger's file, safe to print: short, quoted, in ASCII."""
    return ascii(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}...")
