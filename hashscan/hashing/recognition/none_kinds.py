"""Proofs that no viewer shows a picture of a file, so that nothing needs to be asked about it.

This is the fast path to "none". It runs in the scanning process, outside of the sandbox, on bytes that an
attacker wrote: each row is a proof over the whole file, not a signature at its begin.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashscan.hashing.pread import PreadFile

_UNPRINTABLE = re.compile(rb"[^\t-\r\x1b -~\x80-\xff]")
_PIECE_SIZE = 256 << 10


def none_kind(file: PreadFile) -> str:
    """Return the name of the row that proves a file to be none; empty if no row does.

    Args:
        file: one that no signature tells, whole.

    Raises:
        OSError: it can't be read.
    """
    file.seek(0)
    while piece := file.read(_PIECE_SIZE):
        if _UNPRINTABLE.search(piece) is not None:
            return ""
    return "text"
