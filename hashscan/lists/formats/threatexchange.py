"""The format of the threatexchange command: `type hash`, one for each line.

Types may be in any case, with or without the prefix `hash_` or `video_`. Types that hashscan can't store
(`tmk`, `vpdq`, `raw_text`, `url`, `trend_query`) are counted and left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.base import ListFormat
from hashscan.lists.formats.text import numbered_lines
from hashscan.lists.raw_entries import LineError, RawEntry, shown

_ALGORITHMS = frozenset({"md5", "sha1", "sha256", "sha512", "pdq"})
_NOT_HELD = frozenset({"tmk", "vpdq", "raw_text", "url", "trend_query", "pdq_ocr"})


class ThreatExchangeFormat(ListFormat):
    """A type and a hash for each line; ids are derived, the importing user gives the category."""

    name = "threatexchange"
    takes_category = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream):
            kind, _, value = line.strip().partition(" ")
            algorithm = kind.lower().removeprefix("hash_").removeprefix("video_")
            if algorithm in _NOT_HELD:
                self.left_out["of a type that hashscan can't hold"] += 1
            elif algorithm not in _ALGORITHMS:
                raise LineError(number, f"unknown type {shown(kind)}", "Write `type hash` on the line")
            else:
                yield self._without_id(number, algorithm, value.strip(), self.category)
