"""What servers said of the timestamp they sent, so that each is asked only for a newer one (RFC 9110, 13)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from hashscan.lists.durable import replace_file

_SCHEMA = 1
_VALIDATOR = re.compile(r"[\x20-\x7e]{1,256}")
_HEADERS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
"""A server's word, and how it is given back."""


class Validators:
    """Kept with a list, by the address asked.

    A server that has nothing newer answers without content; then the timestamp kept here stands for the
    answer. So a server can't make anything of it but the present state, whose expiry is checked as ever.
    """

    def __init__(self, path: Path, timestamp: Path) -> None:
        """Use the file at `path`.

        Args:
            path: it need not exist; one that can't be understood counts for nothing.
            timestamp: where tuf's client keeps the timestamp it accepted last.

        Raises:
            OSError: a file is there, but can't be read.
        """
        self._path = path
        self.timestamp = _bytes(timestamp) or b""
        """The answer that a server with nothing newer stands for."""
        self._kept = _read(_bytes(path))
        self._before = dict(self._kept)

    def conditions(self, url: str) -> dict[str, str]:
        """Headers that ask for a newer timestamp only; none when there is none to compare with."""
        kept = self._kept.get(url)
        if not kept or kept.get("sha256") != _digest(self.timestamp):
            return {}
        return {asked: kept[said] for said, asked in _HEADERS.items() if said in kept}

    def note(self, url: str, headers: Mapping[str, str], timestamp: bytes) -> None:
        """Remember what a server said of a timestamp."""
        said = {name: headers.get(name, "") for name in _HEADERS}
        usable = {name: value for name, value in said.items() if _VALIDATOR.fullmatch(value)}
        self._kept[url] = {**usable, "sha256": _digest(timestamp)}

    def save(self) -> None:
        """Keep what is new.

        Raises:
            OSError: it can't be written.
        """
        if self._kept != self._before:
            document = {"schema": _SCHEMA, "timestamps": self._kept}
            replace_file(self._path, json.dumps(document, indent=1).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _read(data: bytes | None) -> dict[str, dict[str, str]]:
    """What was kept; nothing where that can't be understood, since asking again in full costs a kilobyte."""
    try:
        document = json.loads(data or b"{}")
    except ValueError:
        return {}
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
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
