"""The formats that hashing tools write: checksums, hashdeep, PDQ, threatexchange and bare digests.

checksums is the output of md5sum, sha1sum, sha256sum and sha512sum, with or without `--tag`. The length of a
digest determines its algorithm. A backslash before the digest means that the file name is escaped.

hashdeep is `%%%% HASHDEEP-1.0`, a line that names the columns, comments, and rows.

PDQ is `hash,file` or `hash,quality,file`.

threatexchange is `type hash`. Types may be in any case, with or without the prefix `hash_` or `video_`.
Types that hashscan can't store (`tmk`, `vpdq`, `raw_text`, `url`, `trend_query`, `pdq_ocr`) are counted and
left out.

hashes is a digest for each line, with or without `ALGORITHM:` before it; lines that begin with `#` are
comments. If the importing user names no algorithm, 32, 40 and 128 digits are md5, sha1 and sha512. Other
lengths are of several algorithms, or of none, and a guess would make entries that never match: 64 digits are
sha256 or pdq.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.formats.base import ListFormat
from hashscan.lists.formats.text import LineError, RawEntry, numbered_lines, shown
from hashscan.model import ALGORITHMS

_BY_DIGITS = {2 * ALGORITHMS[name].size: name for name in ("md5", "sha1", "sha256", "sha512")}
_PLAIN = re.compile(r"\\?([0-9A-Fa-f]+) [ *].+", re.DOTALL)
_TAGGED = re.compile(r"\\?(MD5|SHA1|SHA256|SHA512) \(.*\) = ([0-9A-Fa-f]+)", re.DOTALL)


class ChecksumsFormat(ListFormat):
    """A digest and a file name for each line; names are ignored, the importing user gives the category."""

    name = "checksums"
    takes_category = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream):
            if tagged := _TAGGED.fullmatch(line):
                yield self._without_id(number, tagged[1].lower(), tagged[2], self.category)
                continue
            plain = _PLAIN.fullmatch(line)
            algorithm = _BY_DIGITS.get(len(plain[1])) if plain else None
            if plain is None or algorithm is None:
                raise LineError(
                    number,
                    "not a line of md5sum, sha1sum, sha256sum or sha512sum",
                    "Make the file with one of them",
                )
            yield self._without_id(number, algorithm, plain[1], self.category)


_HASHDEEP_MARK = "%%%% "
_HASHDEEP_FIRST = "%%%% HASHDEEP-1.0"
_HASHDEEP_ALGORITHMS = frozenset({"md5", "sha1", "sha256"})
_HASHDEEP_IGNORED = frozenset({"size", "filename", "tiger", "whirlpool"})
_HASHDEEP_MEND = "Make the file with hashdeep"


class HashdeepFormat(ListFormat):
    """Several digests of a file for each line; ids are derived, the importing user gives the category."""

    name = "hashdeep"
    takes_category = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        lines = numbered_lines(stream, comment="##")
        if next(lines, (1, ""))[1].rstrip() != _HASHDEEP_FIRST:
            raise LineError(1, f"it doesn't begin with {_HASHDEEP_FIRST}", _HASHDEEP_MEND)
        number, header = next(lines, (2, ""))
        columns = header.removeprefix(_HASHDEEP_MARK).split(",")
        if (
            not header.startswith(_HASHDEEP_MARK)
            or columns[0] != "size"
            or columns[-1] != "filename"
            or not set(columns) <= _HASHDEEP_ALGORITHMS | _HASHDEEP_IGNORED
        ):
            raise LineError(number, "it doesn't name the columns from size to filename", _HASHDEEP_MEND)
        for number, line in lines:
            # The file name is last and may contain commas.
            fields = line.split(",", len(columns) - 1)
            if len(fields) != len(columns):
                raise LineError(number, f"{len(fields)} fields instead of {len(columns)}", _HASHDEEP_MEND)
            for column, value in zip(columns, fields, strict=True):
                if column in _HASHDEEP_ALGORITHMS:
                    yield self._without_id(number, column, value, self.category)
                elif column in ("tiger", "whirlpool"):
                    self.left_out["of an algorithm that hashscan doesn't know"] += 1


class PdqFormat(ListFormat):
    """One hash for each line; quality and file are ignored.

    Ids are derived; the importing user gives the category.
    """

    name = "pdq"
    takes_category = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream):
            value, comma, _ = line.partition(",")
            if number == 1 and value.strip().lower() == "hash":
                continue
            if not comma:
                raise LineError(number, "no comma after the hash", "Write hash,file or hash,quality,file")
            yield self._without_id(number, "pdq", value.strip(), self.category)


_THREATEXCHANGE_ALGORITHMS = frozenset({"md5", "sha1", "sha256", "sha512", "pdq"})
_THREATEXCHANGE_IGNORED = frozenset({"tmk", "vpdq", "raw_text", "url", "trend_query", "pdq_ocr"})


class ThreatExchangeFormat(ListFormat):
    """A type and a hash for each line; ids are derived, the importing user gives the category."""

    name = "threatexchange"
    takes_category = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream):
            kind, _, value = line.strip().partition(" ")
            algorithm = kind.lower().removeprefix("hash_").removeprefix("video_")
            if algorithm in _THREATEXCHANGE_IGNORED:
                self.left_out["of a type that hashscan can't hold"] += 1
            elif algorithm not in _THREATEXCHANGE_ALGORITHMS:
                raise LineError(number, f"unknown type {shown(kind)}", "Write `type hash` on the line")
            else:
                yield self._without_id(number, algorithm, value.strip(), self.category)


_BY_LENGTH = {digits: name for digits, name in _BY_DIGITS.items() if name != "sha256"}


class HashesFormat(ListFormat):
    """A digest for each line; ids are derived, the importing user gives category and algorithm."""

    name = "hashes"
    takes_category = True
    takes_algorithm = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream, comment="#"):
            before, colon, value = map(str.strip, line.rpartition(":"))
            algorithm = before.lower() if colon else self.algorithm or _BY_LENGTH.get(len(value))
            # The text before the colon may be a digest, so it is not shown.
            if algorithm not in ALGORITHMS:
                raise _no_algorithm(number, "" if colon else value)
            yield self._without_id(number, algorithm, value, self.category)


def _no_algorithm(number: int, value: str) -> LineError:
    """Return the error of a line whose algorithm is not known; without a value, it has an unknown prefix."""
    # A frame of a video alone is no entry of vpdq.
    if alike := [a.name for a in ALGORITHMS.values() if 2 * a.size == len(value) and a.name != "vpdq"]:
        return LineError(
            number,
            f"a digest of {len(value)} digits is of {' or '.join(alike)}",
            f"Name the algorithm with --algorithm, or on each such line, as in {alike[0]}:...",
        )
    return LineError(
        number,
        "not a digest alone, or with the name of its algorithm and a colon before it",
        "Write one digest in hexadecimal on each line, or name the format that the file has",
    )
