"""The state of a list owner's working folder, stored in `publisher.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from hashscan.atomic_files import replace_file
from hashscan.errors import OutputError, UsageError
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.model import ENTRY_ID_MAX
from hashscan.schema import InvalidDocumentError, decode_file, encode_file

STATE_NAME = "publisher.json"
_NUMBER_MAX = 2**53

_Count = Annotated[int, Meta(ge=0, le=_NUMBER_MAX)]
_Number = Annotated[int, Meta(ge=1, le=_NUMBER_MAX)]
_FolderName = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]


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


class PendingAddition(Struct, frozen=True, tag_field="kind", tag="add"):
    """Pending entries."""

    name: _FolderName
    entries: _Number


class PendingWithdrawal(Struct, frozen=True, tag_field="kind", tag="withdraw"):
    """Ids whose entries, published or pending before, are withdrawn by the next release."""

    name: _FolderName
    ids: _Number
    published: _Count
    """Number of ids that belong to published entries."""
    id_size: Annotated[int, Meta(ge=1, le=ENTRY_ID_MAX)]
    """Size of each id in bytes."""
    sum: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    """xxh3_128 of the file of ids."""

    def __post_init__(self) -> None:
        if self.published > self.ids:
            raise ValueError("more ids are published than there are")


Operation = PendingAddition | PendingWithdrawal


class ReleaseInProgress(Struct, frozen=True):
    """A release that has begun."""

    version: _Number
    done: _Count
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
        added = sum(operation.entries for operation in self.pending if isinstance(operation, PendingAddition))
        taken = sum(o.ids - o.published for o in self.pending if isinstance(o, PendingWithdrawal))
        return added - taken

    @property
    def withdrawing(self) -> int:
        return sum(o.published for o in self.pending if isinstance(o, PendingWithdrawal))


class _Document(Struct):
    list: Annotated[str, Meta(pattern=rf"\A{LIST_NAME.pattern}\Z")]
    repository: str
    keys: str
    expiry_days: Expiry
    released: _Count
    pending: tuple[Operation, ...]
    upcoming: ReleaseInProgress | None


def write_state(work: Path, state: PublisherState) -> None:
    """Replace the state file atomically."""
    document = _Document(
        state.name,
        str(state.repository),
        str(state.keys),
        state.expiry,
        state.released,
        state.pending,
        state.upcoming,
    )
    replace_file(work / STATE_NAME, encode_file(document))


def read_state(work: Path) -> PublisherState:
    """Read the state file."""
    path = work / STATE_NAME
    try:
        found = decode_file(path.read_bytes(), _Document)
    except FileNotFoundError as error:
        raise UsageError(
            f"{work} is no publisher's working folder", advice="Begin a list with `hashscan publish init`."
        ) from error
    except (InvalidDocumentError, UsageError) as error:
        raise OutputError(
            f"{path} is damaged or of another version ({error})",
            advice="Restore it from a backup, or upgrade.",
        ) from error
    return PublisherState(
        found.list,
        Path(found.repository),
        Path(found.keys),
        found.expiry_days,
        found.released,
        found.pending,
        found.upcoming,
    )
