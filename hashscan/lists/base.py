"""What every list format does: read a stream of bytes into entries, or write entries as one."""

from __future__ import annotations

import binascii
import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from hashscan.errors import ListFormatError
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry

_SHOWN_MAX = 40
_CATEGORY_SET = frozenset(CATEGORIES)


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One entry as text, before anything of it is believed."""

    line: int
    """Where it begins in the file, from 1, in the format's unit."""
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

    An entry whose format gives it no id has one derived from its algorithm, category and value. So one digest
    in two categories is two entries, and of the matches they make the gravest decides.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "line"
    """What errors count; `record` where a format has no lines."""
    takes_category: ClassVar[bool] = False
    """True when the format says nothing of categories, so that whoever imports it must."""
    gives_ids: ClassVar[bool] = False
    """True when an id is written in the file for each entry, so that one given twice is told by its lines.

    Elsewhere the columns find out; they know the id but not the place.
    """

    def __init__(self, category: str | None = None) -> None:
        """Read entries of `category`, which is given exactly when the format takes one."""
        if (category is not None) is not self.takes_category:
            raise ValueError(f"{self.name} takes {'a' if self.takes_category else 'no'} category")
        self.category = category or ""
        self.left_out: Counter[str] = Counter()
        """How many records were no entries, by reason; complete when `read` has ended."""

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
                if self.gives_ids:
                    ledger.note(
                        raw.line, entry.id, f"{entry.algorithm} {entry.category} ".encode() + entry.value
                    )
                yield entry
            conflict = ledger.conflict()
            if conflict:
                raise LineError(
                    conflict.second,
                    f"the id was given to a different entry on {self.unit} {conflict.first}",
                    "Give every entry an id of its own",
                )
        except LineError as error:
            raise ListFormatError(
                f"{label}, {self.unit} {error.line}: {error.problem}",
                advice=f"{error.mend}, then import the file again; nothing was imported.",
            ) from error

    @abstractmethod
    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        """Take the stream apart.

        Raises:
            LineError: it can't be taken apart.
        """

    def _without_id(self, line: int, algorithm: str, value: str, category: str) -> RawEntry:
        """An entry that the format gives no id."""
        return RawEntry(line, derived_id(algorithm, category, value), algorithm, value, category)


class ListWriter(ABC):
    """One way of writing entries into a file."""

    name: ClassVar[str]

    def __init__(self, list_name: str) -> None:
        """Write entries of the list `list_name`."""
        self.list_name = list_name
        self.left_out: Counter[str] = Counter()
        """How many entries the format can't hold, by reason; complete when `lines` has ended."""

    @abstractmethod
    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """The file, piece by piece, as entries come."""


def own_id(given: str, algorithm: str) -> str:
    """The id of one of several digests that share the id `given`; one too long to be an id is hashed."""
    entry_id = f"{given}:{algorithm}"
    if len(entry_id) <= ENTRY_ID_MAX and entry_id.isascii() and entry_id.isprintable() and entry_id[0] != " ":
        return entry_id
    return f"{_hashed(given)}:{algorithm}"


def derived_id(algorithm: str, category: str, value: str) -> str:
    """A stable id for a value in hexadecimal that has none.

    Hashed, not quoted: reports name ids, and must not give away what is on a list.
    """
    return f"h-{_hashed(f'{algorithm} {category} {value.lower()}')}"


def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


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
        or not (raw.id.isascii() and raw.id.isprintable())
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
