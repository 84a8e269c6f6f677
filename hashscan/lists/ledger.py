"""Finds entry ids given twice in an import of any length, in 32 bytes of memory an entry."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import xxhash

_RECORD = np.dtype([("id", "<u8"), ("id_rest", "<u8"), ("content", "<u8"), ("line", "<u8")])
_PACK = struct.Struct("<16sQQ")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two lines that give one id to different entries."""

    first: int
    second: int


class IdLedger:
    """Every id seen so far, as fingerprints.

    The fingerprints are not made to withstand someone who builds collisions; who did so could only have
    the own import refused.
    """

    def __init__(self) -> None:
        self._records = bytearray()

    def note(self, line: int, entry_id: str, content: bytes) -> None:
        """Remember one entry.

        Args:
            line: its line number, from 1.
            entry_id: the publisher's id.
            content: everything else of the entry, in a form equal only for equal entries.
        """
        self._records += _PACK.pack(
            xxhash.xxh3_128_digest(entry_id.encode()), xxhash.xxh3_64_intdigest(content), line
        )

    def conflict(self) -> Conflict | None:
        """The first line that gives an earlier line's id to another entry, if there is one."""
        records = np.frombuffer(self._records, dtype=_RECORD)
        # Stable, so that lines of one id stay in order.
        order = np.argsort(records["id"], kind="stable")
        by_id = records[order]
        same_id = (by_id["id"][1:] == by_id["id"][:-1]) & (by_id["id_rest"][1:] == by_id["id_rest"][:-1])
        differs = np.flatnonzero(same_id & (by_id["content"][1:] != by_id["content"][:-1]))
        if not differs.size:
            return None
        worst = differs[np.argmin(by_id["line"][differs + 1])]
        return Conflict(int(by_id["line"][worst]), int(by_id["line"][worst + 1]))
