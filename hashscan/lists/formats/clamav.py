"""ClamAV's hash signatures: `hash:size:name`, size `*` if unknown, optionally followed by engine levels.

Source: https://docs.clamav.net/manual/Signatures/HashSignatures.html . `.fp` means known-good.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, ClassVar

from hashscan.lists.formats.base import ListFormat, ListWriter
from hashscan.lists.formats.text import LineError, RawEntry, numbered_lines
from hashscan.model import Entry

_BY_DIGITS = {32: "md5", 40: "sha1", 64: "sha256"}
_ACCUSING = frozenset({"baseline", "A1", "A2", "B1", "B2"})
_LEVEL = 73
"""The functionality level of the engine that size `*` requires."""
_SIZE = re.compile(r"\*|[0-9]{1,19}")
_LEVELS = re.compile(r"[0-9]{0,9}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class _Signatures(ListFormat):
    """Lines of signatures; ids are derived, since several signatures may have one name."""

    algorithms: ClassVar[frozenset[str]] = frozenset(_BY_DIGITS.values())

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream, comment="#"):
            fields = line.split(":", 5)
            if (
                not 3 <= len(fields) <= 5
                or not _SIZE.fullmatch(fields[1])
                or not fields[2]
                or not all(_LEVELS.fullmatch(level) for level in fields[3:])
            ):
                raise LineError(number, "not hash:size:name", "Write hash:size:name, size * when unknown")
            algorithm = _BY_DIGITS.get(len(fields[0]))
            if algorithm not in self.algorithms:
                known = ", ".join(sorted(self.algorithms))
                raise LineError(
                    number, f"the hash is not of {known}", f"Write only {known} into .{self.name}"
                )
            yield self._without_id(number, algorithm, fields[0], self.category or "known-good")


class HdbFormat(_Signatures):
    """md5 of whole files; the importing user gives the category."""

    name = "hdb"
    takes_category = True
    algorithms = frozenset({"md5"})


class HsbFormat(_Signatures):
    """sha1 and sha256 of whole files; the importing user gives the category."""

    name = "hsb"
    takes_category = True
    algorithms = frozenset({"sha1", "sha256"})


class FpFormat(_Signatures):
    """Hashes of whole files that are known to be good."""

    name = "fp"


class HsbWriter(ListWriter):
    """sha1 and sha256 entries of acting categories, for clamscan."""

    name = "hsb"

    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Yield one signature for each entry; entries that can't be written are counted."""
        for entry in entries:
            if entry.category not in _ACCUSING:
                # ClamAV has no review: it would remove files that hashscan only reports for review.
                self.left_out[f"of category {entry.category}"] += 1
            elif entry.algorithm not in HsbFormat.algorithms:
                self.left_out[entry.algorithm] += 1
            else:
                name = _NOT_IN_NAMES.sub("_", f"hashscan.{self.list_name}.{entry.category}.{entry.id}")
                yield f"{entry.value.hex()}:*:{name}:{_LEVEL}\n".encode("ascii")
