"""When a list was last pulled, and how that went; kept in the list's folder for whoever asks later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hashscan.errors import HashscanError
from hashscan.lists.durable import replace_file

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Attempts:
    """How pulls went; times are RFC 3339."""

    succeeded: str | None = None
    """When a pull last came to its end, whether or not there was anything new."""
    tried: str | None = None
    """When the last one was tried."""
    error: str | None = None
    """What became of that one; None when it succeeded."""
    problems: tuple[str, ...] = ()
    """What was wrong with sources that the last one passed over."""


class Report:
    """What a pull that succeeds has to tell."""

    problems: tuple[str, ...] = ()


@contextmanager
def recorded(path: Path) -> Iterator[Report]:
    """Record at `path` how the body went.

    Raises:
        OSError: it went well, but that can't be written.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    report = Report()
    try:
        yield report
    except (HashscanError, OSError) as error:
        # When the disk is full this can't be written either; the error itself says enough.
        with suppress(OSError):
            _write(path, replace(read_attempts(path), tried=now, error=str(error), problems=()))
        raise
    _write(path, Attempts(now, now, None, report.problems))


def read_attempts(path: Path) -> Attempts:
    """What was recorded; nothing where there is none that can be understood, since nothing depends on it.

    Raises:
        OSError: it is there, but can't be read.
    """
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return Attempts()
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        return Attempts()
    succeeded, tried, error = (document.get(name) for name in ("succeeded", "tried", "error"))
    problems = document.get("problems")
    if not isinstance(problems, list) or not all(isinstance(text, str) for text in problems):
        return Attempts()
    if not all(text is None or isinstance(text, str) for text in (succeeded, tried, error)):
        return Attempts()
    return Attempts(succeeded, tried, error, tuple(problems))


def _write(path: Path, attempts: Attempts) -> None:
    replace_file(path, json.dumps({"schema": _SCHEMA, **asdict(attempts)}, indent=1).encode())
