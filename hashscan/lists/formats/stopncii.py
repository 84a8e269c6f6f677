"""StopNCII's hash records, JSON.

Every entry has the category `other`: intimate pictures of adults are for review, whatever category a supplier
gives. Records whose `hashStatus` is Withdrawn or Deleted are not entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.base import ListFormat
from hashscan.lists.formats.json_items import JsonItems
from hashscan.lists.raw_entries import LineError, RawEntry, shown

_SIGNALS = {
    f"{kind}{name}": algorithm
    for kind in ("image", "video")
    for name, algorithm in (("md5", "md5"), ("sha1", "sha1"), ("sha256", "sha256"), ("pdq", "pdq"))
    if (kind, name) != ("video", "pdq")
}
_STATES = {"active": True, "withdrawn": False, "deleted": False}


class StopNciiFormat(ListFormat):
    """`hashRecords` with `signalType`, `hashValue` and `hashStatus`; ids are derived."""

    name = "stopncii"
    unit = "record"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, record in JsonItems(stream).objects("hashRecords.item"):
            kind, value, status = (record.get(name) for name in ("signalType", "hashValue", "hashStatus"))
            if not (isinstance(kind, str) and isinstance(value, str) and isinstance(status, str)):
                raise LineError(number, "signalType, hashValue or hashStatus is no text", "Get the file anew")
            active = _STATES.get(status.lower())
            if active is None:
                raise LineError(number, f"unknown hashStatus {shown(status)}", "Ask for a newer hashscan")
            algorithm = _SIGNALS.get(kind.lower())
            if not active:
                self.left_out["withdrawn or deleted"] += 1
            elif algorithm is None:
                self.left_out["of an algorithm that hashscan doesn't know"] += 1
            else:
                yield self._without_id(number, algorithm, value, "other")
