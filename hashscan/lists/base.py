"""What every list format does: read a stream of bytes into entries, or say which line is wrong."""

from __future__ import annotations

import binascii
import string
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from hashscan.errors import ListFormatError
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry

_PRINTABLE = frozenset(string.printable) - frozenset(string.whitespace) | {" "}
_SHOWN_MAX = 40
_CATEGORY_SET = frozenset(CATEGORIES)


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One entry as text, before anything of it is believed."""

    line: int
    """Where it begins in the file, from 1."""
    id: str
    algorithm: str
    value: str
    """Hexadecimal, in either case."""
    category: str


class LineError(Exception):
    """A line that is wrong; `ListFormat.read` adds the file's label to it."""

    def __init__(self, line: int, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem
        self.mend = mend


class ListFormat(ABC):
    """One way of writing a hash list into a file.

    Implementers write `_raw_entries`; `read` checks every field in the same words for all formats.
    """

    name: ClassVar[str]

    def read(self, stream: BinaryIO, label: str) -> Iterator[Entry]:
        """Read entries as they come, in memory that doesn't grow with their values.

        The stream is good only when the iterator has ended without an error: an id given twice is noticed
        at its end. A collector must commit nothing before that. An entry repeated word for word is no error.

        Args:
            stream: the file, open for reading bytes.
            label: what to call the file in an error.

        Raises:
            ListFormatError: the stream is not what it should be; says where, what is wrong, how to mend it.
        """
        # Not above: the table of formats is read by commands that must start fast, and this brings numpy.
        from hashscan.lists.ledger import IdLedger

        ledger = IdLedger()
        try:
            for raw in self._raw_entries(stream):
                entry = _checked(raw)
                ledger.note(raw.line, entry.id, f"{entry.algorithm} {entry.category} ".encode() + entry.value)
                yield entry
            conflict = ledger.conflict()
            if conflict:
                raise LineError(
                    conflict.second,
                    f"the id was given to a different entry on line {conflict.first}",
                    "Give every entry an id of its own",
                )
        except LineError as error:
            raise ListFormatError(
                f"{label}, line {error.line}: {error.problem}",
                advice=f"{error.mend}, then import the file again; nothing was imported.",
            ) from error

    @abstractmethod
    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        """Take the stream apart.

        Raises:
            LineError: it can't be taken apart.
        """


def shown(text: str) -> str:
    """Text from a stranger's file, safe to print: short, quoted, in ASCII."""
    return ascii(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}...")


def _checked(raw: RawEntry) -> Entry:
    """The entry, when every field is what it should be.

    Values never go into the words: lists are sensitive, and errors end in logs.
    """
    algorithm = ALGORITHMS.get(raw.algorithm)
    if algorithm is None:
        raise LineError(
            raw.line, f"unknown algorithm {shown(raw.algorithm)}", f"Use one of {', '.join(ALGORITHMS)}"
        )
    if raw.category not in _CATEGORY_SET:
        raise LineError(
            raw.line, f"unknown category {shown(raw.category)}", f"Use one of {', '.join(CATEGORIES)}"
        )
    if (
        not 0 < len(raw.id) <= ENTRY_ID_MAX
        or not _PRINTABLE.issuperset(raw.id)
        or raw.id != raw.id.strip(" ")
    ):
        raise LineError(
            raw.line,
            f"{shown(raw.id)} can't be an id",
            f"Use 1 to {ENTRY_ID_MAX} printable ASCII characters without a space at either end",
        )
    if len(raw.value) != 2 * algorithm.size:
        raise LineError(
            raw.line,
            f"the value has {len(raw.value)} characters; {algorithm.name} has {2 * algorithm.size} digits",
            "Write the whole value in hexadecimal, without prefix or spaces",
        )
    try:
        value = binascii.unhexlify(raw.value)
    except ValueError as error:
        raise LineError(
            raw.line,
            "the value is not hexadecimal",
            "Write the value with the digits 0-9 and a-f only",
        ) from error
    return Entry(raw.id, algorithm.name, value, raw.category)
