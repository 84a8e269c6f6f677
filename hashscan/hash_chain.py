"""Chain lines by their digests: each line holds the digest of the one before, so that a change is detected.

A line is a JSON object on one line, in ASCII, with its newline: `n`, its number from 1; `previous`, the
SHA-256 of the line before; its content; and last `check`, the SHA-256 of all before it, which shows which of
two lines was changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hashscan.errors import UsageError

Line = Mapping[str, Any]
"""The content of one line, without the chain fields: JSON values by key."""

_FIRST = "0" * 64
_CHECK = b',"check":"'
_ENDING = len(_CHECK) + 64 + len(b'"}\n')
_HEAD = re.compile(r"(0|[1-9][0-9]{0,18}):([0-9a-f]{64})\n?")


@dataclass(frozen=True, slots=True)
class LogHead:
    """The length and last digest of a log. A copy kept elsewhere shows if the log was cut or rewritten."""

    count: int
    digest: str
    """sha256 of the last line with its newline, in hex; 64 zeros if there is no line."""

    def __str__(self) -> str:
        return f"{self.count}:{self.digest}"


EMPTY = LogHead(0, _FIRST)


class BrokenChainError(ValueError):
    """A line that was changed, or that does not follow the line before it."""


def parse_head(text: str) -> LogHead:
    """Parse a head from the form in which commands print it.

    Raises:
        UsageError: the text is not a head.
    """
    found = _HEAD.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text[:100]!r} is not the head of a log",
            advice="Give it as it was printed: a number, a colon and 64 hex digits.",
        )
    return LogHead(int(found[1]), found[2])


def chained(line: Line, before: LogHead) -> tuple[bytes, LogHead]:
    """Return the line that has this content and follows a head, and the head up to it."""
    fields = {"n": before.count + 1, "previous": before.digest, **line}
    body = json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii")[:-1]
    raw = body + _ending(body)
    return raw, LogHead(before.count + 1, hashlib.sha256(raw).hexdigest())


def parse_line(raw: bytes, before: LogHead) -> tuple[Line, LogHead]:
    """Return the content of a line that follows a head, and the head up to it.

    Raises:
        BrokenChainError: it was changed, or does not follow.
    """
    body, ending = raw[:-_ENDING], raw[-_ENDING:]
    if ending != _ending(body):
        raise BrokenChainError("it was changed")
    try:
        line = json.loads(body + b"}")
    except (ValueError, RecursionError):
        raise BrokenChainError("it is not a line of a log") from None
    if line.pop("n", None) != before.count + 1 or line.pop("previous", None) != before.digest:
        raise BrokenChainError("it does not follow the line before it")
    return line, LogHead(before.count + 1, hashlib.sha256(raw).hexdigest())


def _ending(body: bytes) -> bytes:
    return _CHECK + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
