"""The state kept between the pulls of a list: results of the last pulls, cache of HTTP validators."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hashscan.errors import HashscanError
from hashscan.lists.storage.atomic_files import replace_file
from hashscan.timefmt import utc_now

_ATTEMPTS_SCHEMA = 1


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
            _write_attempts(path, replace(read_attempts(path), tried=now, error=str(error), problems=()))
        raise
    _write_attempts(path, PullRecord(now, now, None, report.problems))


def read_attempts(path: Path) -> PullRecord:
    """Read the record; return an empty one if it is missing or not understood, since nothing depends on it.

    Raises:
        OSError: the record exists, but can't be read.
    """
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return PullRecord()
    if not isinstance(document, dict) or document.get("schema") != _ATTEMPTS_SCHEMA:
        return PullRecord()
    succeeded, tried, error = (document.get(name) for name in ("succeeded", "tried", "error"))
    problems = document.get("problems")
    if not isinstance(problems, list) or not all(isinstance(text, str) for text in problems):
        return PullRecord()
    if not all(text is None or isinstance(text, str) for text in (succeeded, tried, error)):
        return PullRecord()
    return PullRecord(succeeded, tried, error, tuple(problems))


def _write_attempts(path: Path, attempts: PullRecord) -> None:
    replace_file(path, json.dumps({"schema": _ATTEMPTS_SCHEMA, **asdict(attempts)}, indent=1).encode())


_VALIDATORS_SCHEMA = 1
_VALIDATOR = re.compile(r"[\x20-\x7e]{1,256}")
_HEADERS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
"""Each validator header and the request header that returns it."""


class Validators:
    """The validators of a list's timestamps, by address.

    If a server has nothing newer, it answers without content, and the timestamp stored here is used as its
    answer. So a server can only cause the present state to be kept, and its expiry is checked as always.
    """

    def __init__(self, path: Path, timestamp: Path) -> None:
        """Use the file at `path`.

        Args:
            path: need not exist; a file that is not understood is ignored.
            timestamp: file of the timestamp that tuf's client accepted last.

        Raises:
            OSError: a file exists, but can't be read.
        """
        self._path = path
        self.timestamp = _bytes(timestamp) or b""
        """The answer of a server that has nothing newer."""
        self._kept = _read_validators(_bytes(path))
        self._before = dict(self._kept)

    def conditions(self, url: str) -> dict[str, str]:
        """Return headers that request only a newer timestamp; empty if none is stored to compare with."""
        kept = self._kept.get(url)
        if not kept or kept.get("sha256") != _digest(self.timestamp):
            return {}
        return {asked: kept[said] for said, asked in _HEADERS.items() if said in kept}

    def note(self, url: str, headers: Mapping[str, str], timestamp: bytes) -> None:
        """Store the validators that a server sent with a timestamp."""
        said = {name: headers.get(name, "") for name in _HEADERS}
        usable = {name: value for name, value in said.items() if _VALIDATOR.fullmatch(value)}
        self._kept[url] = {**usable, "sha256": _digest(timestamp)}

    def save(self) -> None:
        """Write new validators to the file.

        Raises:
            OSError: the file can't be written.
        """
        if self._kept != self._before:
            document = {"schema": _VALIDATORS_SCHEMA, "timestamps": self._kept}
            replace_file(self._path, json.dumps(document, indent=1).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _read_validators(data: bytes | None) -> dict[str, dict[str, str]]:
    """Parse the file; return nothing if it is not understood, since a full request costs only a kilobyte."""
    try:
        document = json.loads(data or b"{}")
    except ValueError:
        return {}
    if not isinstance(document, dict) or document.get("schema") != _VALIDATORS_SCHEMA:
        return {}
    timestamps = document.get("timestamps")
    if not isinstance(timestamps, dict):
        return {}
    return {
        url: kept
        for url, kept in timestamps.items()
        if isinstance(kept, dict)
        and all(isinstance(value, str) and _VALIDATOR.fullmatch(value) for value in kept.values())
    }
