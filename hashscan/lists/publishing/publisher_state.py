"""The state of a list owner's working folder, stored in `publisher.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hashscan.errors import OutputError, UsageError
from hashscan.lists.storage.atomic_files import replace_file
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.model import ENTRY_ID_MAX

STATE_NAME = "publisher.json"
_SCHEMA = 1
_BATCH = re.compile(r"[0-9a-f]{16}")
_SUM = re.compile(r"[0-9a-f]{32}")
_NUMBER_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Expiry:
    """Validity of signatures of each role, in days."""

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
        """Return the roles, with their expiry, that have less than a third of their validity left."""
        return {
            role: expires
            for role, expires in expiries.items()
            if expires - now < timedelta(days=getattr(self, role)) / 3
        }


@dataclass(frozen=True, slots=True)
class PendingAddition:
    """Pending entries."""

    name: str
    """Name of their folder."""
    entries: int


@dataclass(frozen=True, slots=True)
class PendingWithdrawal:
    """Ids whose entries, published or pending before, are withdrawn by the next release."""

    name: str
    """Name of the folder of the ids."""
    ids: int
    """Number of ids, at least one."""
    published: int
    """Number of ids that belong to published entries."""
    id_size: int
    """Size of each id in bytes."""
    sum: str
    """xxh3_128 of the file of ids."""


Operation = PendingAddition | PendingWithdrawal


@dataclass(frozen=True, slots=True)
class ReleaseInProgress:
    """A release that has begun."""

    version: int
    done: int
    """Number of pending operations that are done once it is published."""


@dataclass(frozen=True, slots=True)
class PublisherState:
    """One list's settings and the pending operations for its next release."""

    name: str
    repository: Path
    """The folder that is published."""
    keys: Path
    expiry: Expiry
    released: int = 0
    """The list version that all pending operations follow."""
    pending: tuple[Operation, ...] = ()
    """Pending operations in the order of arrival."""
    upcoming: ReleaseInProgress | None = None
    """Set while a release is being published."""

    @property
    def waiting(self) -> int:
        """Number of entries that wait to be published."""
        added = sum(operation.entries for operation in self.pending if isinstance(operation, PendingAddition))
        taken = sum(o.ids - o.published for o in self.pending if isinstance(o, PendingWithdrawal))
        return added - taken

    @property
    def withdrawing(self) -> int:
        """Number of published entries that wait to be withdrawn."""
        return sum(o.published for o in self.pending if isinstance(o, PendingWithdrawal))


def write_state(work: Path, state: PublisherState) -> None:
    """Replace the state file atomically.

    Raises:
        OSError: the file can't be written.
    """
    document = {
        "schema": _SCHEMA,
        "list": state.name,
        "repository": str(state.repository),
        "keys": str(state.keys),
        "expiry_days": asdict(state.expiry),
        "released": state.released,
        "pending": [_described(operation) for operation in state.pending],
        "upcoming": asdict(state.upcoming) if state.upcoming else None,
    }
    replace_file(work / STATE_NAME, json.dumps(document, indent=1).encode("ascii") + b"\n")


def read_state(work: Path) -> PublisherState:
    """Read the state file.

    Raises:
        UsageError: there is no such file, so the folder is not a working folder.
        OutputError: the file is damaged or of another version.
        OSError: the file can't be read.
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
    name, released, upcoming = document["list"], document["released"], document["upcoming"]
    if not LIST_NAME.fullmatch(name):
        raise ValueError("name of the list")
    return PublisherState(
        name,
        Path(document["repository"]),
        Path(document["keys"]),
        Expiry(**document["expiry_days"]),
        _number(released, 0),
        tuple(_operation(operation) for operation in document["pending"]),
        ReleaseInProgress(_number(upcoming["version"]), _number(upcoming["done"], 0)) if upcoming else None,
    )


def _described(operation: Operation) -> dict[str, Any]:
    return {"kind": "add" if isinstance(operation, PendingAddition) else "withdraw", **asdict(operation)}


def _operation(document: Any) -> Operation:
    if not _BATCH.fullmatch(document["name"]):
        raise ValueError("names of what is pending")
    if document["kind"] == "add":
        return PendingAddition(document["name"], _number(document["entries"]))
    if document["kind"] != "withdraw" or not _SUM.fullmatch(document["sum"]):
        raise ValueError("what is pending")
    ids, published = _number(document["ids"]), _number(document["published"], 0)
    if published > ids:
        raise ValueError("numbers of what is pending")
    size = _number(document["id_size"])
    if size > ENTRY_ID_MAX:
        raise ValueError("size of ids")
    return PendingWithdrawal(document["name"], ids, published, size, document["sum"])


def _number(value: Any, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _NUMBER_MAX:
        raise ValueError(f"{value!r} is no number that can be meant")
    return value
