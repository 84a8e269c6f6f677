"""The format checksums: output of md5sum, sha1sum, sha256sum and sha512sum, with or without `--tag`.

The length of a digest determines its algorithm. A backslash before the digest means that the file name is
escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.base import ListFormat
from hashscan.lists.formats.text import numbered_lines
from hashscan.lists.raw_entries import LineError, RawEntry
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
