"""The record of a list's last pulls: time and result, stored in the list's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hashscan.errors import HashscanError
from hashscan.lists.durable import replace_file
from hashscan.timefmt import utc_now

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class PullRecord:
    """Times and results of pulls; times are RFC 3339."""

    succeeded: str | None = None
    """Time of the last pull that completed, with or without anything new."""
    tried: str | None = None
    """Time of the last attempt."""
    error: str | None = None
    """Error of the last attempt; None if it succeeded."""
    problems: tuple[str, ...] = ()
    """Errors of the sources that the last attempt skipped."""


class PullDetails:
    """Details that a successful pull adds to the record."""

    problems: tuple[str, ...] = ()


@contextmanager
def recorded(path: Path) -> Iterator[PullDetails]:
    """Record at `path` how the body ended.

    Raises:
        OSError: the body succeeded, but the record can't be written.
    """
    now = utc_now()
    report = PullDetails()
    try:
        yield report
    except (HashscanError, OSError) as error:
        # If the disk is full the record can't be written either; the error itself says enough.
        with suppress(OSError):
            _write(path, replace(read_attempts(path), tried=now, error=str(error), problems=()))
        raise
    _write(path, PullRecord(now, now, None, report.problems))


def read_attempts(path: Path) -> PullRecord:
    """Read the record; return an empty one if it is missing or not understood, since nothing depends on it.

    Raises:
        OSError: the record exists, but can't be read.
    """
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return PullRecord()
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        return PullRecord()
    succeeded, tried, error = (document.get(name) for name in ("succeeded", "tried", "error"))
    problems = document.get("problems")
    if not isinstance(problems, list) or not all(isinstance(text, str) for text in problems):
        return PullRecord()
    if not all(text is None or isinstance(text, str) for text in (succeeded, tried, error)):
        return PullRecord()
    return PullRecord(succeeded, tried, error, tuple(problems))


def _write(path: Path, attempts: PullRecord) -> None:
    replace_file(path, json.dumps({"schema": _SCHEMA, **asdict(attempts)}, indent=1).encode())
