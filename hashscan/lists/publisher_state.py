"""What a list owner's working folder remembers in `publisher.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hashscan.errors import OutputError, UsageError
from hashscan.lists.durable import replace_file
from hashscan.lists.manifest import LIST_NAME

STATE_NAME = "publisher.json"
_SCHEMA = 1
_BATCH = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Expiry:
    """How many days signatures of each role hold."""

    root: int = 365
    targets: int = 90
    snapshot: int = 14
    timestamp: int = 3

    def __post_init__(self) -> None:
        for field in fields(self):
            days = getattr(self, field.name)
            if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 36_500:
                raise UsageError(
                    f"{field.name} can't expire after {days!r} days", advice="Give 1 to 36500 days."
                )

    def running_out(self, expiries: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
        """The roles, with their expiry, of whose time less than a third is left."""
        return {
            role: expires
            for role, expires in expiries.items()
            if expires - now < timedelta(days=getattr(self, role)) / 3
        }


@dataclass(frozen=True, slots=True)
class PublisherState:
    """One list's settings and what waits for its next release."""

    name: str
    repository: Path
    """The folder that is published."""
    keys: Path
    expiry: Expiry
    released: int = 0
    """The list version that everything pending comes after."""
    pending: tuple[str, ...] = ()
    """Names of the folders of entries that wait."""


def write_state(work: Path, state: PublisherState) -> None:
    """Replace the file at once.

    Raises:
        OSError: it can't be written.
    """
    document = {
        "schema": _SCHEMA,
        "list": state.name,
        "repository": str(state.repository),
        "keys": str(state.keys),
        "expiry_days": asdict(state.expiry),
        "released": state.released,
        "pending": list(state.pending),
    }
    replace_file(work / STATE_NAME, json.dumps(document, indent=1).encode("ascii") + b"\n")


def read_state(work: Path) -> PublisherState:
    """The file as last written.

    Raises:
        UsageError: there is none, so it is no working folder.
        OutputError: it is damaged or of another version.
        OSError: it can't be read.
    """
    path = work / STATE_NAME
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(
            f"{work} is no publisher's working folder", advice="Begin a list with `hashscan publish init`."
        ) from error
    except ValueError as error:
        raise OutputError(f"{path} is not JSON: {error}") from error
    try:
        return _state(document)
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise OutputError(
            f"{path} is damaged or of another version ({error})",
            advice="Restore it from a backup, or upgrade.",
        ) from error


def _state(document: Any) -> PublisherState:
    if document["schema"] != _SCHEMA:
        raise ValueError(f"schema {document['schema']!r}")
    name, released, pending = document["list"], document["released"], tuple(document["pending"])
    if not LIST_NAME.fullmatch(name):
        raise ValueError("name of the list")
    if not isinstance(released, int) or released < 0:
        raise ValueError("number of the release")
    if not all(_BATCH.fullmatch(batch) for batch in pending):
        raise ValueError("names of what is pending")
    return PublisherState(
        name,
        Path(document["repository"]),
        Path(document["keys"]),
        Expiry(**document["expiry_days"]),
        released,
        pending,
    )
