"""The exchange format VICS of Project VIC and CAID, JSON, versions 1.3 and 2.0.

Source: https://github.com/ICMEC/ProjectVic . A category is a number whose meaning depends on the country:

| VICS | hashscan | |
| --- | --- | --- |
| 0 | left out | not yet reviewed |
| 1 | `baseline` | child-abuse material |
| 2, 3 and all others | `other` | exploitive, drawn or the country's own |
| 4 | left out | not pertinent, or for comparison |
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any, BinaryIO

from hashscan.lists.base import ListFormat, id_stem
from hashscan.lists.formats.json_items import JsonItems
from hashscan.lists.raw_entries import LineError, RawEntry

_NO_HITS = frozenset({0, 4})
_BASELINE = 1
_OWN_MEMBERS = (("MD5", "md5"), ("SHA1", "sha1"), ("PhotoDNA", "photodna"))
_NAMES = {name: name for name in ("md5", "sha1", "sha256", "sha512", "pdq", "photodna")}


class VicsFormat(ListFormat):
    """Media of a VICS document, or of its cases; ids are `MediaID:algorithm`, or derived for cases."""

    name = "vics"
    unit = "record"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        items = JsonItems(stream)
        before = items.before("value")
        context = before.get("@odata.context", before.get("odata.metadata"))
        in_cases = isinstance(context, str) and context.endswith("#Cases")
        for number, media in items.objects("value.item.Media.item" if in_cases else "value.item"):
            if number == 1 and not isinstance(context, str):
                raise LineError(
                    1,
                    "neither @odata.context nor odata.metadata comes before value",
                    "Export it as VICS JSON",
                )
            category = _category(number, media.get("Category"))
            if category is None:
                self.left_out["of category 0 or 4"] += 1
                continue
            # Each case numbers its media from the beginning again.
            given = None if in_cases else media.get("MediaID")
            values = self._values(number, media)
            if given is None or given == "":
                for algorithm, value in values:
                    yield self._without_id(number, algorithm, value, category)
                continue
            if isinstance(given, bool) or not isinstance(given, (int, str)):
                raise LineError(number, "MediaID is neither a number nor text", "Export the file again")
            stem = id_stem(str(given))
            for algorithm, value in values:
                yield number, f"{stem}:{algorithm}", algorithm, value, category

    def _values(self, number: int, media: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the algorithms and hexadecimal values of one media item."""
        found = []
        for member, algorithm in _OWN_MEMBERS:
            value = media.get(member)
            if value is None or value == "":
                continue
            if algorithm == "photodna" or not isinstance(value, str):
                value = _hexadecimal(number, algorithm, value)
            found.append((algorithm, value))
        others = media.get("AlternativeHashes")
        if others is not None:
            found += self._others(number, others)
        if not found:
            self.left_out["without a hash"] += 1
        return found

    def _others(self, number: int, others: object) -> Iterator[tuple[str, str]]:
        """Yield the algorithms and hexadecimal values of the alternative hashes."""
        if not isinstance(others, list):
            raise LineError(number, "AlternativeHashes is no array", "Export the file again")
        for other in others:
            if not isinstance(other, dict) or not isinstance(other.get("HashName"), str):
                raise LineError(number, "an alternative hash without a name", "Export the file again")
            algorithm = _NAMES.get(other["HashName"].lower().replace("-", ""), "")
            if algorithm:
                yield algorithm, _hexadecimal(number, algorithm, other.get("HashValue"))
            else:
                self.left_out["of an algorithm that hashscan doesn't know"] += 1


def _category(number: int, given: object) -> str | None:
    """Return the category in hashscan's terms, or None for media that are not entries."""
    if isinstance(given, str) and len(given) <= 3 and given.isascii() and given.isdigit():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int):
        raise LineError(number, "Category is no number", "Give every medium its category")
    if given in _NO_HITS:
        return None
    return "baseline" if given == _BASELINE else "other"


def _hexadecimal(number: int, algorithm: str, value: object) -> str:
    if not isinstance(value, str):
        raise LineError(number, f"the {algorithm} is no text", "Export the file again")
    if algorithm != "photodna":
        return value
    try:
        return binascii.a2b_base64(value, strict_mode=True).hex()
    except ValueError as error:
        raise LineError(number, "the photodna is not base64", "Export the file again") from error
