"""Base classes of list formats: parse a stream of bytes into entries, or write entries as one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from hashscan.errors import ListFormatError
from hashscan.lists.formats.text import LineError, RawEntry
from hashscan.model import ALGORITHMS, ENTRY_ID_MAX, Entry

if TYPE_CHECKING:
    from hashscan.lists.storage.columns import EntryBlock

_STEM_MAX = ENTRY_ID_MAX - 1 - max(map(len, ALGORITHMS))
_TOGETHER = 1 << 13
"""Entries checked at a time. A line of text has at most 8 KiB, so these entries stay under 64 MiB."""


class ListFormat(ABC):
    """A file format of hash lists.

    Subclasses implement `_raw_entries`; `blocks` checks every field with the same messages for all formats.

    If the format gives an entry no id, the id is derived from algorithm, category and value. So one digest in
    two categories is two entries, and the gravest of their matches decides.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "line"
    """The unit that errors count; `record` in formats that have no lines."""
    takes_category: ClassVar[bool] = False
    """True if the format has no categories, so that the importing user must give one."""
    takes_algorithm: ClassVar[bool] = False
    """True if the importing user may give the algorithm of digests whose lines don't."""

    def __init__(self, category: str | None = None, algorithm: str | None = None) -> None:
        """Read entries of `category`, which is given if and only if the format takes one."""
        if algorithm is not None and not self.takes_algorithm:
            raise ValueError(f"{self.name} takes no algorithm")
        self.algorithm = algorithm
        if (category is not None) is not self.takes_category:
            raise ValueError(f"{self.name} takes {'a' if self.takes_category else 'no'} category")
        self.category = category or ""
        self.left_out: Counter[str] = Counter()
        """Number of records that were not entries, by reason; complete when `blocks` has ended."""

    def blocks(self, stream: BinaryIO, label: str) -> Iterator[EntryBlock]:
        """Yield the entries in blocks of some thousands, in bounded memory.

        The stream is valid only if the iterator ends without an error: a caller must commit nothing before
        that. The caller must also check that no id was given to two different entries; the blocks carry the
        positions to name in that error.

        Args:
            label: name of the file for errors.

        Raises:
            ListFormatError: the stream can't be read or is not valid; the message says where, what is wrong
                and how to correct it.
        """
        # Not imported above: commands that must start fast read the table of formats, and this module imports
        # numpy.
        from hashscan.lists.formats.entry_checks import RawColumns

        waiting = RawColumns(self.unit)
        raws = self._raw_entries(stream)
        try:
            try:
                while waiting.take(raws, _TOGETHER):
                    yield from waiting.checked()
            except LineError:
                # Entries that wait were read before this line, so their errors come first.
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
        """Parse the stream; `LineError` for a line or record that can't be parsed."""

    def _without_id(self, line: int, algorithm: str, value: str, category: str) -> RawEntry:
        """Return a raw entry with a derived id, for formats that give no id."""
        return line, derived_id(algorithm, category, value), algorithm, value, category


class ListWriter(ABC):
    """A file format that entries are written in."""

    name: ClassVar[str]

    def __init__(self, list_name: str) -> None:
        """Prepare to write entries of the list `list_name`."""
        self.list_name = list_name
        self.left_out: Counter[str] = Counter()
        """Number of entries that the format can't express, by reason; complete when `lines` has ended."""

    @abstractmethod
    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Yield the file's content piece by piece, while entries come in."""


def id_stem(given: str) -> str:
    """Return the part before the colon in `STEM:ALGORITHM`, the ids of digests that share the id `given`.

    If `given` can't be an id, or is too long with an algorithm after it, its hash is returned.
    """
    if len(given) <= _STEM_MAX and given.isascii() and given.isprintable() and given[:1] != " ":
        return given
    return _hashed(given)


def content_of(entry_id: str, algorithm: str) -> str:
    """Return the part of an entry's id that the entries of one content share.

    It is `CONTENT` in `CONTENT:ALGORITHM` and `CONTENT-ALGORITHM`, and the whole of any other id. Ids of PDQ
    may go on, since the parts of a picture have digests: `case-pdq-2` is of `case`, `case-phash-1` is not.
    """
    for mark in ":-":
        begin, _, rest = entry_id.rpartition(f"{mark}{algorithm}")
        if begin and (algorithm == "pdq" or not rest):
            entry_id = begin
    return entry_id


def derived_id(algorithm: str, category: str, value: str) -> str:
    """Return a stable id for a hexadecimal value that has none.

    The id is a hash of the value and does not contain it: reports name ids, and must not reveal what is on a
    list.
    """
    return f"h-{_hashed(f'{algorithm} {category} {value.lower()}')}"


def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
