"""What every list format does: read a stream of bytes into entries, or write entries as one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from hashscan.errors import ListFormatError
from hashscan.lists.raw_entries import LineError, RawEntry
from hashscan.model import ALGORITHMS, ENTRY_ID_MAX, Entry

if TYPE_CHECKING:
    from hashscan.lists.blocks import EntryBlock

_STEM_MAX = ENTRY_ID_MAX - 1 - max(map(len, ALGORITHMS))
_TOGETHER = 1 << 13
"""Entries checked at a time; a line of text has at most 8 KiB, so that they stay under 64 MiB."""


class ListFormat(ABC):
    """One way of writing a hash list into a file.

    Implementers write `_raw_entries`; `blocks` checks every field in the same words for all formats.

    An entry whose format gives it no id has one derived from its algorithm, category and value. So one digest
    in two categories is two entries, and of the matches they make the gravest decides.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "line"
    """What errors count; `record` where a format has no lines."""
    takes_category: ClassVar[bool] = False
    """True when the format says nothing of categories, so that whoever imports it must."""

    def __init__(self, category: str | None = None) -> None:
        """Read entries of `category`, which is given exactly when the format takes one."""
        if (category is not None) is not self.takes_category:
            raise ValueError(f"{self.name} takes {'a' if self.takes_category else 'no'} category")
        self.category = category or ""
        self.left_out: Counter[str] = Counter()
        """How many records were no entries, by reason; complete when `read` has ended."""

    def blocks(self, stream: BinaryIO, label: str) -> Iterator[EntryBlock]:
        """Read entries as they come, some thousands at a time, in bounded memory.

        The stream is good only when the iterator has ended without an error: a collector must commit nothing
        before that. Whether an id was given to two different entries is for the collector to find out; it
        gets the places to name.

        Args:
            stream: the file, open for reading bytes.
            label: what to call the file in an error.

        Raises:
            ListFormatError: the stream can't be read or is not what it should be; says where, what is wrong,
                how to mend it.
        """
        # Not above: the table of formats is read by commands that must start fast, and this brings numpy.
        from hashscan.lists.checking import RawColumns

        waiting = RawColumns(self.unit)
        raws = self._raw_entries(stream)
        try:
            try:
                while waiting.take(raws, _TOGETHER):
                    yield from waiting.checked()
            except LineError:
                # Those that wait come before it, and so does what is wrong with them.
                yield from waiting.checked()
                raise
        except OSError as error:
            raise ListFormatError(
                f"{label} can't be read: {error.strerror or error}",
                advice="Check where it comes from, then import the file again; nothing was imported.",
            ) from error
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
        return line, derived_id(algorithm, category, value), algorithm, value, category


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


def id_stem(given: str) -> str:
    """What stands before the colon in `STEM:ALGORITHM`, the ids of digests that share the id `given`.

    One that can't be an id, or is too long with an algorithm after it, is hashed.
    """
    if len(given) <= _STEM_MAX and given.isascii() and given.isprintable() and given[:1] != " ":
        return given
    return _hashed(given)


def derived_id(algorithm: str, category: str, value: str) -> str:
    """A stable id for a value in hexadecimal that has none.

    Hashed, not quoted: reports name ids, and must not give away what is on a list.
    """
    return f"h-{_hashed(f'{algorithm} {category} {value.lower()}')}"


def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
